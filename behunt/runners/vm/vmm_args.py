"""A machine as command lines of OpenBSD's vmctl(8). Pure.

Since OpenBSD 6.6: options come before the name, and `-B` says what to boot from.
"""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from behunt.runners.vm.machine import Bus, Disk, From, Kernel, Machine, Nic

_FORMATS = {"raw", "qcow2"}


def start_args(machine: Machine, *, netbooted: bool = False) -> list[str]:
    """Start it. Raises ValueError for what vmm(4) has not: it is virtio throughout.

    With `netbooted` a bsd.rd takes itself for one that came over the network, and installs by
    autoinstall(8) without being asked.
    """
    if machine.boot is From.NETWORK or machine.shares:
        raise ValueError("vmm(4) has neither PXE nor shared directories")
    if netbooted and not isinstance(machine.boot, Kernel):
        raise ValueError("only a kernel can take itself for netbooted")
    kernel = ("-b", str(machine.boot.image)) if isinstance(machine.boot, Kernel) else ()
    return [
        *("vmctl", "start", "-m", f"{machine.hardware.memory >> 20}M"),
        *kernel,
        *(("-B", "net") if netbooted else ()),
        *(word for disk in machine.disks for word in ("-d", _disk(disk))),
        *_nic(machine.nic),
        machine.name,
    ]


def status_args(name: str) -> list[str]:
    return ["vmctl", "status", name]


def stop_args(name: str) -> list[str]:
    """End it at once, and wait until it has."""
    return ["vmctl", "stop", "-f", "-w", name]


def end_args(name: str, place: PurePosixPath) -> list[str]:
    """End it in whatever state, and what is mounted in `place`; it may be repeated."""
    return [
        *("sh", "-c"),
        f"{shlex.join(stop_args(name))} >/dev/null 2>&1\n"
        f"umount -f {place}/root >/dev/null 2>&1\n"
        f"for vnd in $(vnconfig -l | sed -n 's|: covering {place}/.*||p'); do\n"
        "  vnconfig -u $vnd\n"
        "done\n"
        f"! {shlex.join(status_args(name))} 2>/dev/null | grep -qF {name}",
    ]


def derive_args(base: PurePosixPath, disk: PurePosixPath) -> list[str]:
    """A disk that holds only what differs from `base`; both are qcow2."""
    return ["vmctl", "create", "-b", str(base), str(disk)]


def _disk(disk: Disk) -> str:
    if disk.bus is not Bus.VIRTIO or disk.format not in _FORMATS:
        raise ValueError(f"vmm(4) has no {disk.format} disk on {disk.bus}")
    if disk.readonly or disk.scratch:
        raise ValueError("vmm(4) writes to all of its disks")
    return f"{disk.format}:{disk.path}"


def _nic(nic: Nic | None) -> list[str]:
    """On the switch of that name in vm.conf(5), or alone with the host, which then answers DHCP."""
    if nic is None:
        return []
    return ["-i", "1", "-n", nic.tap] if nic.tap else ["-L"]
