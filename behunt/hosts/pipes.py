"""The three streams of a command, without ever waiting for one of them alone."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import socket
from collections.abc import Collection
from typing import Self

from behunt.hosts.protocol import KEPT_OUTPUT, Sink

_LONGEST = 1e6  # seconds; poll(2) counts milliseconds in an int


def wait_ready(reading: Collection[int], writing: Collection[int], timeout: float) -> set[int]:
    """Descriptors on which something can be done, or has gone wrong, within `timeout` seconds."""
    waiting = select.poll()  # select(2) ends at descriptor 1023
    for fd in reading:
        waiting.register(fd, select.POLLIN)
    for fd in writing:
        waiting.register(fd, select.POLLOUT)
    return {fd for fd, _ in waiting.poll(math.ceil(min(timeout, _LONGEST) * 1000))}


class Pipes:
    """Pipes to and from a command: ours to pump, theirs to hand over."""

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

    def ready(self, control: socket.socket, timeout: float) -> set[int]:
        writing = [self._writing] if self._writing >= 0 else []
        return wait_ready([*self._reading, control.fileno()], writing, timeout)

    def pump(self, ready: Collection[int], sink: Sink | None) -> bool:
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
            if not self.pump(set(self._reading), sink):
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
