"""Somewhere commands run."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeAlias

from behunt.errors import HostError

Sink = Callable[[bytes], object]
Stdin: TypeAlias = bytes | Path

CLEAN_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}
KEPT_OUTPUT = 1 << 20  # bytes of each stream that a Completed keeps where no sink takes them


@dataclass(frozen=True, slots=True)
class Completed:
    """How one command ended.

    `code` is its exit status, or minus the signal that ended it. With `started` false the
    command never ran: `failure` says why and `code` is 127. `timed_out` means that the deadline
    came and the whole tree was killed. `panic` is what the machine said when it went down under
    the command, where the host is a machine of its own: a line, and its last screen below.
    """

    argv: tuple[str, ...]
    code: int
    out: str = ""
    err: str = ""
    seconds: float = 0.0
    started: bool = True
    timed_out: bool = False
    failure: str = ""
    errno: int = 0
    panic: str = ""

    @property
    def how(self) -> str:
        """One phrase: `exit 2`, `killed by SIGSEGV`, `timed out after 5 s`, or why not started."""
        if not self.started:
            return self.failure
        if self.timed_out:
            return f"timed out after {self.seconds:.0f} s"
        if self.code < 0:
            return f"killed by {_signal_name(-self.code)}"
        return f"exit {self.code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Host(Protocol):
    """Somewhere commands run: here, in a chroot or namespace, over ssh, on a console.

    `run` takes an argv (never a shell string), waits at most `timeout` seconds and then kills
    the whole process tree. It reads `stdin`: bytes, or a regular file of the controller that is
    never held in memory. Output is collected separately as `out` and `err`; with a `sink`
    both go there, merged, as they arrive. Only `env` on top of a small clean environment is
    seen. A command that fails is a value; `check=True` raises HostError. A host that cannot run
    anything at all (gone, refused) raises HostError.

    `put` and `get` copy one regular file; the mode's permission bits go along. Anything else
    there, or nothing, raises HostError.
    """

    @property
    def name(self) -> str: ...

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
    ) -> Completed: ...

    def put(self, source: Path, target: PurePosixPath) -> None: ...

    def get(self, source: PurePosixPath, target: Path) -> None: ...

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """`argv` as it is started from the controller: what a log line shows."""
        ...


def checked(done: Completed) -> Completed:
    """`done`, or HostError with the command and the last thing it said."""
    if done.code == 0 and done.started and not done.timed_out:
        return done
    said = (done.err or done.out).strip().splitlines()
    last = f": {said[-1]}" if said else ""
    raise HostError(f"`{shlex.join(done.argv)}` failed ({done.how}){last}", _hint(done))


def _hint(done: Completed) -> str:
    if not done.started and done.errno == 2:  # noqa: PLR2004 - ENOENT
        return f"install the program that provides `{os.path.basename(done.argv[0])}`"  # noqa: PTH119
    return "run the command by hand to see all of its output"
