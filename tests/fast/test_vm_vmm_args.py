"""Machines as command lines of OpenBSD's hypervisor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath as P

import pytest
from vm_hardware import MODERN

from behunt.runners.vm.machine import (
    Bus,
    Card,
    Chipset,
    Disk,
    From,
    Kernel,
    Machine,
    Nic,
    Share,
)
from behunt.runners.vm.vmm_args import start_args, status_args, stop_args

HARDWARE = replace(
    MODERN, cpu="qemu64", cpus=1, memory=1 << 30, chipset=Chipset.PC, device="/dev/rsd{n}c"
)
MACHINE = Machine("behunt-1", HARDWARE, From.DISK, (Disk(P("/d/root.img"), Bus.VIRTIO),))


def test_a_machine_from_its_disk() -> None:
    assert start_args(MACHINE) == [
        *("vmctl", "start", "-m", "1024M", "-d", "raw:/d/root.img", "behunt-1")
    ]
    assert status_args("behunt-1") == ["vmctl", "status", "behunt-1"]
    assert stop_args("behunt-1") == ["vmctl", "stop", "-f", "-w", "behunt-1"]


def test_an_installation_without_questions() -> None:
    kernel = Kernel(P("/s/bsd.rd"))
    assert start_args(replace(MACHINE, boot=kernel, nic=Nic(Card.VIRTIO)), netbooted=True) == [
        *("vmctl", "start", "-m", "1024M", "-b", "/s/bsd.rd", "-B", "net"),
        *("-d", "raw:/d/root.img", "-L", "behunt-1"),
    ]
    with pytest.raises(ValueError, match="only a kernel"):
        start_args(MACHINE, netbooted=True)


def test_a_switch_and_an_overlay() -> None:
    disk = Disk(P("/d/over.qcow2"), Bus.VIRTIO, "qcow2")
    one = replace(MACHINE, disks=(disk,), nic=Nic(Card.VIRTIO, tap="lab"))
    words = start_args(one)
    assert words[4:] == ["-d", "qcow2:/d/over.qcow2", "-i", "1", "-n", "lab", "behunt-1"]


@pytest.mark.parametrize(
    "wrong",
    [
        replace(MACHINE, boot=From.NETWORK),
        replace(MACHINE, shares=(Share("t", P("/s")),)),
        replace(MACHINE, disks=(Disk(P("/d"), Bus.IDE),)),
        replace(MACHINE, disks=(Disk(P("/d"), Bus.VIRTIO, "vmdk"),)),
        replace(MACHINE, disks=(Disk(P("/d"), Bus.VIRTIO, readonly=True),)),
    ],
)
def test_what_vmm_has_not(wrong: Machine) -> None:
    with pytest.raises(ValueError, match=r"vmm\(4\)"):
        start_args(wrong)
