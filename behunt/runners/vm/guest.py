"""A virtual machine as a Host: each command boots or resumes it, runs in it, and ends it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from behunt.errors import ConsoleError, HostError
from behunt.hosts.pipes import Kept
from behunt.hosts.protocol import CLEAN_ENV, Completed, Sink, Stdin, checked
from behunt.model import UNLIMITED, Limits
from behunt.runners.job import told
from behunt.runners.protocol import AT
from behunt.runners.vm import exchange_disk
from behunt.runners.vm.course import BOOT, Came, Course, completed
from behunt.runners.vm.exchange_disk import File
from behunt.runners.vm.job import JOB, TOLD, System, job
from behunt.runners.vm.started import CONSOLE, Started

_OUT_OF_MEMORY = re.compile(
    r"Out of memory: Kill|deadlocked on memory|was killed: (?:out of swap|failed to reclaim)"
)
_TOLD = 1 << 20  # bytes looked at of the end of what a machine said


@dataclass
class Guest:
    """`start` gives a machine whose exchange disk is at this path, which waits or will soon.

    It has a directory for its transcript, and raises ConsoleError if the machine did not come up;
    one that is about to has `patience` seconds for it. `exchange` is the directory shared with the
    inside: what is there goes in, and comes back as it is then; its test may boot the machine
    `boots` times. After a run `kernel` is what uname -r says in there, `full` whether its disk was,
    `short` whether its memory ran out, `endless` whether it booted too often, and `lost` why QEMU
    could not let it run to its end.
    """

    system: System
    start: Callable[[Path, Path, Sink | None], AbstractContextManager[Started]]
    exchange: Path
    hostname: str
    room: int  # bytes of the exchange disk
    limits: Limits = UNLIMITED
    name: str = "qemu"
    boots: int = 1
    patience: float = BOOT
    kernel: str = field(default="", init=False)
    full: bool = field(default=False, init=False)
    short: bool = field(default=False, init=False)
    endless: bool = field(default=False, init=False)
    lost: str = field(default="", init=False)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: Stdin = b"",
        timeout: float = 60.0,
        check: bool = False,
        sink: Sink | None = None,
    ) -> Completed:
        if stdin:
            raise HostError(f"a machine of the runner {self.name} has no standard input to give")
        number = secrets.token_hex(4)
        script = job(
            self.system,
            argv,
            {**CLEAN_ENV, **(env or {})},
            cwd,
            run=number,
            hostname=self.hostname,
            directories=_directories(self.exchange),
            limits=self.limits,
            reboots=self.boots > 1,
        )
        with tempfile.TemporaryDirectory(dir=self.exchange, prefix=".machine.") as scratch:
            disk = Path(scratch) / "exchange.img"
            exchange_disk.write(disk, _files(self.exchange, script), self.room)
            kept = Kept()
            try:
                with self.start(Path(scratch), disk, sink or kept) as running:
                    came = self._course(running, number).follow(timeout)
            except ConsoleError as error:
                came = Came(silent=error.message, screen=error.hint)
            said = came.said | self._brought(disk, number)
            console = _last(Path(scratch) / CONSOLE)
        done = replace(completed(argv, came, said), out=kept.text())
        self.kernel = said.get("kernel", self.kernel)
        self.full = "full" in said
        self.short = _OUT_OF_MEMORY.search(console) is not None
        self.endless, self.lost = came.endless, came.lost
        if sink is not None and (done.panic or came.lost or not done.started):
            sink(console.encode())
        return checked(done) if check else done

    def put(self, source: Path, target: PurePosixPath) -> None:
        shutil.copy(source, self._shared(target))

    def get(self, source: PurePosixPath, target: Path) -> None:
        shutil.copy(self._shared(source), target)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return list(argv)

    def _course(self, running: Started, number: str) -> Course:
        return Course(running, self.system, number, self.boots, self.patience)

    def _shared(self, path: PurePosixPath) -> Path:
        if not path.is_relative_to(AT) or ".." in path.parts:
            raise HostError(f"{path} cannot be reached between runs", f"files are below {AT}")
        return self.exchange / path.relative_to(AT)

    def _brought(self, disk: Path, number: str) -> dict[str, str]:
        """What the machine has put on the disk; nothing where it did not come to that."""
        with tempfile.TemporaryDirectory(dir=self.exchange, prefix=".back.") as scratch:
            found = Path(scratch)
            exchange_disk.read(disk, found)
            try:
                said = told((found / TOLD).read_text(encoding="utf-8", errors="replace"))
            except OSError:
                return {}
            if said.get("run") != number:
                return {}
            for path in found.iterdir():
                if path.name != TOLD:
                    _moved(path, self.exchange / path.name)
        return said


def _directories(exchange: Path) -> list[str]:
    inside = (path for path in sorted(exchange.rglob("*")) if path.is_dir())
    return [str(path.relative_to(exchange)) for path in inside]


def _files(exchange: Path, script: str) -> list[File]:
    inside = [path for path in sorted(exchange.rglob("*")) if path.is_file()]
    return [
        File(JOB, script.encode(), 0o755),
        *(
            File(str(path.relative_to(exchange)), path, os.stat(path).st_mode & 0o777)  # noqa: PTH116
            for path in inside
            if not path.relative_to(exchange).parts[0].startswith(".")
        ),
    ]


def _moved(found: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    found.rename(target)


def _last(transcript: Path) -> str:
    with transcript.open("rb") as file:
        file.seek(max(0, transcript.stat().st_size - _TOLD))
        return file.read().decode(errors="replace")
