"""A Linux in QEMU that has its root on NFS, as machines of a lab have it: to be sat at.

The server is on 127.0.0.1 of the network that QEMU is started in, which the machine knows as its
gateway.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path, PurePosixPath

from behunt.hosts.transcript import Transcript
from behunt.model import Release
from behunt.netboot import lab
from behunt.runners.lab import linux, seat
from behunt.runners.lab.families import FAMILIES
from behunt.runners.lab.root import Root
from behunt.runners.vm import accel, eras, interactive
from behunt.runners.vm.machine import Hardware, Kernel, Machine, Nic
from behunt.runners.vm.made import INITRD, KERNEL
from behunt.runners.vm.qemu_args import qemu_args
from behunt.runners.vm.running import MONITOR, SERIAL, Running

HERE = IPv4Address("127.0.0.1")
CLIENTS = IPv4Network("127.0.0.0/8")  # QEMU itself asks, for the machine
_GATEWAY, _OWN, _MASK = IPv4Address("10.0.2.2"), "10.0.2.15", "255.255.255.0"  # QEMU's
_MAC = "52:54:00:12:34:56"


def unfit(release: Release) -> str:
    """Why it cannot boot so; empty if it can."""
    family = FAMILIES.get(release.os)
    if family is None or family.FOREIGN:
        return f"{release.os} has a loader of its own to begin with, so it takes a machine of a lab"
    return family.unfit(release, lab.Dhcp.FULL) or eras.unfit(release)


def like(name: str) -> lab.Machine:
    """A machine of a lab with this name, whose console is its serial port."""
    return lab.Machine(name, _MAC, console="/dev/ttyS0")


def machine_of(name: str, path: str, made: Path, hardware: Hardware) -> Machine:
    """It boots what is `made`, with the server's `path` as its root."""
    root = Root(_GATEWAY, path)
    words = linux.words(like(name), root, ip=_OWN, mask=_MASK, init=seat.SEAT)
    kernel, initrd = (PurePosixPath(made / file) for file in (KERNEL, INITRD))
    return Machine(
        name=name,
        hardware=hardware,
        boot=Kernel(kernel, initrd, " ".join(words)),
        nic=Nic(hardware.nic, mac=_MAC, closed=False),
        reboots=True,
    )


@contextlib.contextmanager
def started(
    release: Release,
    order: interactive.Order,
    path: str,
    *,
    made: Path,
    machines: Path,
    scratch: Path,
) -> Iterator[Running]:
    """A machine that waits for its power. It has ended on leaving. Raises HostError.

    `machines` is where it is kept which accelerator works, `scratch` an empty directory.
    """
    hardware = interactive.ordered(eras.hardware_of(release), order)
    machine = machine_of(order.hostname, path, made, hardware)
    qemu = accel.installed()
    emulator = accel.emulator(qemu, accel.acceleration(qemu, machines / "accelerator.json"))
    sockets = {"serial": PurePosixPath(SERIAL), "qmp": PurePosixPath(MONITOR)}
    with Running(
        qemu_args(machine, emulator, **sockets),
        scratch,
        Transcript(scratch / "console"),
        deaths=[interactive.LOST],
        network=True,
    ) as running:
        yield running
