"""behunt's side of the spawner: start it once, open sessions in sandboxes, run commands there."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from behunt.errors import HostError
from behunt.hosts import wire
from behunt.hosts.pipes import Kept, Pipes, pieces, size, wait_ready
from behunt.hosts.protocol import CLEAN_ENV, Completed, Sink, Stdin
from behunt.hosts.sandbox import Sandbox

_GRACE = 10.0  # seconds in which a killed tree must be reported dead
_PATIENCE = 60.0  # seconds in which a keeper must answer, on a machine however busy
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class _Spawner:
    """The one process that forks for us. Started on first use, gone when we are gone."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = (
            f"import sys; sys.path.append({str(_PACKAGE_ROOT)!r}); "
            f"from behunt.hosts.spawnd import main; main({theirs.fileno()})"
        )
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,  # none of behunt's streams is in reach of a sandbox
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is behunt's to handle
                cwd="/",
                env={"PATH": CLEAN_ENV["PATH"]},
            )
        self.requests = ours

    def open(self, sandbox: Sandbox) -> socket.socket:
        """The control socket of a new keeper. Raises OSError if the spawner is gone."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                wire.send(self.requests, sandbox.to_message(), [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return ours

    def close(self) -> None:
        self.requests.close()
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_lock = threading.Lock()
_running: list[_Spawner] = []
_controls: weakref.WeakSet[socket.socket] = weakref.WeakSet()  # of sessions; a keeper ends with its


def _spawner() -> _Spawner:
    with _lock:
        if _running and _running[0].process.poll() is not None:
            _running.pop().close()
        if not _running:
            _running.append(_Spawner())
            atexit.register(stop)
        return _running[0]


def stop() -> None:
    """End everything that was started through the spawner. It starts again when it is needed.

    A command that another thread waits for is killed, and its Session raises HostError.
    """
    with _lock:
        atexit.unregister(stop)
        for control in list(_controls):
            with contextlib.suppress(OSError):  # closed, or its keeper is gone
                control.shutdown(socket.SHUT_WR)
        while _running:
            _running.pop().close()


class Session:
    """One entered sandbox. Commands in it run one at a time; leaving it kills what still runs.

    It belongs to one thread. An error on the way (a sink's, Ctrl-C) closes it: what ran is dead.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        """Enter `sandbox`. Raises HostError with the step that failed."""
        self.sandbox = sandbox
        self._tree: list[int] = []
        try:
            self._control = _spawner().open(sandbox)
            with _lock:
                _controls.add(self._control)
        except OSError as error:
            raise HostError(
                f"cannot reach the spawner: {error}", "run the command again"
            ) from error
        with self._closed_on_error():
            answer, self._tree = self._answer(1)
            if "error" in answer:
                raise HostError(
                    f"cannot enter the sandbox: {answer['error']}",
                    "run `behunt doctor` to see what this machine can do",
                )

    @contextlib.contextmanager
    def tree(self) -> Iterator[int]:
        """The mounts of the root of a sandbox that is `exported`: a descriptor, to be had once.

        Wherever they are mounted then, they are in use for as long as it is open.
        """
        fd = self._tree.pop()
        try:
            yield fd
        finally:
            os.close(fd)

    def close(self) -> None:
        """Kill all that runs inside, and wait until it is dead."""
        while self._tree:
            os.close(self._tree.pop())
        with contextlib.suppress(OSError, EOFError):
            self._control.shutdown(socket.SHUT_WR)
            self._control.settimeout(_GRACE)
            while True:
                for fd in wire.receive(self._control, 1)[1]:
                    os.close(fd)
        self._control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        stdin: Stdin = b"",
        timeout: float,
        sink: Sink | None = None,
        seccomp: bytes = b"",
    ) -> Completed:
        """As Host.run, with exactly `env`; `seccomp` is a filter for the command's calls."""
        began = time.monotonic()
        out, err = Kept(), Kept()
        sinks = [out, err] if sink is None else [sink]
        with Pipes(pieces(stdin, size(stdin)), sinks) as pipes, self._closed_on_error():
            request = _request(argv, env, cwd) | {"seccomp": seccomp.hex()}
            answer, _ = self._asked(request, pipes.theirs)
            pipes.close_theirs()
            if "failed" in answer:
                return not_started(argv, answer["failed"]["step"], answer["failed"]["errno"])
            code, timed_out = self._wait(pipes, began + timeout)
            pipes.drain()
        return Completed(
            argv=tuple(argv),
            code=code,
            out=out.text(),
            err=err.text(),
            seconds=time.monotonic() - began,
            timed_out=timed_out,
        )

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        tty: int = -1,
        fds: Sequence[int] = (),
    ) -> None:
        """Start `argv` on three `fds`, or with `tty` as its controlling terminal.

        `wait` tells how it ended.
        """
        request = _request(argv, env, cwd) | {"tty": tty >= 0}
        answer, _ = self._asked(request, fds or [tty, tty, tty])
        if "failed" in answer:
            failed = answer["failed"]
            raise HostError(not_started(argv, failed["step"], failed["errno"]).failure)

    def fileno(self) -> int:
        """Readable once the command given to `start` has ended."""
        return self._control.fileno()

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(self._answer()[0]["status"])

    def open_file(self, path: str, flags: int, mode: int = 0) -> int:
        """Open `path` as it is seen inside; a descriptor. Raises OSError."""
        request = {"op": "open", "path": path, "flags": flags, "mode": mode}
        answer, fds = self._asked(request, [], receive=1)
        if not fds:
            raise OSError(answer["errno"], answer["error"], path)
        return fds[0]

    def free(self, path: str) -> int:
        """Bytes that can still be written below `path`, as it is seen inside; 0 without inodes."""
        answer, _ = self._asked({"op": "space", "path": path}, [])
        if "error" in answer:
            raise HostError(f"cannot tell the free space of {path}: {answer['error']}")
        return int(answer["free"])

    def _wait(self, pipes: Pipes, deadline: float) -> tuple[int, bool]:
        timed_out = False
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                if timed_out:
                    raise HostError(
                        "a process did not die although it was killed",
                        "look for processes in state D: `ps -eo pid,stat,args`",
                    )
                self._ask({"op": "kill"}, [])
                timed_out, deadline = True, time.monotonic() + _GRACE
                continue
            ready = pipes.ready(self.fileno(), left)
            pipes.pump(ready)
            if self.fileno() in ready:
                return self.wait(), timed_out

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        """Whatever goes wrong in between, a later command must not meet this one's answers."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _asked(
        self, request: wire.Message, fds: Sequence[int], receive: int = 0
    ) -> tuple[wire.Message, list[int]]:
        self._ask(request, fds)
        return self._answer(receive)

    def _ask(self, request: wire.Message, fds: Sequence[int]) -> None:
        try:
            wire.send(self._control, request, fds)
        except OSError as error:
            raise HostError(
                f"cannot reach the sandbox: {error.strerror}", "run the command again"
            ) from error

    def _answer(self, most: int = 0) -> tuple[wire.Message, list[int]]:
        """The next message from the keeper and its descriptors, at most `most`."""
        try:
            if self._control.fileno() in wait_ready([self._control.fileno()], [], _PATIENCE):
                return wire.receive(self._control, most)
        except (OSError, EOFError) as error:
            raise HostError(
                "the sandbox died under the command", "look for an out-of-memory kill in `dmesg`"
            ) from error
        raise HostError(f"the sandbox did not answer within {_PATIENCE:.0f} s")


def _request(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> wire.Message:
    return {"op": "run", "argv": list(argv), "env": dict(env), "cwd": cwd}


_STEPS = {
    "fork": "cannot start {program}: {error}",
    "limits": "cannot enter the cgroup: {error}",
    "tty": "cannot take the terminal: {error}",
    "cwd": "cannot change to the working directory: {error}",
    "confine": "cannot give up privileges: {error}",
    "exec": "cannot execute {program}: {error}",
    "interpreter": "cannot execute {program}: the interpreter it asks for does not exist",
}


def not_started(argv: Sequence[str], step: str, errno: int) -> Completed:
    """`argv`, which did not get past `step` of becoming a command."""
    reason = _STEPS.get(step, _STEPS["fork"]).format(
        program=argv[0] if argv else "nothing", error=os.strerror(errno)
    )
    return Completed(tuple(argv), 127, started=False, failure=reason, errno=errno)
