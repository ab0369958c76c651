"""Logs are hostile: whatever they hold becomes text that a browser, XML and a person can bear."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

# ECMA-48: control sequences, then control strings (OSC, DCS, SOS, PM, APC), then the short escapes.
# A string that never ends stops at its line's end, so that it cannot swallow the log.
_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
)
_TEXT = frozenset("\n\t")
_FIRST_PRINTABLE = 0x20


def clean(text: str) -> str:
    """Text without escape sequences; controls and invisible characters are made visible.

    A bare carriage return keeps what a terminal would show: the line's last state.
    """
    text = _ANSI.sub("", text)
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(map(_visible, text))


def one_line(text: str) -> str:
    return " ".join(clean(text).split())


def _visible(char: str) -> str:
    if char in _TEXT or char.isprintable():
        return char
    code = ord(char)
    if code < _FIRST_PRINTABLE:
        return chr(0x2400 + code)  # Unicode's control pictures
    category = unicodedata.category(char)
    if category == "Cf":  # zero-width and bidirectional controls could make text lie
        return f"[U+{code:04X}]"
    if category in {"Zl", "Zp"}:
        return "\n"
    return " " if category == "Zs" else "\N{REPLACEMENT CHARACTER}"


def lines_of(text: str) -> list[str]:
    """The lines of a cleaned text, without the empty one after the last newline."""
    return clean(text).removesuffix("\n").split("\n") if text else []


def clipped(line: str, width: int = 400) -> str:
    """At most about `width` characters of a line, saying how many more there were."""
    more = len(line) - width
    return line if more <= 0 else f"{line[:width]} … {more:,} more characters"


def html_cost(line: str) -> int:
    """About how many bytes a line takes in the page: escaped, and with its markup."""
    return len(escape(clipped(line)).encode()) + 110


@dataclass(frozen=True, slots=True)
class Ends:
    """The first and the last lines of a text, and how many between them were left out."""

    first: tuple[str, ...]
    left_out: int
    last: tuple[str, ...]

    def text(self) -> str:
        """Everything that is kept, with a notice where lines are missing."""
        notice = [f"… {self.left_out:,} lines left out …"] if self.left_out else []
        return "\n".join(map(clipped, [*self.first, *notice, *self.last]))


def ends(lines: Sequence[str], budget: int, cost: Callable[[str], int] = html_cost) -> Ends:
    """As many lines of both ends as `budget` bytes hold; all of them where they fit."""
    if sum(map(cost, lines)) <= budget:
        return Ends(tuple(lines), 0, ())
    first = _that_fit(lines, budget // 2, cost)
    last = _that_fit(lines[:first:-1], budget // 2, cost)
    return Ends(tuple(lines[:first]), len(lines) - first - last, tuple(lines[len(lines) - last :]))


def _that_fit(lines: Sequence[str], budget: int, cost: Callable[[str], int]) -> int:
    for count, line in enumerate(lines):
        budget -= cost(line)
        if budget < 0:
            return count
    return len(lines)
