"""Machines of a FreeBSD host as values: what is run there, and what is made of its console."""

from __future__ import annotations

import shlex
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from pathlib import PurePosixPath as P

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vm_hardware import MODERN

from behunt.hosts.local import LocalHost
from behunt.model import Release
from behunt.runners.bhyve import BhyveRunner, launched, launched_diskless, why
from behunt.runners.vm import eras
from behunt.runners.vm.bhyve_disk import Disks, configured
from behunt.runners.vm.bhyve_root import Roots
from behunt.runners.vm.consoles import deaths
from behunt.runners.vm.machine import Bus, Card, Disk, Firmware, From, Hardware, Machine, Uefi
from behunt.runners.vm.nfs_root import Link
from behunt.runners.vm.printed import Printed
from behunt.storage.home import Home

NAME = "bh_1f3a5c_4711x6af0de_0"
HARDWARE = replace(MODERN, cpus=1, memory=1 << 30, firmware=Firmware.LOADER, device="/dev/vtbd{n}")
MACHINE = Machine(
    NAME,
    HARDWARE,
    From.DISK,
    (Disk(P("/dev/zvol/z/d:disk"), Bus.VIRTIO), Disk(P("/var/tmp/x/exchange"), Bus.VIRTIO)),
)


def release(version: str, os: str = "freebsd", arch: str = "amd64") -> Release:
    return Release(f"{os}-{version}-{arch}", os, version, arch)


@pytest.fixture
def runner() -> BhyveRunner:
    return BhyveRunner(LocalHost(), home=Home(Path("/nowhere")))


# -- what is run


def test_the_kernel_comes_from_the_first_disk_and_both_are_there() -> None:
    launch = launched(MACHINE)
    place, keys, command = launch.start[-3:]
    assert (place, keys) == (f"/var/tmp/{NAME}", f"/var/tmp/{NAME}/keys")
    load, run, tell = command.splitlines()
    assert load.endswith(f" {NAME} || exit")
    assert shlex.split(load)[:7] == [
        *("bhyveload", "-c", "stdio", "-m", "1024M", "-d", "/dev/zvol/z/d:disk")
    ]
    assert "/var/tmp/x/exchange" not in load
    assert "2:0,virtio-blk,/dev/zvol/z/d:disk -s 3:0,virtio-blk,/var/tmp/x/exchange" in run
    assert "-l com1,stdio" in run
    assert tell == "echo $? >ended"


def test_with_a_firmware_there_is_nothing_to_load() -> None:
    uefi = Uefi(P("/u/BHYVE_UEFI.fd"))
    machine = replace(MACHINE, hardware=replace(HARDWARE, firmware=Firmware.UEFI), uefi=uefi)
    run, _ = launched(machine).start[-1].splitlines()
    assert run.startswith("bhyve ")
    assert f"-l bootrom,/u/BHYVE_UEFI.fd {NAME}" in run


def test_what_runs_a_machine_is_ended_before_the_machine() -> None:
    script = launched(MACHINE).stop[2]
    kill, destroy, *unplug = script.splitlines()
    assert kill == f'pkill -KILL -f "^bhyve.* {NAME}( |\\$)"'
    assert destroy == f"test ! -e /dev/vmm/{NAME} || bhyvectl --vm={NAME} --destroy || exit"
    assert unplug[0] == "for tap in $(ifconfig -g tap 2>/dev/null); do"


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (0, "guest-reset"),
        (1, "guest-shutdown"),
        (2, "guest-shutdown"),
        (3, "guest-reset"),
        (4, "it could not be run"),
        (137, "it was killed"),
        (-9, "it was killed"),
    ],
)
def test_why_a_machine_ended(code: int, word: str) -> None:
    assert why(code) == word


def test_the_loader_of_an_older_guest_shows_its_banner_twice() -> None:
    assert "rebooted" in {row.reached for row in deaths("freebsd")}
    assert "rebooted" not in {row.reached for row in deaths("freebsd", reboots=True)}


# -- which releases, and on what


@pytest.mark.parametrize(
    ("one", "why_not"),
    [
        (release("13.2"), ""),
        (release("8.0", arch="i386"), ""),
        (release("7.4", arch="i386"), "no disk that it has a driver for"),
        (release("7.4"), "for a root by NFS"),
        (release("5.0"), "no disk that it has a driver for"),
        (release("13.2", arch="arm64"), "for arm64"),
        (release("12", "debian"), "boots FreeBSD only, not debian 12"),
    ],
)
def test_which_releases_it_boots(runner: BhyveRunner, one: Release, why_not: str) -> None:
    assert why_not in runner.unfit(one)
    assert bool(runner.unfit(one)) == bool(why_not)


def test_it_is_of_freebsd_hosts(runner: BhyveRunner) -> None:
    assert "needs a FreeBSD host" in runner.missing()


def of(version: str) -> Hardware:
    return eras.hardware_of(release(version), "bhyve")


