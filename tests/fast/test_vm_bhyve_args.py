"""Machines as command lines of FreeBSD's hypervisor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath as P

import pytest
from vm_hardware import MODERN

from behunt.runners.vm.bhyve_args import (
    End,
    NfsRoot,
    destroy_args,
    ended,
    load_args,
    nfs_environment,
    run_args,
)
from behunt.runners.vm.machine import (
    Bus,
    Card,
    Disk,
    Firmware,
    From,
    Machine,
    Nic,
    Share,
    Uefi,
)

HARDWARE = replace(MODERN, cpus=1, memory=1 << 30, firmware=Firmware.LOADER, device="/dev/vtbd{n}")
MACHINE = Machine(
    "behunt-1",
    HARDWARE,
    From.DISK,
    (Disk(P("/d/root"), Bus.VIRTIO), Disk(P("/d/exchange"), Bus.VIRTIO)),
    nic=Nic(Card.VIRTIO, "58:9c:fc:00:00:01", "tap7"),
)


def test_a_machine_from_its_disk() -> None:
    assert load_args(MACHINE, "/dev/nmdm1A") == [
        *("bhyveload", "-c", "/dev/nmdm1A", "-m", "1024M", "-d", "/d/root", "-d", "/d/exchange"),
        *("-e", "console=comconsole", "-e", "boot_serial=YES", "behunt-1"),
    ]
    assert run_args(MACHINE, "/dev/nmdm1A") == [
        *("bhyve", "-c", "1", "-m", "1024M", "-A", "-H", "-P", "-w"),
        *("-s", "0:0,hostbridge", "-s", "1:0,lpc"),
        *("-s", "2:0,virtio-blk,/d/root", "-s", "3:0,virtio-blk,/d/exchange"),
        *("-s", "4:0,virtio-net,tap7,mac=58:9c:fc:00:00:01"),
        *("-l", "com1,/dev/nmdm1A", "behunt-1"),
    ]
    assert destroy_args("behunt-1") == ["bhyvectl", "--vm=behunt-1", "--destroy"]


def test_an_older_machine() -> None:
    one = replace(
        MACHINE,
        disks=(Disk(P("/d/root"), Bus.AHCI, readonly=True),),
        nic=Nic(Card.E1000, tap="tap0"),
        shares=(Share("be", P("/b/be")),),
    )
    words = run_args(one, "stdio")
    assert [words[n + 1] for n, word in enumerate(words) if word == "-s"][2:] == [
        "2:0,ahci-hd,/d/root,ro",
        "3:0,virtio-9p,be=/b/be",
        "4:0,e1000,tap0",
    ]


def test_uefi_needs_no_loader() -> None:
    uefi = Uefi(P("/u/BHYVE_UEFI_CODE.fd"), P("/run/vars.fd"))
    one = replace(MACHINE, hardware=replace(HARDWARE, firmware=Firmware.UEFI), uefi=uefi)
    assert run_args(one, "stdio")[-3:] == [
        "-l",
        "bootrom,/u/BHYVE_UEFI_CODE.fd,/run/vars.fd",
        "behunt-1",
    ]
    with pytest.raises(ValueError, match="UEFI"):
        run_args(replace(one, uefi=None), "stdio")


@pytest.mark.parametrize(
    "disk",
    [
        Disk(P("/d"), Bus.IDE),
        Disk(P("/d"), Bus.VIRTIO, "qcow2"),
        Disk(P("/d"), Bus.VIRTIO, scratch=True),
        Disk(P("/d,e"), Bus.VIRTIO),
    ],
)
def test_disks_that_bhyve_has_not(disk: Disk) -> None:
    with pytest.raises(ValueError, match="bhyve"):
        run_args(replace(MACHINE, disks=(disk,)), "stdio")


@pytest.mark.parametrize("nic", [Nic(Card.RTL8139, tap="tap0"), Nic(Card.VIRTIO)])
def test_cards_that_bhyve_has_not(nic: Nic) -> None:
    with pytest.raises(ValueError, match=r"bhyve has no .* card"):
        run_args(replace(MACHINE, nic=nic), "stdio")


def test_there_are_as_many_slots_as_on_a_bus() -> None:
    disks = tuple(Disk(P(f"/d/{n}"), Bus.VIRTIO) for n in range(30))
    assert "31:0,virtio-blk,/d/29" in run_args(replace(MACHINE, disks=disks, nic=None), "stdio")
    with pytest.raises(ValueError, match="no more slots"):
        run_args(replace(MACHINE, disks=disks), "stdio")


@pytest.mark.parametrize(
    ("code", "end"),
    [
        (0, End.REBOOTED),
        (1, End.POWERED_OFF),
        (2, End.HALTED),
        (3, End.TRIPLE_FAULT),
        (4, End.ERROR),
        (5, End.SUSPENDED),
        (127, End.ERROR),
        (-9, End.KILLED),
    ],
)
def test_exit_codes(code: int, end: End) -> None:
    assert ended(code) is end


def test_a_root_over_nfs_without_a_loader_that_knows_networks() -> None:
    root = NfsRoot(
        server="10.0.0.1",
        path="/b/be/test",
        handle=bytes.fromhex("0e46" + "00" * 26),
        mac="58:9c:fc:00:00:01",
        ip="10.0.0.10",
        netmask="255.255.255.0",
    )
    environment = nfs_environment(root)
    assert environment == {
        "boot.netif.hwaddr": "58:9c:fc:00:00:01",
        "boot.netif.ip": "10.0.0.10",
        "boot.netif.netmask": "255.255.255.0",
        "boot.nfsroot.server": "10.0.0.1",
        "boot.nfsroot.path": "/b/be/test",
        "boot.nfsroot.nfshandle": "X0e46" + "00" * 26 + "X",
        "boot.nfsroot.nfshandlelen": "28",
        "boot.nfsroot.options": "nolockd",
        "vfs.root.mountfrom": "nfs:10.0.0.1:/b/be/test",
    }
    old = nfs_environment(replace(root, nfs=2, handle=bytes(32)))
    assert old["boot.nfsroot.nfshandle"] == f"X{'00' * 32}X"
    assert "boot.nfsroot.nfshandlelen" not in old
    gateway = nfs_environment(replace(root, gateway="10.0.0.254"))
    assert gateway["boot.netif.gateway"] == "10.0.0.254"
    words = load_args(
        replace(MACHINE, disks=()),
        "stdio",
        root=P("/b/be/test"),
        environment=environment,
        interpreter=P("/boot/userboot_4th.so"),
    )
    assert words[5:9] == ["-h", "/b/be/test", "-l", "/boot/userboot_4th.so"]
    assert "boot.nfsroot.nfshandlelen=28" in words
    with pytest.raises(ValueError, match="no file handle"):
        nfs_environment(replace(root, handle=b""))
