"""What a console is expected to show, and what that means or what is typed then. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from behunt.hosts.console_text import struck

SPAN = 8  # lines; what a row looks for may extend over as many
_KEPT = 2 << 10  # characters of seen text that are kept before it is cut to SPAN lines
_PART = 3  # characters; a prompt cut by a message is recognised by parts that long

# What may hold only until more text comes: where it was cut would decide.
_END_SENSITIVE = re.compile(r"\\[bBZ]|\(\?=|\(\?!|\$")
_ESCAPED = re.compile(r"\\[^bBZ]|\[[^\]]*\]")


@dataclass(frozen=True, slots=True)
class Row:
    r"""`text` (or `regex`) on the console: type something, or a state is reached.

    `send` is typed as it is, `answer` is the name of a value that is typed with Enter. A `text` is
    also found where kernel messages have cut it in two. `not_after` is what must not stand right
    before it. In a `regex`, `^` is the start of a line and `.` ends with it.

    A row with `reached` ends the dialogue when it was seen `times` times. One without is answered
    `times` times; to be asked once more than that is to go round in circles.
    """

    text: str = ""
    regex: str = ""
    not_after: str = ""
    send: str = ""
    answer: str = ""
    reached: str = ""
    times: int = 1

    @property
    def name(self) -> str:
        return self.text or self.regex


def fault(row: Row) -> str:
    """Why `row` cannot be played, as a sentence; empty if it can."""
    if bool(row.text) == bool(row.regex):
        return "a row has either text or regex"
    if not (row.send or row.answer or row.reached) or (row.send and row.answer):
        return f"{row.name!r} needs one of send and answer, or reached"
    if row.times < 1:
        return f"{row.name!r} must be seen at least once"
    if _END_SENSITIVE.search(_ESCAPED.sub("", row.regex)):
        return f"{row.name!r} depends on what follows: the end of the text is only where it is now"
    try:
        empty = pattern(row).search("") is not None
    except re.error as error:
        return f"{row.name!r} is no regular expression: {error}"
    return f"{row.name!r} is found in nothing" if empty else ""


@cache
def pattern(row: Row) -> re.Pattern[str]:
    before = f"(?<!{re.escape(row.not_after)})" if row.not_after else ""
    return re.compile(f"{before}(?:{row.regex or _interrupted(row.text)})", re.MULTILINE)


def _interrupted(text: str) -> str:
    """`text`, or its two halves with up to three lines of messages in between."""
    message = r"[^\n]*\n(?:[^\n]*\n){0,2}"
    halves = (
        re.escape(text[:at]) + message + re.escape(text[at:])
        for at in range(_PART, len(text) - _PART + 1)
    )
    return "|".join([re.escape(text), *halves])


@dataclass(slots=True, eq=False)
class Watched:
    """A row, the position in the text from which it is looked for, and how often it was seen."""

    row: Row
    start: int
    seen: int = 0


@dataclass(slots=True)
class Window:
    """The last of a text that grows, and which of some rows it completes first.

    A row is complete at the first character with which its pattern is found, so the answer does
    not depend on the pieces in which the text arrives. `position` is that of the last one found.
    """

    position: int = 0
    _text: str = ""
    _base: int = 0  # position of the first character of _text

    def add(self, text: str) -> None:
        if len(self._text) > _KEPT:
            cut = _last_lines(self._text)
            self._base += cut
            self._text = self._text[cut:]
        self._text += text

    def first(self, rows: Iterable[Watched]) -> tuple[Watched, str] | None:
        """The row that is complete first, and the line that shows it; the row has been seen."""
        found = [
            (end, at, watched)
            for at, watched in enumerate(rows)
            if (end := self._complete(watched)) is not None
        ]
        if not found:
            return None
        end, _, watched = min(found, key=lambda each: each[:2])
        said = self._line(watched, end)
        self.position = watched.start = self._base + end
        watched.seen += 1
        return watched, said

    def _complete(self, watched: Watched) -> int | None:
        """Length of the shortest beginning of the text in which the row is found."""
        search, low = pattern(watched.row).search, max(0, watched.start - self._base)
        high = len(self._text)
        if search(self._text, low) is None:
            return None
        start = low
        while low < high:
            middle = (low + high) // 2
            if search(self._text, start, middle):
                high = middle
            else:
                low = middle + 1
        return low

    def _line(self, watched: Watched, end: int) -> str:
        start = max(0, watched.start - self._base)
        found = pattern(watched.row).search(self._text, start, end)
        begins = self._text.rfind("\n", 0, found.start() if found else end) + 1
        return struck(self._text[begins:end].strip("\n").split("\n", 1)[0]).strip()


def _last_lines(text: str) -> int:
    """Where the last SPAN complete lines of `text` begin."""
    at = len(text)
    for _ in range(SPAN + 1):
        at = text.rfind("\n", 0, at)
        if at < 0:
            return 0
    return at + 1