def test_one_port_is_for_kernel_job_and_test() -> None:
    files = configured(of("13.2"))
    job = files["behunt/.init"]
    assert "stty raw -echo </dev/console\n" in job
    assert "cuau1" not in job
    assert "disk=/dev/vtbd1\n" in job
    assert "vtbd0p1" in files["etc/fstab"]


def test_ahci_was_a_module() -> None:
    assert 'ahci_load="YES"\n' in configured(of("8.4"))["boot/loader.conf.local"]
    assert "ahci" not in configured(of("9.3"))["boot/loader.conf.local"]


def test_a_disk_is_of_one_installation_for_one_machine() -> None:
    one = Disks(LocalHost(), "/run/root", "a" * 64, of("13.2"), "1f3a5c")
    others = [
        replace(one, identity="b" * 64),
        replace(one, hardware=replace(one.hardware, disk=Bus.AHCI, device="/dev/ada{n}")),
        replace(one, hardware=replace(one.hardware, firmware=Firmware.LOADER)),
    ]
    assert len({one.key, *(other.key for other in others)}) == 4
    assert replace(one, root="/run/other").key == one.key


def test_the_card_follows_the_era() -> None:
    assert (of("8.4").nic, of("9.3").nic) == (Card.E1000, Card.VIRTIO)


# -- a root by NFS

OLD = of("7.4")


def test_the_kernel_comes_from_a_directory_and_mounts_it() -> None:
    link = Link("tap3")
    launch = launched_diskless(NAME, OLD, link, P("/var/tmp/x.root"), bytes(range(32)))
    load, run, _ = launch.start[-1].splitlines()
    assert "-d" not in shlex.split(load)
    assert "-h /var/tmp/x.root " in load
    assert f"boot.nfsroot.nfshandle=X{bytes(range(32)).hex()}X" in load
    assert "vfs.root.mountfrom=nfs:198.18.0.13:/var/tmp/x.root" in load
    assert "boot.netif.ip=198.18.0.14 -e boot.netif.netmask=255.255.255.252" in load
    assert "boot.netif.hwaddr=58:9c:fc:00:00:03" in load
    assert "2:0,e1000,tap3,mac=58:9c:fc:00:00:03" in run
    assert "3:0" not in run


@given(st.sets(st.integers(0, 32767), min_size=2, max_size=9))
def test_no_two_links_have_a_network_or_a_card_in_common(units: set[int]) -> None:
    links = [Link(f"tap{unit}") for unit in units]
    assert len({link.network for link in links}) == len({link.mac for link in links}) == len(units)
    for link in links:
        assert link.network.subnet_of(IPv4Network("198.18.0.0/15"))
        assert {IPv4Address(link.host), IPv4Address(link.guest)} == set(link.network.hosts())


def test_a_root_by_nfs_is_configured_for_that() -> None:
    roots = Roots(LocalHost(), "/run/root", "a" * 64, OLD, "1f3a5c")
    files = roots.files()
    assert "ifconfig" not in files["etc/rc.conf.local"]  # it would lose its root
    assert "vfs.root.mountfrom" not in files["boot/loader.conf.local"]
    assert "disk=\n" in files["behunt/.init"]
    assert roots.key != Disks(LocalHost(), "/run/root", "a" * 64, OLD, "1f3a5c").key


# -- what the test prints

BOOTED = b"Starting devd.\r\nbehunt: ready\r\nbehunt: 1a2b3c4d kernel 9.3-RELEASE\r\n"
STARTED, ENDED = b"behunt: 1a2b3c4d started\r\n", b"behunt: 1a2b3c4d exit 0\r\nUptime: 5s\r\n"
OUTPUT = st.lists(st.sampled_from([b"behunt: ", b"1a2b3c4d", b" ", b"exit", b"\n", b"x", b"be"]))


@given(OUTPUT.map(b"".join), st.lists(st.integers(1, 40)))
def test_it_is_what_lies_between_start_and_end(output: bytes, sizes: list[int]) -> None:
    end = b"behunt: 1a2b3c4d exit "
    expected = (output + end).split(end)[0]
    got: list[bytes] = []
    printed = Printed(got.append)
    rest = BOOTED + STARTED + output + ENDED
    for size in [*sizes, len(rest)]:
        printed(rest[:size])
        rest = rest[size:]
    printed.close()
    assert b"".join(got) == expected


def test_without_an_end_it_is_all_that_came() -> None:
    got: list[bytes] = []
    printed = Printed(got.append)
    for piece in (BOOTED, STARTED, b"one\nbehu", b"nt: 1a2b"):
        printed(piece)
    assert got == [b"one\n"]
    printed.close()
    assert b"".join(got) == b"one\nbehunt: 1a2b"


def test_a_machine_that_starts_no_test_prints_nothing() -> None:
    got: list[bytes] = []
    printed = Printed(got.append)
    printed(BOOTED + b"behunt: 1a2b3c4d failed cannot execute it\r\n")
    printed.close()
    assert got == []
