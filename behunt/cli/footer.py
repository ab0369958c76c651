"""The last lines of a terminal, drawn again and again, while what is told scrolls above them.

rich renders the text. Its `Live` is not used for two things it does not do: a terminal that was
made narrower wraps the lines that are on it, and they must still be erased as a whole; and a
footer of no lines must leave the terminal alone, because a test is then writing to it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Self, TextIO

from behunt.cli.strip import Row

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_ERASE_BELOW = "\x1b[J"
_DEFAULT = os.terminal_size((80, 24))
_EVERY = 1 / 8  # seconds

Draw = Callable[[int, int], Sequence[Row]]  # (columns, lines) -> what to show
DrawLast = Callable[[int], Sequence[Row]]  # columns -> what stays


class Footer:
    """Shows what `draw` makes, as long as it is entered, and leaves what `last` makes.

    Safe to use from any thread.
    """

    def __init__(self, stream: TextIO, draw: Draw, last: DrawLast) -> None:
        self._stream = stream
        self._draw = draw
        self._last = last
        self._lock = threading.RLock()
        self._widths: tuple[int, ...] = ()  # of the lines now on the screen
        self._gone = False
        self._closing = threading.Event()
        self._clock = threading.Thread(target=self._tick, name="footer", daemon=True)

    def __enter__(self) -> Self:
        self._clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        try:
            with self._lock:
                columns = self._size().columns
                lines = [self._cut(row, columns) for row in self._last(columns)]
                self._show("".join(f"{self._rendered(t, columns)}\n" for t in lines), (), columns)
            self._clock.join()
        finally:
            if self._widths:  # interrupted right here
                self._write(_SHOW)

    def put(self, row: Row | None = None) -> None:
        """Print `row`, wrapped where it is long, above a footer drawn anew."""
        with self._lock:
            if not self._closing.is_set():
                size = self._size()
                rows = self._draw(size.columns, size.lines - 1)
                above = f"{self._rendered(_text(row), size.columns)}\n" if row else ""
                self._show(above, rows, size.columns)

    def _tick(self) -> None:
        while not self._closing.wait(_EVERY):
            self.put()

    def _show(self, above: str, rows: Sequence[Row], width: int) -> None:
        """One write: erase what is there, print `above`, then the footer's `rows`."""
        if not (above or rows or self._widths):
            return
        lines = [self._cut(row, width) for row in rows]
        out = self._erased(width) + above
        out += "\n".join(self._rendered(line, width) for line in lines)
        if bool(lines) != bool(self._widths):
            out += _HIDE if lines else _SHOW
        self._widths = tuple(line.cell_len for line in lines)
        self._write(out)

    def _erased(self, width: int) -> str:
        """From the footer's last line back to its first, as the terminal has wrapped them."""
        if not self._widths:
            return ""
        up = sum(max(1, -(-taken // width)) for taken in self._widths) - 1
        return "\r" + (f"\x1b[{up}A" if up else "") + _ERASE_BELOW

    def _cut(self, row: Row, width: int) -> Text:
        """One line. The last column stays free: there terminals differ in wrapping."""
        text = _text(row)
        text.truncate(max(1, width - 1), overflow="ellipsis")
        return text

    @cached_property
    def _console(self) -> Console:
        from rich.console import Console  # noqa: PLC0415 - only where something is drawn

        return Console(file=self._stream, force_terminal=True, markup=False, highlight=False)

    def _rendered(self, text: Text, width: int) -> str:
        with self._console.capture() as captured:
            self._console.print(text, end="", width=width)
        return captured.get()

    def _size(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return _DEFAULT
        return size if size.columns and size.lines else _DEFAULT  # a serial line has 0 x 0

    def _write(self, text: str) -> None:
        """A terminal that went away must not end what it watched."""
        if self._gone:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._gone = True


def _text(row: Row) -> Text:
    from rich.text import Text  # noqa: PLC0415 - slow to import

    return Text.assemble(*row, end="")
