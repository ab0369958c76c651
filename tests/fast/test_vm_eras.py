"""Every release gets a machine that its era knows, and a wrong table says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from behunt import catalogue
from behunt.errors import CatalogueError, UsageError
from behunt.model import Release
from behunt.runners.vm.eras import ARCHES, hardware_of, load, unfit
from behunt.runners.vm.machine import (
    Bus,
    Card,
    Chipset,
    Disk,
    Firmware,
    From,
    Hardware,
    Machine,
    Uefi,
)
from behunt.runners.vm.qemu_args import Emulator, qemu_args

FREEBSD = "max,x2apic=off"  # since 11.0
FIRST_ROW = """
[[era]]
cpu = "max"
cpus = 1
memory = 64
chipset = "pc"
firmware = "bios"
disk = "ide"
nic = "e1000"
"""


def builds() -> Iterator[Release]:
    for entry in catalogue.load().entries:
        yield from (build for build in entry.builds if build.arch in ARCHES)


def machine(name: str, hypervisor: str = "qemu") -> Hardware:
    os, _, rest = name.partition("-")
    return hardware_of(catalogue.find(catalogue.load(os), rest, os=os), hypervisor)


def test_every_release_gets_a_machine_that_qemu_can_build() -> None:
    seen = 0
    for release in builds():
        hardware = hardware_of(release)
        disks = tuple(Disk(Path(f"/d{n}"), hardware.disk) for n in range(2))
        whole = Machine(release.id, hardware, From.DISK, disks, uefi=Uefi(Path("/code")))
        assert qemu_args(whole, Emulator(), serial=Path("s"), qmp=Path("q"))[0].endswith(
            {"amd64": "x86_64", "i386": "i386"}[release.arch]
        )
        assert hardware.memory >= 16 << 20
        assert hardware.device_of(0) != hardware.device_of(1), release.id
        seen += 1
    assert seen > 500


def test_every_arch_but_ours_is_unfit_and_said_so() -> None:
    others = {
        build.arch
        for entry in catalogue.load().entries
        for build in entry.builds
        if build.arch not in ARCHES
    }
    assert others == {"arm64"}
    arm = catalogue.find(catalogue.load("debian"), "12", os="debian", arch="arm64")
    assert unfit(arm) == "machines are amd64 or i386, and this is for arm64"
    with pytest.raises(UsageError, match="debian-12-arm64 gets no machine: machines are amd64"):
        hardware_of(arm)


@pytest.mark.parametrize(
    ("name", "disk", "device", "nic", "chipset", "cpu"),
    [
        ("freebsd-1.0", Bus.IDE, "/dev/rwd1", Card.NE2K_ISA, Chipset.PC, "pentium"),
        ("freebsd-2.2.9", Bus.IDE, "/dev/rwd1", Card.NE2K, Chipset.PC, "pentium"),
        ("freebsd-4.3", Bus.IDE, "/dev/ad1", Card.RTL8139, Chipset.PC, "pentium3"),
        ("freebsd-4.10", Bus.IDE, "/dev/ad1", Card.E1000, Chipset.PC, "pentium3"),
        ("freebsd-8.4-amd64", Bus.IDE, "/dev/ad1", Card.E1000, Chipset.PC, "qemu64"),
        ("freebsd-9.2-i386", Bus.AHCI, "/dev/ada1", Card.E1000, Chipset.Q35, "pentium3"),
        ("freebsd-9.3-amd64", Bus.VIRTIO, "/dev/vtbd1", Card.VIRTIO, Chipset.Q35, "qemu64"),
        ("freebsd-13.2-amd64", Bus.VIRTIO, "/dev/vtbd1", Card.VIRTIO, Chipset.Q35, FREEBSD),
        ("debian-3.0", Bus.IDE, "/dev/hdb", Card.RTL8139, Chipset.PC, "pentium"),
        ("debian-12-amd64", Bus.VIRTIO, "/dev/vdb", Card.VIRTIO, Chipset.Q35, "max"),
        ("openbsd-5.2-amd64", Bus.IDE, "/dev/rwd1c", Card.E1000, Chipset.PC, "qemu64"),
        ("openbsd-7.9-amd64", Bus.VIRTIO, "/dev/rsd1c", Card.VIRTIO, Chipset.PC, "qemu64"),
        ("netbsd-10.1-amd64", Bus.VIRTIO, "/dev/rld1d", Card.VIRTIO, Chipset.PC, "qemu64"),
        ("omnios-r151058", Bus.IDE, "/dev/rdsk/c0d1p0", Card.E1000, Chipset.PC, "qemu64"),
    ],
)
def test_what_an_era_finds(  # noqa: PLR0917
    name: str, disk: Bus, device: str, nic: Card, chipset: Chipset, cpu: str
) -> None:
    found = machine(name)
    assert (found.disk, found.nic, found.chipset, found.cpu) == (disk, nic, chipset, cpu)
    assert found.device_of(1) == device


@pytest.mark.parametrize(("name", "needed"), [("12", 0), ("13", 10), ("sid", 10), ("11", 0)])
def test_linux_6_12_needs_a_late_qemu(name: str, needed: int) -> None:
    assert machine(f"debian-{name}").qemu == needed


def test_other_hypervisors_have_devices_of_their_own() -> None:
    old = machine("freebsd-8.4-amd64", "bhyve")
    assert (old.disk, old.device_of(1), old.firmware) == (Bus.AHCI, "/dev/ada1", Firmware.LOADER)
    none = machine("freebsd-7.4-amd64", "bhyve")
    assert (none.disk, none.device_of(1), none.nic) == (Bus.NFS, "", Card.E1000)
    new = machine("freebsd-14.0-amd64", "bhyve")
    assert (new.disk, new.device_of(1), new.firmware) == (Bus.VIRTIO, "/dev/vtbd1", Firmware.UEFI)
    assert machine("freebsd-14.0-i386", "bhyve").firmware is Firmware.LOADER
    assert machine("openbsd-7.9", "vmm").disk is Bus.VIRTIO
    with pytest.raises(UsageError, match="bhyve emulates no disk that it has a driver for"):
        machine("freebsd-7.4-i386", "bhyve")


def test_a_system_that_only_a_user_knows_gets_what_all_know() -> None:
    found = hardware_of(Release("haiku-r1-amd64", "haiku", "r1", "amd64"))
    assert (found.disk, found.nic, found.cpu, found.device_of(1)) == (
        Bus.IDE,
        Card.E1000,
        "qemu64",
        "",
    )


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("[[era", "cannot be read", "TOML"),
        ('os = "x"', "at the top: unknown key 'os'", "[[era]]"),
        ("", "era 1: 'cpu' is missing", "It needs cpu, cpus"),
        ('[[era]]\ncpu = "max"', "era 1: 'cpus' is missing", "It needs cpu, cpus"),
        (FIRST_ROW + "ram = 1", "era 1: unknown key 'ram'", "It may hold: from, to"),
        (FIRST_ROW + '[[era]]\nfrom = "2"\nmemory = 0', "era 2 (from 2): memory = 0", "above 0"),
        (FIRST_ROW + "[[era]]\nmemory = true", "memory = True will not do", "whole number"),
        (FIRST_ROW + '[[era]]\ndisk = "scsi"', "disk = 'scsi' will not do", "virtio or ahci or"),
        (FIRST_ROW + '[[era]]\narch = "arm"', "there is no arch 'arm'", "amd64 or i386"),
        (FIRST_ROW + '[[era]]\nbhyve = { cpu = "x" }', "era 2, bhyve: unknown key 'cpu'", "disk"),
        (FIRST_ROW + "[[era]]\nbhyve = true", "bhyve = True will not do", "a table"),
        (FIRST_ROW + '[[era]]\ndisk = "nfs"', "era 2: only bhyve has roots by NFS", "bhyve"),
        (FIRST_ROW + '[[era]]\nvmm = { disk = "nfs" }', "only bhyve has roots by NFS", "bhyve"),
        (FIRST_ROW + '[[era]]\nchipset = "q35"', "era 2: a q35 has no IDE", "ahci"),
    ],
)
def test_a_wrong_table_says_what_is_wrong(tmp_path: Path, text: str, says: str, hint: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError) as caught:
        load(file)
    assert says in caught.value.message
    assert str(file) in caught.value.message
    assert hint in caught.value.hint


def test_rows_apply_in_order_and_up_to_their_end() -> None:
    """The row of 9.0 changes the bus, and 8.4 still has the one of before."""
    assert machine("freebsd-9.0-amd64").disk is Bus.AHCI
    assert machine("freebsd-8.4-amd64").disk is Bus.IDE
    assert machine("freebsd-13.2-i386").cpu == FREEBSD
