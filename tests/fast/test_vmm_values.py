"""Machines of an OpenBSD host as values: what is run there, and what they are configured with."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from pathlib import PurePosixPath as P

import pytest

from behunt.hosts.local import LocalHost
from behunt.model import Release
from behunt.runners.vm import eras
from behunt.runners.vm.openbsd import configured
from behunt.runners.vm.vmm_args import end_args
from behunt.runners.vm.vmm_disk import Kept
from behunt.runners.vmm import VmmRunner, launched, why
from behunt.storage.home import Home

NAME = "bh_1f3a5c_4711x6af0de_0"
PLACE = P("/var/tmp") / NAME


def release(version: str, os: str = "openbsd", arch: str = "amd64") -> Release:
    return Release(f"{os}-{version}-{arch}", os, version, arch)


@pytest.fixture
def runner() -> VmmRunner:
    return VmmRunner(LocalHost(), home=Home(Path("/nowhere")))


@pytest.fixture
def kept() -> Kept:
    hardware = eras.hardware_of(release("7.7"), "vmm")
    return Kept(LocalHost(), "a" * 64, hardware, "1f3a5c")


def test_its_disk_is_derived_and_its_kernel_started_without_a_loader(kept: Kept) -> None:
    launch = launched(NAME, kept)
    place, keys, command, name = launch.start[-4:]
    assert (place, keys, name) == (str(PLACE), f"{PLACE}/keys", NAME)
    create, start = (shlex.split(part) for part in command.split(" && "))
    at = f"/var/db/behunt/1f3a5c/{kept.key}"
    assert create == ["vmctl", "create", "-b", f"{at}.qcow2", f"{PLACE}/root.qcow2"]
    assert start == [
        *("vmctl", "start", "-m", "1024M", "-b", f"{at}.bsd"),
        *("-d", f"qcow2:{PLACE}/root.qcow2", "-d", f"raw:{PLACE}/exchange", NAME),
    ]


def test_its_end_leaves_nothing_mounted() -> None:
    script = end_args(NAME, PLACE)[-1].splitlines()
    assert script[0] == f"vmctl stop -f -w {NAME} >/dev/null 2>&1"
    assert script[1] == f"umount -f {PLACE}/root >/dev/null 2>&1"
    assert f"covering {PLACE}/" in script[2]
    assert script[-1] == f"! vmctl status {NAME} 2>/dev/null | grep -qF {NAME}"


@pytest.mark.parametrize(("code", "word"), [(0, "guest-shutdown"), (4, "it could not be run")])
def test_why_a_machine_ended(code: int, word: str) -> None:
    assert why(code) == word


def test_what_it_is_configured_with() -> None:
    files = configured(eras.hardware_of(release("7.7"), "vmm"))
    assert files["etc/fstab"] == "/dev/sd0a / ffs rw 1 1\n"
    assert "disk=/dev/rsd1c\n" in files["behunt/.init"]
    assert "sshd_flags=NO\n" in files["etc/rc.conf.local"]
    assert files["etc/rc.local"] == "sh /behunt/.init\n"


def test_what_is_kept_is_of_one_installation(kept: Kept) -> None:
    assert replace(kept, identity="b" * 64).key != kept.key
    assert replace(kept, hardware=replace(kept.hardware, memory=1 << 29)).key == kept.key


@pytest.mark.parametrize(
    ("one", "why_not"),
    [
        (release("7.7"), ""),
        (release("5.3", arch="i386"), ""),
        (release("5.2"), "no disk that it has a driver for"),
        (release("7.7", arch="arm64"), "for arm64"),
        (release("13.2", "freebsd"), "of OpenBSD only, not of freebsd 13.2"),
    ],
)
def test_which_releases_it_boots(runner: VmmRunner, one: Release, why_not: str) -> None:
    assert why_not in runner.unfit(one)
    assert bool(runner.unfit(one)) == bool(why_not)


def test_it_is_of_openbsd_hosts(runner: VmmRunner) -> None:
    assert "needs an OpenBSD host" in runner.missing()
