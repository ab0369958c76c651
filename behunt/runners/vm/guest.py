"""A virtual machine as a Host: each command boots or resumes it, runs in it, and ends it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from behunt.errors import ConsoleError, HostError
from behunt.hosts.console import Reached
from behunt.hosts.dialogue import Row
from behunt.hosts.protocol import CLEAN_ENV, Completed, Sink, Stdin, checked
from behunt.model import UNLIMITED, Limits
from behunt.runners.job import told
from behunt.runners.protocol import AT
from behunt.runners.vm import exchange_disk
from behunt.runners.vm.exchange_disk import File
from behunt.runners.vm.job import DONE, JOB, MARK, READY, TOLD, System, job
from behunt.runners.vm.running import Running

BOOT = 300.0  # seconds until a machine waits for its job; an emulated one of the slowest kind
_ANSWER = 60.0  # seconds until it has taken the job
_BACK = 300.0  # seconds until it has put what came of it on the disk
_PANIC = re.compile(r"^(?:\[ *\d+\.\d+\] )?(.*)$")  # without the kernel's time
_OUT_OF_MEMORY = re.compile(r"Out of memory: Kill|deadlocked on memory")
_TOLD = 1 << 20  # bytes looked at of the end of what a machine said


@dataclass
class Guest:
    """`start` gives a machine whose exchange disk is at this path, which waits or will soon.

    `exchange` is the directory shared with the inside: what is there goes in, and comes back as it
    is then. After a run `kernel` is what uname -r says in there, `full` whether its disk was, and
    `short` whether its memory ran out.
    """

    system: System
    start: Callable[[Path, Path, Sink | None], Running]
    exchange: Path
    hostname: str
    room: int  # bytes of the exchange disk
    limits: Limits = UNLIMITED
    name: str = "qemu"
    kernel: str = field(default="", init=False)
    full: bool = field(default=False, init=False)
    short: bool = field(default=False, init=False)

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
        began = time.monotonic()
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
        )
        with tempfile.TemporaryDirectory(dir=self.exchange, prefix=".machine.") as scratch:
            disk = Path(scratch) / "exchange.img"
            exchange_disk.write(disk, _files(self.exchange, script), self.room)
            kept: list[bytes] = []
            with self.start(Path(scratch), disk, sink or kept.append) as running:
                transcript = running.console.transcript
                came = _Course(running, number).follow(timeout)
            said = self._brought(disk, number) or came.said
            console = _last(transcript.path)
        done = replace(
            completed(argv, came, said),
            out=b"".join(kept).decode(errors="replace"),
            seconds=time.monotonic() - began,
        )
        self.kernel = said.get("kernel", self.kernel)
        self.full = "full" in said
        self.short = _OUT_OF_MEMORY.search(console) is not None
        if sink is not None and (done.panic or not done.started):
            sink(console.encode())
        return checked(done) if check else done

    def put(self, source: Path, target: PurePosixPath) -> None:
        shutil.copy(source, self._shared(target))

    def get(self, source: PurePosixPath, target: Path) -> None:
        shutil.copy(self._shared(source), target)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return list(argv)

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


@dataclass(frozen=True, slots=True)
class Came:
    """How far a machine came: what its job told on the console, and what ended it."""

    said: dict[str, str]
    started: bool = False
    timed_out: bool = False
    end: Reached | None = None  # other than by finishing the job
    silent: str = ""


class _Course:
    """One run, as the console shows it."""

    def __init__(self, running: Running, number: str) -> None:
        self._running = running
        self._number = number
        self._said: dict[str, str] = {}

    def follow(self, timeout: float) -> Came:
        try:
            came = self._booted() or self._ran(timeout)
            self._running.end()
        except ConsoleError as error:
            return Came(self._said, silent=f"{error.message}\n{error.hint}".strip())
        return came

    def _booted(self) -> Came | None:
        up = booted(self._running)
        if up is not None:
            return Came(self._said, end=up)
        now = f"{time.time():.0f}\n".encode()
        self._running.console.send(now, time.monotonic() + _ANSWER)
        return None

    def _ran(self, timeout: float) -> Came:
        words = ("kernel [^\n]*\n", "started", "failed [^\n]*\n", "exit \\d+\\D", DONE, "overfull")
        rows = {word.split()[0]: word for word in words}
        deadline, started = time.monotonic() + _ANSWER, False
        while True:
            wanted = [Row(regex=self._marked(word), reached=name) for name, word in rows.items()]
            try:
                seen = self._running.console.play(wanted, deadline)
            except ConsoleError:
                if started:
                    return Came(self._said, started=True, timed_out=True)
                raise
            if seen.state not in rows:
                return Came(self._said, started, end=seen)
            self._said[seen.state] = seen.said.rpartition(f" {seen.state}")[2].strip()
            if seen.state == DONE:
                return Came(self._said, started)
            if seen.state == "started":
                started, deadline = True, time.monotonic() + timeout
            elif seen.state in {"exit", "failed"}:
                deadline = time.monotonic() + _BACK

    def _marked(self, word: str) -> str:
        return f"{MARK} {self._number} {word}"


def booted(running: Running) -> Reached | None:
    """Let it run until it waits for its job; how it ended, if it does not come so far.

    Raises ConsoleError where it comes nowhere in time.
    """
    running.monitor.go_on()
    if running.resumed:
        return None
    rows = [Row(text=f"{MARK} {READY}", reached=READY)]
    up = running.console.play(rows, time.monotonic() + BOOT)
    return None if up.state == READY else up


def completed(argv: Sequence[str], came: Came, said: Mapping[str, str]) -> Completed:
    """What the course of the machine says about the command in it."""
    done = Completed(tuple(argv), 0)
    if "failed" in said:
        return replace(done, code=127, started=False, failure=said["failed"])
    if "exit" in said:
        return replace(done, code=int(said["exit"]))
    if came.timed_out:
        return replace(done, code=-9, timed_out=True)
    if not came.started and "started" not in said:
        why = came.end.reason if came.end else came.silent
        return replace(done, code=127, started=False, failure=f"did not boot: {why}")
    if came.end is not None and came.end.dead and (panic := _PANIC.match(came.end.said)):
        return replace(done, code=1, panic=panic[1])
    why = came.end.reason if came.end else came.silent
    return replace(done, code=1, panic=f"the machine went down under the test: {why}")


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
