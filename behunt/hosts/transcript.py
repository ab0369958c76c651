"""Everything a console showed, in a file of bounded size: the beginning and the end."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Self

from behunt.hosts.console_text import Cleaner, struck

HEAD = TAIL = 1 << 20  # bytes that are kept of the beginning, and at least of the end
_LINES = 25  # of a screen


def screen_of(said: str) -> str:
    """The last lines that are not empty of what a console has said."""
    lines = (struck(line).rstrip() for line in Cleaner().feed(said.encode()).split("\n"))
    return "\n".join([line for line in lines if line][-_LINES:])


class Transcript:
    """Lines `[seconds] text` in the file `path`, as they begin on the console.

    Seconds count from the start, on a clock that never goes back. The file holds at most `head`
    plus twice `tail` bytes, and a line or two: what lies between is left out, and said to be. A
    line is written when it is complete; `note` and `close` write what there is of it.
    """

    def __init__(self, path: Path, *, head: int = HEAD, tail: int = TAIL) -> None:
        self.path = path
        self._file = path.open("w+b")
        self._head, self._tail = head, tail
        self._size = 0  # of the file
        self._head_end = 0  # position after the last line of the beginning, once it is full
        self._left_out = 0  # bytes
        self._start = time.monotonic()
        self._screen: deque[str] = deque(maxlen=_LINES)
        self._line = ""  # not complete
        self._noted = 0  # characters of it that a note came after
        self._began = 0.0

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    @property
    def screen(self) -> str:
        """The last lines that are not empty."""
        lines = [*self._screen, struck(self._line).rstrip()]
        return "\n".join(line for line in lines[-_LINES:] if line)

    def add(self, text: str) -> None:
        """What a Cleaner made of the next bytes."""
        now = self.seconds
        first, *others = text.split("\n")
        if len(self._line) == self._noted:
            self._began = now
        self._line += first
        for line in others:
            self._complete()
            self._line, self._began = line, now
        if others:
            self._file.flush()

    def note(self, text: str) -> None:
        """Write what did not come from the console: what was typed, and why it ended.

        In the file it cuts the line that is not complete; the screen's goes on.
        """
        self._write_begun()
        self._write(self.seconds, f">> {text}")
        self._file.flush()

    def close(self) -> None:
        if not self._file.closed:
            self._write_begun()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_begun(self) -> None:
        if len(self._line) > self._noted:
            self._write(self._began, struck(self._line[self._noted :]).rstrip())
            self._noted = len(self._line)

    def _complete(self) -> None:
        if self._noted:
            self._write_begun()
        else:
            self._write(self._began, struck(self._line).rstrip())
        if line := struck(self._line).rstrip():
            self._screen.append(line)
        self._line, self._noted = "", 0

    def _write(self, seconds: float, line: str) -> None:
        self._size += self._file.write(f"[{seconds:11.3f}] {line}\n".encode())
        if not self._head_end and self._size >= self._head:
            self._head_end = self._size
        if self._size > self._head + 2 * self._tail:
            self._cut()

    def _cut(self) -> None:
        """Leave only `tail` bytes of the end. Done once for as many, it costs little."""
        self._file.seek(self._size - self._tail)
        self._file.readline()  # what is left of a line
        end = self._file.read()
        self._left_out += self._size - len(end) - self._head_end
        self._file.seek(self._head_end)
        self._file.write(f"... about {self._left_out} bytes left out ...\n".encode())
        self._file.write(end)
        self._size = self._file.truncate()
