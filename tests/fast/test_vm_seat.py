"""A machine that somebody sits at, as values: its scripts, its devices, how it ended."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from behunt_cli import executable

from behunt import catalogue
from behunt.hosts.console import ENDED, Reached
from behunt.model import BootEnv, Release
from behunt.runners.vm import seat
from behunt.runners.vm.interactive import Order, machine_of, merged, panic, unfit
from behunt.runners.vm.linux import Kernel
from behunt.runners.vm.machine import Nic
from behunt.runners.vm.seat import Terminal
from behunt.storage.protocol import Clone

RELEASE = catalogue.find(catalogue.load("debian"), "12", os="debian", arch="amd64")
BOOTENV = BootEnv("debian-12-amd64", RELEASE.id, Path("/be/debian-12-amd64/root"))
OVERLAY = Clone("c.1x000000.0", BOOTENV, lower=("/be/a:b,c/root",), stage="/home/stage")
DATASET = Clone("c.1x000000.0", BOOTENV, root="/home/mounts/c", stage="/home/stage")
KERNEL = Kernel(Path("/k/vmlinuz-6.1"), Path("/k/lib/modules/6.1"), "6.1")
TERMINAL = Terminal("it's; $HOME", 31, 97)
ORDER = Order("debian-12-amd64", TERMINAL)
INITS = [seat.init(kernel, network=network) for kernel in ("", "6.1") for network in (False, True)]
SCRIPTS = [text for text in seat.files("named", TERMINAL).values() if text.startswith("#!")]


@pytest.mark.parametrize("script", [*INITS, *SCRIPTS])
def test_all_scripts_are_of_any_shell(script: str) -> None:
    for shell in (["sh", "-n"], ["busybox", "sh", "-n"]):
        subprocess.run(shell, input=script, text=True, check=True)


def test_the_one_who_logs_in_has_the_terminal_of_the_user(tmp_path: Path) -> None:
    for name in ("stty", "login"):
        executable(tmp_path / name, 'echo "${0##*/} $*: $TERM"')
    done = subprocess.run(
        ["sh"],
        input=seat.files("named", TERMINAL)["login"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "TERM": "unknown"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "stty sane rows 31 cols 97: unknown",
        "login -f root: it's; $HOME",
    ]


@pytest.mark.parametrize(("own", "shared"), [(True, ["root"]), (False, ["root", "modules"])])
def test_modules_are_shared_where_the_kernel_is_not_of_the_root(
    own: bool,  # noqa: FBT001
    shared: list[str],
) -> None:
    machine = machine_of(RELEASE, OVERLAY, KERNEL, ORDER, Path("/s"), own=own)
    assert [share.tag for share in machine.shares] == shared
    assert not machine.shares[0].readonly
    assert all(share.readonly for share in machine.shares[1:])
    script = seat.init("" if own else "6.1", network=False)
    assert ("modules /root/lib/modules/6.1" in script) is not own


def test_the_root_is_the_clone() -> None:
    for clone, root in ((OVERLAY, "/home/stage/m"), (DATASET, "/home/mounts/c")):
        machine = machine_of(RELEASE, clone, KERNEL, ORDER, Path("/s"), own=True)
        assert machine.shares[0].path == PurePosixPath(root)
    argv = ["qemu", "-S"]
    assert merged(DATASET, argv) == argv
    *_, stage, options, program, word = merged(OVERLAY, argv)
    assert [stage, program, word] == ["/home/stage", *argv]
    assert options == ("lowerdir=/be/a\\:b\\,c/root,upperdir=/home/stage/u,workdir=/home/stage/w")


def test_the_machine_is_that_of_the_era_unless_another_is_ordered() -> None:
    usual = machine_of(RELEASE, OVERLAY, KERNEL, ORDER, Path("/s"), own=True)
    order = replace(ORDER, memory=3 << 30, cpus=3, network=True)
    other = machine_of(RELEASE, OVERLAY, KERNEL, order, Path("/s"), own=True)
    assert usual.hardware == replace(other.hardware, memory=1 << 30, cpus=1)
    assert (other.hardware.memory, other.hardware.cpus) == (3 << 30, 3)
    assert (usual.nic, other.nic) == (None, Nic(usual.hardware.nic, closed=False))


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        ("Kernel panic - not syncing: Attempted to kill init!", "Attempted to kill init!"),
        ("Kernel panic: VFS: Unable to mount root fs", "VFS: Unable to mount root fs"),
        ("what is this?", "Rebooting in 5 seconds.."),
    ],
)
def test_a_panic_is_told_in_the_kernels_words(tmp_path: Path, shown: str, why: str) -> None:
    transcript = tmp_path / "console"
    transcript.write_text(f"[      1.000] [    1.2] {shown}\n[      1.000] Call Trace:\n")
    lost = Reached("panicked", "Rebooting in 5 seconds..", "", 1.0, dead=True)
    assert panic(lost, transcript) == why
    assert panic(Reached(ENDED, "the console ended", "", 1.0), transcript) == ""


def named(os: str, version: str) -> Release:
    return catalogue.find(catalogue.load(os), version, os=os, arch="amd64")


def test_what_cannot_be_booted_is_refused() -> None:
    assert unfit(RELEASE, in_place=True) == ""
    assert "amd64 or i386" in unfit(replace(RELEASE, arch="arm64"))
    assert "openbsd gets a disk for runs alone" in unfit(named("openbsd", "7.5"))
    assert "omnios gets no disk" in unfit(named("omnios", "r151050"))
    assert "boots from a copy" in unfit(named("freebsd", "13.2"), in_place=True)
    assert "before 2.2" in unfit(replace(named("freebsd", "6.4"), version="2.1.7"))
