"""Real QEMUs that come to nothing: what is said of one that is silent, goes down, or dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest
from running import below

from behunt import catalogue
from behunt.errors import ConsoleError, HostError, InstallError
from behunt.hosts.transcript import Transcript
from behunt.runners.vm import openbsd_disk
from behunt.runners.vm.course import boot
from behunt.runners.vm.eras import hardware_of
from behunt.runners.vm.job import FREEBSD
from behunt.runners.vm.machine import Machine
from behunt.runners.vm.qemu_args import Emulator, qemu_args
from behunt.runners.vm.running import MONITOR, SERIAL, Running

pytestmark = pytest.mark.real

RELEASE = catalogue.find(catalogue.load("openbsd"), "7.7", os="openbsd", arch="amd64")
TCG = Emulator()


@pytest.fixture
def pxeboot(tmp_path: Path) -> Path:
    """What the machine fetches first of all."""
    (tmp_path / "tftp").mkdir()
    return tmp_path / "tftp/pxeboot"


@pytest.fixture
def machine(pxeboot: Path, tmp_path: Path) -> Machine:
    """It boots from there, with two empty disks."""
    disks = [tmp_path / name for name in ("root", "archive")]
    for disk in disks:
        disk.write_bytes(bytes(1 << 20))
    return openbsd_disk.making(RELEASE, hardware_of(RELEASE), pxeboot.parent, *disks)


@contextmanager
def killed_when_it_reads(fifo: Path) -> Iterator[None]:
    """The QEMU of this test, once it opens `fifo`."""
    os.mkfifo(fifo)

    def kill() -> None:
        with fifo.open("wb"):
            for pid in below(os.getpid()):
                if b"qemu-system" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                    os.kill(pid, signal.SIGKILL)

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill)
        try:
            yield
        finally:
            os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))  # or nobody has opened it
            killing.result()


def test_a_qemu_that_dies_while_it_makes_a_disk_says_how(
    machine: Machine, pxeboot: Path, tmp_path: Path
) -> None:
    with killed_when_it_reads(pxeboot), pytest.raises(HostError) as caught:
        openbsd_disk.install(machine, RELEASE, tmp_path, TCG)
    assert caught.value.message == (
        "OpenBSD's installer does not come up: the console ended: "
        "QEMU ended under the machine: killed by SIGKILL"
    )


def test_a_machine_that_goes_down_while_it_makes_a_disk(
    machine: Machine, pxeboot: Path, tmp_path: Path
) -> None:
    pxeboot.write_text("#!ipxe\nreboot\n")
    with pytest.raises(InstallError, match=r"the console ended: it rebooted$"):
        openbsd_disk.install(machine, RELEASE, tmp_path, TCG)


def test_silence_to_the_deadline_is_told_with_the_screen_as_it_is(
    machine: Machine, tmp_path: Path
) -> None:
    sockets = {"serial": PurePosixPath(SERIAL), "qmp": PurePosixPath(MONITOR)}
    argv = qemu_args(machine, TCG, **sockets)
    with (
        Running(argv, tmp_path, Transcript(tmp_path / "console")) as running,
        pytest.raises(ConsoleError) as caught,
    ):
        boot(running, FREEBSD, patience=1)
    assert caught.value.message == "the console has not shown 'behunt: ready' after 1 s"
    assert caught.value.hint == running.console.transcript.screen
