"""Machines as command lines of QEMU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath as P

import pytest
from vm_hardware import MODERN

from behunt.runners.vm.accel import Acceleration, Qemu, too_old
from behunt.runners.vm.machine import (
    Bus,
    Card,
    Chipset,
    Disk,
    Firmware,
    From,
    Hardware,
    Kernel,
    Machine,
    Nic,
    Share,
    Uefi,
)
from behunt.runners.vm.qemu_args import Emulator, qemu_args

OLD = replace(
    MODERN,
    arch="i386",
    cpu="pentium",
    chipset=Chipset.PC,
    disk=Bus.IDE,
    nic=Card.NE2K_ISA,
    vga=True,
)


def args(machine: Machine, emulator: Emulator | None = None) -> list[str]:
    return qemu_args(machine, emulator or Emulator(), serial=P("serial"), qmp=P("qmp"))


def of(machine: Machine, option: str) -> list[str]:
    words = args(machine)
    return [words[n + 1] for n, word in enumerate(words) if word == option]


def machine(hardware: Hardware = MODERN, *buses: Bus) -> Machine:
    disks = tuple(Disk(P(f"/d/{n}"), bus) for n, bus in enumerate(buses))
    return Machine("m", hardware, From.DISK, disks)


def test_a_linux_machine_whole() -> None:
    kernel = Kernel(P("/k/vmlinuz"), P("/k/initrd"), "console=ttyS0 ro")
    disks = (Disk(P("/d/root"), Bus.VIRTIO, scratch=True), Disk(P("/d/exchange"), Bus.VIRTIO))
    whole = Machine("debian-12", MODERN, kernel, disks)
    assert args(whole, Emulator("kvm")) == [
        "qemu-system-x86_64",
        *("-name", "guest=debian-12"),
        *("-machine", "q35", "-accel", "kvm", "-cpu", "max", "-smp", "2", "-m", "512M"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-S", "-no-reboot"),
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        *("-chardev", "socket,id=qmp,path=qmp,server=on,wait=off"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-chardev", "socket,id=serial,path=serial,server=on,wait=off"),
        *("-serial", "chardev:serial"),
        *("-kernel", "/k/vmlinuz", "-initrd", "/k/initrd", "-append", "console=ttyS0 ro"),
        "-drive",
        "file=/d/root,id=disk0,if=none,format=raw,cache=unsafe,discard=unmap,snapshot=on",
        *("-device", "virtio-blk-pci,drive=disk0"),
        "-drive",
        "file=/d/exchange,id=disk1,if=none,format=raw,cache=unsafe,discard=unmap",
        *("-device", "virtio-blk-pci,drive=disk1"),
        *("-device", "virtio-rng-pci", "-device", "vmgenid,guid=auto"),
    ]


def test_resumed_is_the_same_machine_that_awaits_its_state() -> None:
    one = machine(MODERN, Bus.VIRTIO)
    assert args(replace(one, resumed=True)) == [*args(one), "-incoming", "defer"]


def test_what_a_machine_is_not_given_unless_asked() -> None:
    words = args(machine())
    assert "-no-reboot" in words
    assert not {"-netdev", "-vga", "-drive", "-incoming", "-fsdev"} & set(words)
    assert "-no-reboot" not in args(replace(machine(), reboots=True))
    assert "-sandbox" not in args(machine(), Emulator(sandboxed=False))
    assert of(machine(OLD), "-vga") == ["std"]
    assert not of(machine(OLD), "-device")


def test_i386_has_a_program_of_its_own() -> None:
    assert args(machine(OLD))[0] == "qemu-system-i386"


@pytest.mark.parametrize(
    ("hardware", "buses", "devices"),
    [
        (
            OLD,
            [Bus.IDE] * 3,
            [
                "ide-hd,bus=ide.0,unit=0,drive=disk0,bootindex=0",
                "ide-hd,bus=ide.0,unit=1,drive=disk1",
                "ide-hd,bus=ide.1,unit=0,drive=disk2",
            ],
        ),
        (
            OLD,
            [Bus.AHCI] * 2,
            [
                "ich9-ahci,id=ahci",
                "ide-hd,bus=ahci.0,drive=disk0,bootindex=0",
                "ide-hd,bus=ahci.1,drive=disk1",
            ],
        ),
        (
            replace(MODERN, disk=Bus.AHCI),
            [Bus.AHCI, Bus.VIRTIO, Bus.AHCI],
            [
                "ide-hd,bus=ide.0,drive=disk0,bootindex=0",
                "virtio-blk-pci,drive=disk1",
                "ide-hd,bus=ide.1,drive=disk2",
            ],
        ),
        (OLD, [Bus.NVME], ["nvme,serial=behunt0,drive=disk0,bootindex=0"]),
    ],
)
def test_disks_by_bus(hardware: Hardware, buses: list[Bus], devices: list[str]) -> None:
    assert of(machine(hardware, *buses), "-device") == devices


@pytest.mark.parametrize(
    ("hardware", "buses"), [(MODERN, [Bus.IDE]), (OLD, [Bus.IDE] * 5), (OLD, [Bus.AHCI] * 7)]
)
def test_more_disks_than_there_is_room_for(hardware: Hardware, buses: list[Bus]) -> None:
    with pytest.raises(ValueError, match="has no place for disk"):
        args(machine(hardware, *buses))


def test_what_a_disk_may_be() -> None:
    disk = Disk(P("/a,b"), Bus.VIRTIO, "qcow2", readonly=True)
    assert of(replace(machine(), disks=(disk,)), "-drive") == [
        "file=/a,,b,id=disk0,if=none,format=qcow2,cache=unsafe,discard=unmap,readonly=on"
    ]


def test_uefi_has_its_code_and_variables_of_its_own() -> None:
    hardware = replace(MODERN, firmware=Firmware.UEFI)
    one = replace(machine(hardware), uefi=Uefi(P("/o/CODE.fd"), P("/run/VARS.fd")))
    assert of(one, "-drive") == [
        "if=pflash,format=raw,file=/o/CODE.fd,readonly=on",
        "if=pflash,format=raw,file=/run/VARS.fd",
    ]
    with pytest.raises(ValueError, match="needs the files of a UEFI firmware"):
        args(machine(hardware))
    kernel = replace(machine(hardware), boot=Kernel(P("/k")))
    assert "-drive" not in args(kernel)  # no firmware looks for anything then


@pytest.mark.parametrize(
    ("nic", "netdev", "device"),
    [
        (
            Nic(Card.VIRTIO),
            "user,id=net,restrict=on",
            "virtio-net-pci,netdev=net,romfile=",
        ),
        (
            Nic(Card.E1000, mac="52:54:00:00:00:01", closed=False),
            "user,id=net,restrict=off",
            "e1000,netdev=net,mac=52:54:00:00:00:01,romfile=",
        ),
        (
            Nic(Card.RTL8139, tap="tap0"),
            "tap,id=net,ifname=tap0,script=no,downscript=no",
            "rtl8139,netdev=net,romfile=",
        ),
        (Nic(Card.NE2K), "user,id=net,restrict=on", "ne2k_pci,netdev=net,romfile="),
        (
            Nic(Card.NE2K_ISA),
            "user,id=net,restrict=on",
            "ne2k_isa,netdev=net,iobase=0x300,irq=5",
        ),
    ],
)
def test_network_cards(nic: Nic, netdev: str, device: str) -> None:
    one = replace(machine(OLD), nic=nic)
    assert (of(one, "-netdev"), of(one, "-device")) == ([netdev], [device])


def test_pxe_boots_from_the_card_alone() -> None:
    one = replace(
        machine(OLD, Bus.IDE), boot=From.NETWORK, nic=Nic(Card.E1000, "52:54:00:00:00:01", "tap0")
    )
    assert of(one, "-device") == [
        "ide-hd,bus=ide.0,unit=0,drive=disk0",
        "e1000,netdev=net,mac=52:54:00:00:00:01,bootindex=0",
    ]
    assert of(one, "-boot") == ["strict=on"]


def test_what_cannot_be_saved() -> None:
    share = Share("root", P("/c"), readonly=True)
    shared = replace(machine(), shares=(share,))
    assert of(shared, "-fsdev") == [
        "local,id=share0,path=/c,security_model=passthrough,multidevs=remap,readonly=on"
    ]
    assert of(shared, "-device")[0] == "virtio-9p-pci,fsdev=share0,mount_tag=root"
    assert not shared.savable
    assert not machine(MODERN, Bus.NVME).savable
    assert machine(MODERN, Bus.VIRTIO).savable


@pytest.mark.parametrize(
    ("text", "accelerator", "needed", "says"),
    [
        ("QEMU emulator version 7.2.22 (Debian)", "tcg", 10, "QEMU 7.2.22 crashes its kernel"),
        ("QEMU emulator version 7.2.22 (Debian)", "kvm", 10, ""),
        ("QEMU emulator version 7.2.22 (Debian)", "tcg", 0, ""),
        ("QEMU emulator version 10.0.2 (Debian)", "tcg", 10, ""),
        ("QEMU emulator version 11.1.50", "tcg", 10, ""),
    ],
)
def test_a_qemu_that_cannot_be_trusted(text: str, accelerator: str, needed: int, says: str) -> None:
    said = too_old(
        Qemu(text, sandbox=True), Acceleration(accelerator, ""), replace(MODERN, qemu=needed)
    )
    assert said.startswith(says)
    assert bool(said) == bool(says)
