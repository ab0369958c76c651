"""Runners by name."""

from __future__ import annotations

from pathlib import Path

from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.netboot.lab import read
from behunt.netboot.power.hand import Ask
from behunt.runners.bhyve import BhyveRunner
from behunt.runners.jail import JailRunner, vnet
from behunt.runners.metal import MetalRunner, nobody
from behunt.runners.namespace import CHROOT, NAMESPACE
from behunt.runners.none import NONE
from behunt.runners.protocol import Runner
from behunt.runners.qemu import QemuRunner
from behunt.runners.remote import OnlyHere, shared_kernel
from behunt.runners.uml import Uml
from behunt.runners.vmm import VmmRunner
from behunt.storage.home import Home

# lightest first
NAMES = ("none", "chroot", "namespace", "jail", "vnet", "uml", "qemu", "bhyve", "vmm", "metal")
# They take a boot environment of this machine to another host, and boot it there.
SENDING = frozenset({"vmm"})


def runners(
    home: Home, host: Host | None = None, *, lab: str = "", machine: str = "", ask: Ask = nobody
) -> dict[str, Runner]:
    """Those that get inside what is on `host`, which is this machine by default.

    `lab` is a lab.toml, whose `machine` is used, or any. Raises UsageError for a bad one.
    """
    metal = MetalRunner(home, read(Path(lab)) if lab else None, machine, ask)
    here = LocalHost()
    found: tuple[Runner, ...]
    if host is None or isinstance(host, LocalHost):
        found = (
            NONE,
            CHROOT,
            NAMESPACE,
            JailRunner(here),
            vnet(here),
            Uml(home.kernels),
            QemuRunner(home.machines),
            BhyveRunner(here, home=home),
            VmmRunner(here, home=home),
            metal,
        )
    else:
        found = (
            OnlyHere(NONE, host.name),
            *shared_kernel(host),
            JailRunner(host),
            vnet(host),
            OnlyHere(Uml(home.kernels), host.name),
            OnlyHere(QemuRunner(home.machines), host.name),
            BhyveRunner(host, home=home),
            VmmRunner(host, home=home),
            OnlyHere(metal, host.name),
        )
    return {runner.name: runner for runner in found}
