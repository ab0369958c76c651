"""The inside of a clone on any host, as a Host of its own.

Words before a command get it inside (`jexec NAME`, `chroot ROOT`). Such a prefix fails with exit
statuses that a test may end with as well. So a small shell inside writes down how far it came
before it becomes the command; that is read only when something failed.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Protocol, cast

from behunt.errors import HostError
from behunt.hosts.local import Prefixed
from behunt.hosts.protocol import CLEAN_ENV, Completed, Sink, Stdin, checked
from behunt.runners.protocol import AT, nothing

_MARK = ".entered"  # in the exchange directory
NOT_CARRIED = frozenset({_MARK})

# `$1` is the mark, `$2` the number of the run, `$3` the directory, the rest the command. For every
# sh since 4.4BSD. An EXIT trap is forgotten by an exec that succeeds; bash does not run it after
# one that fails, and then the command passes for one that ran and ended with 127.
_BECOME = """\
m=$1 n=$2
rm -f "$m"
cd "$3" 2>/dev/null || { echo "$n directory" >"$m"; exit 127; }
shift 3
p=$1
case $p in
*/*) ;;
*) i=$IFS; IFS=:
   for d in $PATH; do if test -f "$d/$1" && test -x "$d/$1"; then p=$d/$1; break; fi; done
   IFS=$i
   case $p in */*) ;; *) echo "$n missing" >"$m"; exit 127 ;; esac ;;
esac
test -r "$p" || test -x "$p" || { echo "$n missing" >"$m"; exit 127; }
if test -d "$p" || test ! -x "$p"; then echo "$n refused" >"$m"; exit 126; fi
trap 'echo "$n failed" >"$m"' 0
echo "$n started" >"$m"
exec "$@"
"""
# The directory and the mark in it are a test's to replace, by a link or a FIFO too.
_READ = 'cd "$1" && test ! -h "$2" && cd "$2" && test -f "$3" && test ! -h "$3" && cat "$3"'

_numbers = itertools.count(1)  # a mark of an earlier run says nothing

_FAILURES = {
    "directory": "cannot change to the working directory: No such file or directory",
    "missing": "cannot execute {program}: No such file or directory",
    "refused": "cannot execute {program}: Permission denied",
    "failed": "cannot execute {program}: the interpreter it asks for does not exist, "
    "or it is no program of this system",
}


class Attaching(Protocol):
    """A host that lends the user's terminal to a command."""

    def attach(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str) -> int: ...


@dataclass(frozen=True)
class Entered(Prefixed):
    """Commands inside the clone at `root` of the outer host, got there by the prefix.

    `exchange` is the controller's side of what was copied to AT, `machine` what the outer host
    calls its processor. `after_deadline` ends what a command that timed out may have left: the
    outer host has killed no more than the tree that it started.
    """

    root: str = "/"
    exchange: Path = field(default_factory=Path)
    machine: str = ""
    after_deadline: Callable[[], object] = nothing

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
        if why := self._foreign(argv, cwd):
            done = _never_started(argv, why)
        else:
            number = next(_numbers)
            command = [*self.inward(env, cwd, number), *argv]
            done = self.outer.run(command, stdin=stdin, timeout=timeout, sink=sink)
            done = replace(done, argv=tuple(argv))
            if done.timed_out:
                self.after_deadline()
            elif done.code != 0 and done.started:
                done = self._judged(done, number)
        return checked(done) if check else done

    def attach(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str) -> int:
        """Lend the user's terminal to `argv` inside; its exit code. HostError if it never ran."""
        number = next(_numbers)
        seen = {"TERM": os.environ.get("TERM", "vt100"), **env}
        outer = cast("Attaching", self.outer)
        code = outer.attach([*self.inward(seen, cwd, number), *argv], env={}, cwd="/")
        if code != 0 and not (done := self._judged(Completed(tuple(argv), code), number)).started:
            raise HostError(done.failure)
        return code

    def inward(self, env: Mapping[str, str] | None, cwd: str, number: int) -> list[str]:
        """What is put before the command of run `number` on the outer host.

        Its environment is made inside: programs of the outer host are not to see a LD_PRELOAD or
        PATH that is meant for the test.
        """
        clean = [f"{name}={value}" for name, value in {**CLEAN_ENV, **(env or {})}.items()]
        become = ["/bin/sh", "-c", _BECOME, "sh", str(AT / _MARK), str(number), cwd]
        return [*self.prefix, "env", "-i", *clean, *become]

    def _judged(self, done: Completed, number: int) -> Completed:
        """`done`, which failed, or that it never started and why."""
        read = ["sh", "-c", _READ, "sh", self.root, AT.name, _MARK]
        said = self.outer.run(read).out.split()
        mark = said[1] if said[:1] == [str(number)] and len(said) > 1 else ""
        if mark in _FAILURES:
            return _never_started(done.argv, _FAILURES[mark].format(program=done.argv[0]))
        if mark == "started":
            return done
        # No mark: the test took it away, or nothing gets inside at all.
        probe = self.outer.run([*self.prefix, "env", "true"])
        if probe.code == 0:
            return done
        why = (probe.err.strip() or done.err.strip() or probe.how).splitlines()[-1]
        return _never_started(done.argv, f"cannot get inside the {self.name}: {why}")

    def _foreign(self, argv: Sequence[str], cwd: str) -> str:
        """Why the kernel there does not execute a program of the exchange directory.

        Shells take a file that is no program of theirs for a script, and its end for an answer.
        """
        if not argv or "/" not in argv[0]:
            return ""
        path = PurePosixPath(cwd, argv[0])
        if not path.is_relative_to(AT) or ".." in path.parts:
            return ""
        try:
            with (self.exchange / path.relative_to(AT)).open("rb") as program:
                head = program.read(20)
        except OSError:
            return ""
        wrong = is_foreign(head, self.machine)
        return f"cannot execute {argv[0]}: Exec format error" if wrong else ""


# System V ABI, e_machine: what kernels of each machine execute
_ELF_MACHINES = {
    "x86_64": {3, 62},
    "amd64": {3, 62},
    "i386": {3},
    "i686": {3},
    "aarch64": {40, 183},
    "arm64": {40, 183},
}


def is_foreign(head: bytes, machine: str) -> bool:
    """Whether an ELF file that begins with `head` (20 bytes) is for another processor."""
    known = _ELF_MACHINES.get(machine)
    if known is None or len(head) < 20 or not head.startswith(b"\x7fELF"):  # noqa: PLR2004
        return False
    order = ">" if head[5] == 2 else "<"  # noqa: PLR2004 - ELFDATA2MSB
    return struct.unpack_from(f"{order}H", head, 18)[0] not in known


def _never_started(argv: Sequence[str], failure: str) -> Completed:
    return Completed(tuple(argv), 127, started=False, failure=failure)
