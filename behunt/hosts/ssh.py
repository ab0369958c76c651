"""A host reached by OpenSSH, of which nothing is needed but a POSIX shell and its base system."""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Self

from behunt.errors import HostError, UsageError
from behunt.hosts import remote_sh
from behunt.hosts.local import get_by_sh, put_by_sh
from behunt.hosts.pipes import Kept, Pipes, pieces, size
from behunt.hosts.protocol import CLEAN_ENV, Completed, Sink, Stdin, checked
from behunt.hosts.remote_sh import Marks, Order, Told
from behunt.hosts.sandbox import Sandbox
from behunt.hosts.spawner import Session, not_started
from behunt.hosts.ssh_line import Line, line_to

_GRACE = 15.0  # seconds in which a killed tree must be reported dead
_LINGER = 2.0  # seconds without output after which what still holds it is not waited for
_ORPHANED = 60.0  # seconds after its deadline at which a tree ends itself, whoever is gone
_SIGNALLED = 128  # a shell's status of a command that died by signal n is 128+n
_LOST = 255  # what ssh(1) exits with where it failed itself
_REFUSED = frozenset(" '`\"$;&<>|(){}*?!")


@dataclass(frozen=True)
class SshHost:
    """`destination` as ssh(1) takes it: `[user@]host`, an alias of ssh_config, or `ssh://…`.

    `options` are more arguments for ssh. One connection is opened when it is first needed, by all
    hosts that are equal, and again when it was lost. `close` ends it; so does the end of behunt.

    A command's processes carry one more variable, BEHUNT_TREE. A status of 128+n is told as a
    death by signal n: a shell does not tell them apart. A deadline that comes before the command
    has started ends it once it has.
    """

    destination: str
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        there = self.destination
        if not there.isprintable() or _REFUSED.intersection(there) or there[:1] in {"", "-"}:
            raise UsageError(
                f"{there!r} is no host that ssh could reach",
                "write [user@]host, ssh://[user@]host[:port] or an alias of your ~/.ssh/config",
            )

    @property
    def name(self) -> str:
        return self.destination

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection. The next command opens another one."""
        self._line().close()

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
        order = Order(
            tuple(argv),
            {**CLEAN_ENV, **(env or {})},
            cwd,
            size(stdin),
            merged=sink is not None,
            lifetime=timeout + _ORPHANED,
        )
        if not order.possible:
            done = not_started(argv, "exec", errno.EINVAL)
        else:
            done = self._run(order, stdin, timeout, sink)
        return checked(done) if check else done

    def put(self, source: Path, target: PurePosixPath) -> None:
        put_by_sh(self, source, target)

    def get(self, source: PurePosixPath, target: Path) -> None:
        get_by_sh(self, source, target)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return ["ssh", *self.options, "--", self.destination, shlex.join(argv)]

    def attach(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str = "/") -> int:
        """Run `argv` on our terminal, or on our standard streams, until it ends. Its exit code."""
        terminal = {"TERM": os.environ.get("TERM", "vt100")}
        order = Order(tuple(argv), {**CLEAN_ENV, **terminal, **env}, cwd)
        if not order.possible:
            raise HostError(not_started(argv, "exec", errno.EINVAL).failure)
        line = self._line()
        words = line.client(terminal=sys.stdin.isatty())
        command = remote_sh.spelled(remote_sh.lent(order))
        code = subprocess.run([*words, command], check=False).returncode
        if code == _LOST and not line.alive():
            raise self._lost()
        return _died(code, "") if code > 0 else code

    def _line(self) -> Line:
        return line_to(self.destination, self.options)

    def _run(self, order: Order, stdin: Stdin, timeout: float, sink: Sink | None) -> Completed:
        began = time.monotonic()
        line = self._line()
        words = line.client()
        marks = Marks(secrets.token_hex(8), secrets.token_hex(16))
        script = remote_sh.command(order, marks, line.way)
        command = remote_sh.command_line(script, marks.tree, line.way, order.lifetime)
        told, out = Told(marks.secret), Kept()
        given = chain([script], pieces(stdin, order.stdin))
        with _sent([*words, command], given, [sink or out, told], held=True) as (ssh, pipes):
            try:
                code = _watched(ssh, pipes, told, began + timeout)
            except BaseException:
                with suppress(HostError):
                    self._end(line, marks)
                raise
            if code is None and not told.end:
                if not told.started:
                    raise self._lost()
                self._end(line, marks)
                pipes.drain()
        return self._completed(order, code, told, out, time.monotonic() - began)

    def _completed(
        self, order: Order, code: int | None, told: Told, out: Kept, seconds: float
    ) -> Completed:
        match told.end:
            case ("failed", step, number):
                return not_started(order.argv, step, getattr(errno, number))
            case ("exited", status, *signal_name):
                ended = _died(int(status), *signal_name)
            case _ if code is None:
                ended = -signal.SIGKILL
            case _:
                raise self._lost() if code == _LOST else self._mute(told)
        err = "" if order.merged else told.text()
        return Completed(order.argv, ended, out.text(), err, seconds, timed_out=not told.end)

    def _end(self, line: Line, marks: Marks) -> None:
        """Kill the tree of a command. Raises HostError if it does not die."""
        script = remote_sh.end(marks, line.way)
        words = [*line.client(), remote_sh.command_line(script)]
        told = Told(marks.secret)
        with _sent(words, [script], [Kept(), told]) as (ssh, pipes):
            code = _watched(ssh, pipes, told, time.monotonic() + _GRACE)
        if not told.end:
            raise self._lost() if code == _LOST else _undead(self.name)

    def _lost(self) -> HostError:
        return HostError(
            f"the connection to {self.name} was lost", "see that it is up, and run it again"
        )

    def _mute(self, told: Told) -> HostError:
        said = (told.text().strip() or "it says nothing").splitlines()[-1]
        return HostError(
            f"{self.name} runs no commands: {said}",
            f"`ssh {shlex.quote(self.destination)} true` must say nothing and succeed",
        )


@contextmanager
def _sent(
    words: Sequence[str], stdin: Iterable[bytes], sinks: Sequence[Sink], *, held: bool = False
) -> Iterator[tuple[Session, Pipes]]:
    """`words`, started; what it reads and says is moved by `_watched`."""
    with Session(Sandbox()) as ssh, Pipes(stdin, sinks, held=held) as pipes:
        ssh.start(words, env=dict(os.environ), cwd=str(Path.cwd()), fds=pipes.theirs)
        pipes.close_theirs()
        yield ssh, pipes


def _undead(name: str) -> HostError:
    return HostError(
        f"a process on {name} did not die although it was killed",
        "look for processes in state D there: `ps -A -o pid,state,args`",
    )


def _watched(ssh: Session, pipes: Pipes, told: Told, limit: float) -> int | None:
    """Move data until `ssh` has ended, its code; None where `limit` came before that."""
    deadline = limit
    while (left := _left(deadline, told)) > 0:
        ready = pipes.ready(ssh.fileno(), left)
        moved = pipes.pump(ready)
        if ssh.fileno() in ready:
            code = ssh.wait()
            pipes.drain()
            return code
        if told.end and (moved or deadline == limit):
            deadline = time.monotonic() + _LINGER
    return None


def _left(deadline: float, told: Told) -> float:
    """Seconds; what has not started yet can not be ended."""
    left = deadline - time.monotonic()
    return left if left > 0 or told.started or told.end else left + _GRACE


def _died(status: int, name: str = "") -> int:
    """Exit code, or minus the signal: by its `name`, since its number differs among systems."""
    if status <= _SIGNALLED:
        return status
    with suppress(ValueError, KeyError):
        found = signal.Signals[f"SIG{name}"] if name else signal.Signals(status - _SIGNALLED)
        return -found if found < signal.SIGRTMIN else status
    return status
