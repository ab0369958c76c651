"""The monitor of a real QEMU: every state it can be in, and every way in which it can fail us."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from behunt.errors import HostError
from behunt.hosts.qmp import EndedError, Qmp
from behunt.runners.vm.accel import installed

pytestmark = pytest.mark.real

FILES = (8, 2)  # the first QEMU with `file:`
VERSIONS = [(8, 1), FILES]
BOARD = ("-M", "pc", "-m", "8", "-accel", "tcg")  # with SeaBIOS, which finds nothing to boot
EMPTY = ("-M", "none")
ENDINGS = {
    "ba0406 b80020 ef": "guest-shutdown",  # ACPI: sleep type and enable, to PM1a control
    "b0fe e664": "guest-reset",  # the keyboard controller's reset line
    "ba0505 b001 ee": "guest-panicked",  # pvpanic's port
    "b80103 b90200 ba8000 bb007c cd13": "io-error",  # BIOS writes to a disk that is full
}


@contextlib.contextmanager
def qemu(
    directory: Path, *more: str, connection: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    there = "path=qmp,server=on,wait=off" if connection is None else f"fd={connection}"
    argv = [
        *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-S", "-nodefaults"),
        *("-display", "none", "-no-reboot", "-chardev", f"socket,id=qmp,{there}"),
        *("-mon", "chardev=qmp,mode=control", *more),
    ]
    fds = [] if connection is None else [connection]
    process = subprocess.Popen(argv, cwd=directory, stderr=subprocess.PIPE, pass_fds=fds)
    try:
        yield process
    finally:
        process.kill()
        print(process.communicate()[1].decode(), process.returncode)


@contextlib.contextmanager
def aged(
    directory: Path, version: tuple[int, int], *more: str
) -> Iterator[tuple[subprocess.Popen[bytes], Qmp]]:
    """A QEMU for which somebody has said that it is of `version`, before its own greeting."""
    if version >= FILES > installed().version:
        pytest.skip("this QEMU knows no file:")
    said = {"QMP": {"version": {"qemu": dict(zip(("major", "minor"), version, strict=True))}}}
    path = directory / "aged"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening, ThreadPoolExecutor() as pool:
        listening.bind(str(path))
        listening.listen()
        coming = pool.submit(Qmp, path)
        with listening.accept()[0] as connection:
            connection.sendall(json.dumps(said).encode() + b"\n")
            with qemu(directory, *more, connection=connection.fileno()) as process:
                connection.close()  # QEMU alone has it now, and it ends with QEMU
                with coming.result() as monitor:
                    yield process, monitor


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])


def test_power_and_state(tmp_path: Path) -> None:
    with qemu(tmp_path, *BOARD) as process, Qmp(tmp_path / "qmp") as monitor:
        assert monitor.status() == "prelaunch"
        monitor.go_on()
        assert monitor.status() == "running"
        monitor.pause()
        assert monitor.status() == "paused"
        monitor.go_on()
        monitor.press_power()
        assert monitor.ended(0.01) is None  # no system is there to shut down
        monitor.quit()
        assert monitor.ended(10) == "host-qmp-quit"
        assert process.wait(10) == 0


@pytest.mark.parametrize(("guest", "why"), ENDINGS.items())
def test_a_guest_ends_its_machine(tmp_path: Path, guest: str, why: str) -> None:
    """A boot sector is all the system that it takes."""
    code = bytes.fromhex(guest) + b"\xeb\xfe"  # and then stay where you are
    (tmp_path / "disk").write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(64 << 10))
    full = "driver=blkdebug,node-name=disk,image.driver=file,image.filename=disk"
    full += ",inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.errno=28"
    more = ("-blockdev", full, "-device", "ide-hd,drive=disk", "-device", "pvpanic")
    with (
        qemu(tmp_path, *BOARD, *more, "-action", "panic=pause"),
        Qmp(tmp_path / "qmp") as monitor,
    ):
        monitor.go_on()
        assert monitor.ended(30) == why


def test_a_refusal_names_the_command_and_the_monitor_goes_on(tmp_path: Path) -> None:
    with qemu(tmp_path, *EMPTY), Qmp(tmp_path / "qmp") as monitor:
        with pytest.raises(HostError, match="QEMU refuses device_del: Device 'x' not found"):
            monitor.ask("device_del", {"id": "x"})
        assert monitor.status() == "prelaunch"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_qemu_is_killed(tmp_path: Path, number: int) -> None:
    why = "status -9" if number == signal.SIGKILL else "host-signal"
    with (
        qemu(tmp_path, *BOARD) as process,
        Qmp(tmp_path / "qmp", how=lambda: f"status {process.wait(10)}") as monitor,
    ):
        monitor.go_on()
        process.send_signal(number)
        assert monitor.ended(10) == why
        process.wait(10)
        with pytest.raises(EndedError, match=rf"QEMU ended \({why}\)"):
            monitor.status()


def test_a_stopped_qemu_is_waited_for_no_longer_than_asked(tmp_path: Path) -> None:
    with qemu(tmp_path, *EMPTY) as process, Qmp(tmp_path / "qmp") as monitor:
        stop(process)
        with pytest.raises(HostError, match="silent: query-status"):
            monitor.ask("query-status", timeout=0.05)
        assert monitor.ended(0.05) is None
        process.send_signal(signal.SIGCONT)
        assert monitor.status() == "prelaunch"  # the late answer is not taken for this one


def test_a_stopped_qemu_does_not_let_one_connect_for_ever(tmp_path: Path) -> None:
    with qemu(tmp_path, *EMPTY) as process:
        Qmp(tmp_path / "qmp").close()
        stop(process)
        with pytest.raises(HostError, match="silent: its greeting"):
            Qmp(tmp_path / "qmp", timeout=0.05)


def test_qemu_ends_before_it_makes_a_socket(tmp_path: Path) -> None:
    with (
        qemu(tmp_path, "-M", "nonesuch") as process,
        pytest.raises(EndedError, match="before its monitor answered"),
    ):
        Qmp(tmp_path / "qmp", gone=lambda: process.poll() is not None)


def test_there_is_never_a_socket(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="silent: its socket"):
        Qmp(tmp_path / "qmp", timeout=0.05)


def test_a_path_longer_than_a_sockets_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with qemu(deep, *EMPTY), Qmp(deep / "qmp") as monitor:
        assert monitor.status() == "prelaunch"


@pytest.mark.parametrize(
    "answer", [b"Connection: close\r\n\r\n", b'{"QMP": {}', b'{"QMP": {}}\n', b"x" * (2 << 20)]
)
def test_something_else_answers(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "qmp"))
        listening.listen()

        def speak() -> None:
            connection = listening.accept()[0]
            # whoever hears enough of it hangs up
            with connection, contextlib.suppress(OSError):
                connection.sendall(answer)

        speaker = threading.Thread(target=speak)
        speaker.start()
        with pytest.raises(HostError, match=r"not its monitor|QEMU ended"):
            Qmp(tmp_path / "qmp", timeout=10)
        speaker.join()


@pytest.mark.parametrize("version", VERSIONS)
def test_memory_goes_to_a_file_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int]
) -> None:
    """A QEMU that cannot open the file gets it opened. The path tells who has: it is theirs."""
    saved = Path("/proc/self/cwd/memory")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    monkeypatch.chdir(ours)
    machine = (*BOARD, "-sandbox", "on,spawn=deny")
    with aged(theirs, version, *machine) as (_, monitor):
        monitor.go_on()
        monitor.pause()
        before = tmp_path / "before"
        monitor.ask("pmemsave", {"val": 0, "size": 8 << 20, "filename": str(before)})
        monitor.save(saved, timeout=30)
        assert monitor.status() == "postmigrate"
    assert [path.parent for path in tmp_path.glob("*/memory")] == [
        theirs if version >= FILES else ours
    ]
    with aged(theirs, version, *machine, "-incoming", "defer") as (_, monitor):
        assert monitor.status() == "inmigrate"
        monitor.load(saved, timeout=30)
        after = tmp_path / "after"
        monitor.ask("pmemsave", {"val": 0, "size": 8 << 20, "filename": str(after)})
        assert after.read_bytes() == before.read_bytes()
        monitor.go_on()
        assert monitor.status() == "running"


@pytest.mark.parametrize("version", VERSIONS)
def test_memory_that_cannot_be_saved(tmp_path: Path, version: tuple[int, int]) -> None:
    with aged(tmp_path, version, *BOARD) as (_, monitor):
        with pytest.raises(HostError, match="No such file or directory"):
            monitor.save(tmp_path / "not" / "there", timeout=10)
        monitor.go_on()
        assert monitor.status() == "running"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("content", [b"", b"garbage" * 1000])
def test_memory_that_cannot_be_loaded(
    tmp_path: Path, content: bytes, version: tuple[int, int]
) -> None:
    saved = tmp_path / "memory"
    saved.write_bytes(content)
    with (
        aged(tmp_path, version, *BOARD, "-incoming", "defer") as (process, monitor),
        pytest.raises(EndedError),
    ):
        monitor.load(saved, timeout=10)
    assert process.returncode is not None
