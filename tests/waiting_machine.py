"""What a machine does for a run, done here: by other shells, with programs in the place of its own.

No BSD runs on Linux; its script does, between two terminals and a disk that is a file.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from behunt.runners.vm import exchange_disk
from behunt.runners.vm.exchange_disk import File
from behunt.runners.vm.job import System, job, waiting


def filled(tmp_path: Path, own: Mapping[str, str]) -> Path:
    """A directory with programs of that system: these, and those that are the same in all."""
    programs = {
        "hostname": f'echo "$1" >{tmp_path}/hostname',
        "setsid": "echo there is none; exit 1",
        "sync": ":",
    }
    directory = tmp_path / "bin"
    directory.mkdir()
    for name, script in {**programs, **own}.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    return directory


def a_run(tmp_path: Path, programs: Path, shell: list[str], system: System) -> None:
    """From the first word on the console to the archive on the disk."""
    (console, its), (output, prints) = pty.openpty(), pty.openpty()
    names = {system.console: os.ttyname(its)}
    for device in filter(None, (system.output, system.initial)):
        here = tmp_path / Path(device).name
        here.symlink_to(os.ttyname(prints))
        names[device] = str(here)
    at, disk = tmp_path / "behunt", tmp_path / "disk1"

    def placed(script: str) -> str:
        for name, here in sorted({**names, "/behunt": str(at)}.items(), reverse=True):
            script = re.sub(rf"(?<![\w/]){re.escape(name)}(?![\w.])", here, script)
        return script.replace("PATH=", f"PATH={programs}:", 1)

    test = b"#!/bin/sh\ncat words\necho said\nmkdir $OUT/d\ncp words $OUT/d/kept\nexit 3\n"
    env = {"PATH": "/usr/bin:/bin", "OUT": "/behunt/out"}
    script = job(system, ["./t"], env, "/behunt/test", run="1f", hostname="h", directories=["out"])
    files = [
        File(".job", placed(script).encode(), 0o755),
        File("test/t", test, 0o755),
        File("test/words", b"words\n" * 3000),
    ]
    exchange_disk.write(disk, files, 5 << 20)
    running = subprocess.Popen([*shell, "-c", placed(waiting(system, str(disk)))])
    try:
        assert heard(console, b"ready\r\n").endswith(b"behunt: ready\r\n")
        for what_is_no_time in (b"\n", b"root\n"):
            os.write(console, what_is_no_time)
            assert heard(console, b"ready\r\n").endswith(b"behunt: ready\r\n")
        os.write(console, b"1795287451 1\n")
        printed = heard(output, b"said\n")
        told = heard(console, b"done\r\n").decode().splitlines()
        assert running.wait(60) == -signal.SIGKILL
    finally:
        running.kill()
        running.wait()
        for terminal in (console, its, output, prints):
            os.close(terminal)
    assert printed == b"words\n" * 3000 + b"said\n"
    assert [line.partition("1f ")[2].split()[0] for line in told] == [
        "kernel",
        "started",
        "exit",
        "done",
    ]
    assert (tmp_path / "hostname").read_text() == "h\n"
    (tmp_path / "back").mkdir()
    found = exchange_disk.read(disk, tmp_path / "back")
    assert found.whole
    assert found.left_out == ()
    assert (tmp_path / "back/out/d/kept").read_bytes() == b"words\n" * 3000
    assert (tmp_path / "back/.told").read_text().splitlines()[-1] == "exit 3"


def heard(terminal: int, last: bytes) -> bytes:
    said = b""
    while not said.endswith(last):
        said += os.read(terminal, 4096)
    return said
