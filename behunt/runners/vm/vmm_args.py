"""A machine as command lines of OpenBSD's vmctl(8), and what it says of them. Pure.

Since OpenBSD 6.6: options come before the name, and `-B` says what to boot from.
"""

from __future__ import annotations

from dataclasses import dataclass

from behunt.runners.vm.machine import Bus, Disk, From, Kernel, Machine, Nic

_FORMATS = {"raw", "qcow2"}
_STATE = "STATE"  # a column of later releases
_COLUMNS = 7  # before it: ID PID VCPUS MAXMEM CURMEM TTY OWNER


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


@dataclass(frozen=True, slots=True)
class Vm:
    """A line of `vmctl status`. `tty` is its console; empty where it does not run."""

    name: str
    tty: str
    state: str  # "running", "stopping", "paused", "stopped"

    @property
    def runs(self) -> bool:
        return bool(self.tty)


def parse_status(text: str) -> tuple[Vm, ...]:
    """The machines in what `vmctl status` says. Raises ValueError for anything else."""
    if not text.strip():  # no machine at all
        return ()
    header, *lines = text.splitlines()
    columns = header.split()
    if columns[:2] != ["ID", "PID"]:
        raise ValueError(f"vmctl status said {header!r}")
    return tuple(_vm(line, stated=_STATE in columns) for line in lines if line.strip())


def _vm(line: str, *, stated: bool) -> Vm:
    words = line.split()
    if len(words) <= _COLUMNS + stated:
        raise ValueError(f"vmctl status said {line!r}")
    tty = "" if words[5] == "-" else f"/dev/{words[5].removeprefix('/dev/')}"
    usual = "running" if tty else "stopped"
    if stated:
        return Vm(words[_COLUMNS + 1], tty, words[_COLUMNS])
    name, *more = words[_COLUMNS:]  # "web - stopping"
    return Vm(name, tty, more[-1] if more else usual)
