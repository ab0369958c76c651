"""The guest's Debian: its root file system, and the kernel with OpenZFS built for it."""

from __future__ import annotations

import inspect
import lzma
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from behunt import catalogue
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.hosts.sandbox import Sandbox
from behunt.install.mmdebstrap import Mmdebstrap
from behunt.install.protocol import Order, Origin
from guest.kept import digest, kept

RELEASE = "13"
_KERNEL, _ZFS = "linux-image-cloud-amd64", "zfs-dkms"
_BUILD = ("dkms", "gcc", "libc6-dev", "linux-headers-cloud-amd64", _KERNEL, "make")
_RUN = (
    *("busybox-static", "iproute2", "kmod", "procps", "sudo", "util-linux"),
    *("openssh-client", "openssh-server"),
    *("libarchive-tools", "nfs-kernel-server", "python3-pyzfs", "tar", "zfsutils-linux", "zstd"),
    # behunt's own, for all that it does without --html, and what its tests import
    *("python3-click", "python3-jinja2", "python3-pexpect", "python3-rich"),
    *("python3-hypothesis", "python3-pytest", "python3-pytest-timeout"),
    *("python3-sqlalchemy", "python3-tabulate"),
)
_USELESS = (
    *("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"),
    *("etc/apt", "var/lib/apt/lists", "var/cache/apt"),
)
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy")


def root() -> Path:
    """A directory with `root.tar`, and in `versions` those of the kernel and of OpenZFS.

    A stable release changes only together with its Release file.
    """
    order = _order(_RUN)
    installer = Mmdebstrap()
    if missing := installer.missing(order):
        raise RuntimeError(missing)
    origin = installer.resolve(order)
    key = digest(installer.recipe(order), origin.digest, *_sources(_make_root, _install))
    return kept("root", key, lambda place: _make_root(place, order, origin))


def kernel(of_root: Path) -> Path:
    """A directory with `vmlinuz` and `lib/modules`, of the versions that belong to the root."""
    versions = (of_root / "versions").read_text(encoding="ascii").strip()
    recipe = Mmdebstrap().recipe(_order(_BUILD))
    key = digest(recipe, *_sources(_make_kernel, _take_kernel, _install))
    return kept("kernel", f"{versions.replace(' ', '-')}-{key}", _make_kernel)


def _sources(*functions: Callable[..., object]) -> list[str]:
    """What makes a thing: these functions, and the names that they go by."""
    return [_KERNEL, _ZFS, *_USELESS, *map(inspect.getsource, functions)]


def _order(packages: Sequence[str]) -> Order:
    release = catalogue.find(catalogue.load("debian"), RELEASE, os="debian")
    traits = (*release.traits, ("components", "main contrib"))
    return Order(replace(release, traits=traits), tuple(packages))


def _make_root(place: Path, order: Order, origin: Origin) -> None:
    tree = place / "root"
    _install(order, origin, tree)
    inside = _inside(tree)
    inside.run(["apt-get", "-qq", "update"], env=_network(), timeout=300, check=True)
    policy = inside.run(["apt-cache", "policy", _KERNEL, _ZFS], check=True).out
    versions = re.findall(r"^  Candidate: (\S+)$", policy, re.MULTILINE)
    (place / "versions").write_text(" ".join(versions) + "\n", encoding="ascii")
    for useless in _USELESS:
        shutil.rmtree(tree / useless, ignore_errors=True)
    (tree / "etc/resolv.conf").unlink()  # of the machine that builds it, as etc/apt is
    archive = ["tar", "--create", "--numeric-owner", f"--file={place}/root.tar"]
    subprocess.run([*archive, f"--directory={tree}", "."], check=True)
    shutil.rmtree(tree)


def _make_kernel(place: Path) -> None:
    """Four minutes on two idle cores: dkms builds for the kernel whose headers are there."""
    tree = place / "root"
    order = _order(_BUILD)
    _install(order, Mmdebstrap().resolve(order), tree)
    inside = _inside(tree)
    env = {**_network(), "DEBIAN_FRONTEND": "noninteractive"}
    inside.run(["apt-get", "-qq", "update"], env=env, timeout=300, check=True)
    install = ["apt-get", "-qq", "-y", "--no-install-recommends", "install", _ZFS]
    inside.run(install, env=env, timeout=1800, check=True)
    _take_kernel(inside, tree, place)
    shutil.rmtree(tree)


def _take_kernel(inside: Host, tree: Path, place: Path) -> None:
    (modules,) = (tree / "lib/modules").iterdir()
    version = modules.name
    for name in ("spl", "zfs"):  # loading a packed one takes the guest seconds more
        packed = modules / f"updates/dkms/{name}.ko.xz"
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()
    inside.run(["depmod", version], check=True)
    shutil.copy(tree / "boot" / f"vmlinuz-{version}", place / "vmlinuz")
    ignored = shutil.ignore_patterns("build", "source")
    shutil.copytree(modules, place / "lib/modules" / version, ignore=ignored)


def _install(order: Order, origin: Origin, tree: Path) -> None:
    tree.mkdir()
    Mmdebstrap().install(order, origin, tree, lambda line: print(line, file=sys.stderr))
    shutil.copy("/etc/resolv.conf", tree / "etc/resolv.conf")
    # installing more starts no daemon
    (tree / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    (tree / "usr/sbin/policy-rc.d").chmod(0o755)


def _inside(tree: Path) -> Host:
    namespaces = ("mount", "pid", "uts", "ipc")
    return LocalHost(Sandbox(namespaces=namespaces, root=str(tree)), "guest root")


def _network() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
