"""The three streams of a command, without ever waiting for one of them alone."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Self

from behunt.errors import HostError
from behunt.hosts.protocol import KEPT_OUTPUT, Sink, Stdin

_PIECE = 1 << 16
_LONGEST = 1e6  # seconds; poll(2) counts milliseconds in an int


def wait_ready(reading: Collection[int], writing: Collection[int], timeout: float) -> set[int]:
    """Descriptors on which something can be done, or has gone wrong, within `timeout` seconds."""
    waiting = select.poll()  # select(2) ends at descriptor 1023
    for fd in reading:
        waiting.register(fd, select.POLLIN)
    for fd in writing:
        both = select.POLLIN if fd in reading else 0
        waiting.register(fd, select.POLLOUT | both)  # the last word on a descriptor counts
    return {fd for fd, _ in waiting.poll(math.ceil(min(timeout, _LONGEST) * 1000))}


class Kept:
    """A sink that keeps the first `KEPT_OUTPUT` bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def __call__(self, data: bytes) -> None:
        self._bytes += data[: KEPT_OUTPUT - len(self._bytes)]

    def text(self) -> str:
        return self._bytes.decode(errors="replace")


def size(stdin: Stdin) -> int:
    """Bytes of what a command is to read. Raises HostError if that is not a plain file."""
    if isinstance(stdin, bytes):
        return len(stdin)
    try:
        there = stdin.stat()
    except OSError as error:
        raise HostError(f"cannot read {stdin}: {error.strerror}") from error
    if not stat.S_ISREG(there.st_mode):
        raise HostError(f"{stdin} is not a regular file")
    return there.st_size


def pieces(stdin: Stdin, length: int) -> Iterator[bytes]:
    """The `length` bytes that a command is to read. Raises HostError where a file lacks some.

    A file is read here and never handed over: root inside a sandbox could open the descriptor
    again, for writing.
    """
    if isinstance(stdin, bytes):
        yield from [stdin] if stdin else []
        return
    try:
        with stdin.open("rb", buffering=0) as content:
            while length:
                piece = content.read(min(length, _PIECE))
                if not piece:
                    raise HostError(f"{stdin} became shorter while it was read")
                yield piece
                length -= len(piece)
    except OSError as error:
        raise HostError(f"cannot read {stdin}: {error.strerror}") from error


class Pipes:
    """Pipes to and from a command: ours to pump, theirs to hand over.

    It reads `stdin` piece by piece, and the end of file then unless `held`. Each of `sinks`
    takes one stream: of two, output and errors; of one, both merged.
    """

    def __init__(
        self, stdin: Iterable[bytes], sinks: Sequence[Sink], *, held: bool = False
    ) -> None:
        self._held = held
        self._pieces = iter(stdin)
        self._input = memoryview(next(self._pieces, b""))
        outs = [os.pipe() for _ in sinks]
        self._reading = {read: sink for (read, _), sink in zip(outs, sinks, strict=True)}
        writes = [write for _, write in outs]
        self._writing = -1
        if self._input or held:
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

    def ready(self, control: int, timeout: float) -> set[int]:
        writing = [self._writing] if self._input else []
        return wait_ready([*self._reading, control], writing, timeout)

    def pump(self, ready: Collection[int]) -> bool:
        """Move what can be moved without waiting; whether any output came."""
        moved = False
        for fd in [fd for fd in self._reading if fd in ready]:
            moved |= self._read(fd)
        if self._writing in ready:
            self._write()
        return moved

    def drain(self) -> None:
        """Take what is left in the pipes; a daemon that still holds one is not waited for."""
        for _ in range(64):
            if not self.pump(set(self._reading)):
                return

    def _read(self, fd: int) -> bool:
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return False
        if data:
            self._reading[fd](data)
        else:
            del self._reading[fd]
            os.close(fd)
        return bool(data)

    def _write(self) -> None:
        try:
            self._input = self._input[os.write(self._writing, self._input[:_PIECE]) :]
            if not self._input:
                self._input = memoryview(next(self._pieces, b""))
        except BrokenPipeError:
            self._input, self._held = memoryview(b""), False
        if not self._input and not self._held:
            self._close_input()

    def _close_input(self) -> None:
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1
