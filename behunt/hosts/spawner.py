"""behunt's side of the spawner: start it once, open sessions in sandboxes, run commands there."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from behunt.errors import HostError
from behunt.hosts.protocol import CLEAN_ENV, KEPT_OUTPUT, Completed, Sink
from behunt.hosts.sandbox import Sandbox

_MESSAGE = 1 << 20
_GRACE = 10.0  # seconds in which a killed tree must be reported dead
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class _Spawner:
    """The one process that forks for us. Started on first use, gone when we are gone."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = (
            f"import sys; sys.path.insert(0, {str(_PACKAGE_ROOT)!r}); "
            f"from behunt.hosts.spawnd import main; main({theirs.fileno()})"
        )
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is behunt's to handle
                cwd="/",
                env={"PATH": CLEAN_ENV["PATH"]},
            )
        self.requests = ours

    def open(self, sandbox: Sandbox) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self.requests, [sandbox.to_json().encode()], [theirs.fileno()])
        return ours

    def close(self) -> None:
        self.requests.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE)


_lock = threading.Lock()
_running: list[_Spawner] = []


def _spawner() -> _Spawner:
    with _lock:
        if _running and _running[0].process.poll() is not None:
            _running.pop().close()
        if not _running:
            _running.append(_Spawner())
            atexit.register(stop)
        return _running[0]


def stop() -> None:
    """End everything that was started through the spawner. It starts again when it is needed."""
    with _lock:
        atexit.unregister(stop)
        while _running:
            _running.pop().close()


class Session:
    """One entered sandbox. Commands in it run one at a time; leaving it kills what still runs."""

    def __init__(self, sandbox: Sandbox) -> None:
        """Enter `sandbox`. Raises HostError with the step that failed."""
        self.sandbox = sandbox
        self._control = _spawner().open(sandbox)
        answer = self._answer(_GRACE * 6)
        if "ready" not in answer:
            self._control.close()
            raise HostError(
                f"cannot enter the sandbox: {answer.get('error', 'its keeper died')}",
                "run `behunt doctor` to see what this machine can do",
            )

    def close(self) -> None:
        """Kill all that runs inside, and wait until it is dead."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
            while self._control.recv(_MESSAGE):
                pass
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
        stdin: bytes = b"",
        timeout: float,
        sink: Sink | None = None,
        seccomp: bytes = b"",
    ) -> Completed:
        """As Host.run, with exactly `env`; `seccomp` is a filter for the command's calls."""
        began = time.monotonic()
        with _Pipes(stdin, merged=sink is not None) as pipes:
            request: dict[str, Any] = {
                "op": "run",
                "argv": list(argv),
                "env": dict(env),
                "cwd": cwd,
            }
            request["seccomp"] = seccomp.hex()
            self._ask(request, pipes.theirs)
            pipes.close_theirs()
            answer = self._answer(_GRACE)
            if "started" not in answer:
                return _not_started(argv, answer)
            status, timed_out = self._wait(pipes, sink, began + timeout)
            pipes.drain(sink)
        return Completed(
            argv=tuple(argv),
            code=os.waitstatus_to_exitcode(status),
            out=pipes.text(0),
            err=pipes.text(1),
            seconds=time.monotonic() - began,
            timed_out=timed_out,
        )

    def start(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, tty: int) -> None:
        """Start `argv` with `tty` as its controlling terminal. `wait` tells how it ended."""
        request = {"op": "run", "argv": list(argv), "env": dict(env), "cwd": cwd, "tty": True}
        self._ask(request, [tty, tty, tty])
        answer = self._answer(_GRACE)
        if "started" not in answer:
            raise HostError(_not_started(argv, answer).failure)

    def fileno(self) -> int:
        """Readable once the command given to `start` has ended."""
        return self._control.fileno()

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(self._answer(_GRACE)["status"])

    def open_file(self, path: str, flags: int, mode: int | None = None) -> int:
        """Open `path` as it is seen inside; a descriptor. Raises OSError."""
        request: dict[str, Any] = {"op": "open", "path": path, "flags": flags}
        self._ask(request | ({} if mode is None else {"mode": mode}), [])
        message, fds, _, _ = socket.recv_fds(self._control, _MESSAGE, 1)
        answer = json.loads(message) if message else {"errno": 5, "error": "its keeper died"}
        if not fds:
            raise OSError(answer["errno"], answer["error"], path)
        return fds[0]

    def free(self, path: str) -> int:
        """Bytes that can still be written below `path`, as it is seen inside; 0 without inodes."""
        self._ask({"op": "space", "path": path}, [])
        answer = self._answer(_GRACE)
        return int(answer.get("free", 0)) if answer.get("inodes", 1) else 0

    def _wait(self, pipes: _Pipes, sink: Sink | None, deadline: float) -> tuple[int, bool]:
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
            ready = pipes.ready(self._control, left)
            pipes.pump(ready, sink)
            if self._control in ready:
                answer = self._answer(0)
                if "status" not in answer:
                    raise HostError(
                        "the sandbox died under the command",
                        "look for an out-of-memory kill in `dmesg`",
                    )
                return answer["status"], timed_out

    def _ask(self, request: dict[str, Any], fds: list[int]) -> None:
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], fds)
        except OSError as error:
            raise HostError(
                f"cannot reach the sandbox: {error.strerror}", "run the command again"
            ) from error

    def _answer(self, timeout: float) -> dict[str, Any]:
        ready, _, _ = select.select([self._control], [], [], timeout)
        try:
            message = self._control.recv(_MESSAGE) if ready else b""
        except OSError:
            message = b""
        return json.loads(message) if message else {}


