"""What systems have in common that boot from the network by a loader of their own release."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from behunt.errors import InstallError
from behunt.model import Release
from behunt.netboot.dnsmasq import FILES
from behunt.netboot.lab import ARCHES, Dhcp, Machine
from behunt.netboot.nfs_faults import unserved
from behunt.runners.vm.layers import found, trees
from behunt.storage.protocol import Clone


def unfit(release: Release, dhcp: Dhcp, asks: str) -> str:
    """Why no machine can boot `release` in a lab with this DHCP; empty if one can.

    `asks` says who asks for what, which another DHCP server knows nothing of.
    """
    if release.arch not in ARCHES:
        return f"machines are {' or '.join(ARCHES)}, and this is for {release.arch}"
    if why := unserved(release.os, release.version):
        return why
    if dhcp is Dhcp.PROXY:
        return f'{asks}, and a proxy cannot tell it: it takes dhcp = "full" in [lab]'
    return ""


def brought(
    release: Release, clone: Clone, place: Path, kernel: tuple[str, str], loaders: Mapping[str, str]
) -> Path:
    """Copy those of `loaders`, paths in the release by name, that are there into `place`.

    Its kernel is where `kernel` says, out of the set that it says. Raises InstallError.
    """
    path, of = kernel
    layers = trees(clone)
    kernels = found(layers, [path])
    if not kernels:
        raise InstallError(
            f"{release.id} was installed without a kernel to boot",
            f"install the set {of} too: leave out --set, or add it (docs/sets.md)",
        )
    for name, at in loaders.items():
        for file in found(layers, [at]):
            shutil.copyfile(file, place / name)
    if not any(place.iterdir()):
        paths = " and no ".join(f"/{at}" for at in loaders.values())
        raise InstallError(
            f"{release.id} has no loader that boots from the network: no {paths}",
            "install its own set base, as it was published",
        )
    return kernels[0]


def loader(way: str, machine: Machine, place: Path, lacking: str) -> str:
    """The one in `place` for its firmware. Raises InstallError, with what is `lacking`."""
    name = FILES[way].get(machine.firmware, "")
    if not name or not (place / name).exists():
        raise InstallError(
            f"{machine.name} boots by {machine.firmware}, and {lacking}",
            "name another machine with --machine",
        )
    return name