_STEPS = {
    "exec": "cannot execute {program}: {error}",
    "cwd": "cannot change to the working directory: {error}",
    "limits": "cannot enter the cgroup: {error}",
    "tty": "cannot take the terminal: {error}",
}


def _not_started(argv: Sequence[str], answer: dict[str, Any]) -> Completed:
    failed = answer.get("failed", {"step": "keeper", "errno": 0})
    text = _STEPS.get(failed["step"], "cannot start {program}: the sandbox did not answer")
    reason = text.format(program=argv[0], error=os.strerror(failed["errno"]))
    return Completed(tuple(argv), 127, started=False, failure=reason, errno=failed["errno"])


class _Pipes:
    """The three streams of a command: ours to pump, theirs to hand over."""

    def __init__(self, stdin: bytes, *, merged: bool) -> None:
        self._input = memoryview(stdin)
        self._kept = [bytearray(), bytearray()]
        outs = [os.pipe() for _ in range(1 if merged else 2)]
        self._reading = {read: stream for stream, (read, _) in enumerate(outs)}
        writes = [write for _, write in outs]
        self._writing = -1
        if stdin:
            inner, self._writing = os.pipe()
            os.set_blocking(self._writing, False)
        else:
            inner = os.open(os.devnull, os.O_RDONLY)
        for fd in self._reading:
            os.set_blocking(fd, False)
            with contextlib.suppress(PermissionError):  # 1 MiB: fewer wake-ups for a loud test
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 20)
        self.theirs = [inner, writes[0], writes[-1]]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_theirs()
        for fd in self._reading:
            os.close(fd)
        self._close_input()

    def close_theirs(self) -> None:
        for fd in set(self.theirs):
            os.close(fd)
        self.theirs = []

    def ready(self, control: socket.socket, timeout: float) -> list[Any]:
        writing = [self._writing] if self._writing >= 0 else []
        reading: list[Any] = [*self._reading, control]
        readable, writable, _ = select.select(reading, writing, [], timeout)
        return [*readable, *writable]

    def pump(self, ready: Sequence[Any], sink: Sink | None) -> bool:
        """Move what can be moved without waiting; whether any output came."""
        moved = False
        for fd in [fd for fd in self._reading if fd in ready]:
            moved |= self._read(fd, sink)
        if self._writing in ready:
            self._write()
        return moved

    def drain(self, sink: Sink | None) -> None:
        """Take what is left in the pipes; a daemon that still holds one is not waited for."""
        for _ in range(64):
            if not self.pump(list(self._reading), sink):
                return

    def text(self, stream: int) -> str:
        return self._kept[stream].decode(errors="replace")

    def _read(self, fd: int, sink: Sink | None) -> bool:
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return False
        if not data:
            del self._reading[fd]
            os.close(fd)
        elif sink is not None:
            sink(data)
        else:
            kept = self._kept[self._reading[fd]]
            kept += data[: KEPT_OUTPUT - len(kept)]
        return bool(data)

    def _write(self) -> None:
        try:
            self._input = self._input[os.write(self._writing, self._input[: 1 << 16]) :]
        except BrokenPipeError:
            self._input = memoryview(b"")
        if not self._input:
            self._close_input()

    def _close_input(self) -> None:
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1
