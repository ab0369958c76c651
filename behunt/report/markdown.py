"""The report as GitHub-flavoured Markdown, for an issue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from behunt.report.clean import one_line
from behunt.report.compare import Cut, Line, Part, Row
from behunt.report.data import Evidence
from behunt.report.templates import environment
from behunt.report.view import comparison, view
from behunt.report.wording import count

_LOG = 9_000  # bytes of each log: an issue holds 65,536 characters
_SPECIAL = re.compile(r"[\\`*_\[\]<>|~&]")
_REFERENCE = re.compile(r"[@#](?=\w)")  # would call a person, or link another issue


def markdown(evidence: Evidence) -> str:
    """Text for an issue tracker; what comes from outside stands in code or is escaped."""
    made = environment(autoescape=False)
    made.filters |= {"plain": _plain, "code": _code, "fenced": _fenced}
    difference = "\n".join(_diff(comparison(evidence, _LOG)))
    return made.get_template("report.md.j2").render(view(evidence), difference=difference)


def _plain(text: str) -> str:
    return _REFERENCE.sub(r"`\g<0>`", _SPECIAL.sub(r"\\\g<0>", one_line(text)))


def _code(text: str) -> str:
    """A code span, whatever the text holds; for a cell of a table too."""
    text = one_line(text).replace("|", "\\|")
    ticks = "`" * (_longest_run(text) + 1)
    pad = " " if "`" in text else ""
    return f"{ticks}{pad}{text}{pad}{ticks}" if text else ""


def _fenced(text: str, language: str = "") -> str:
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _diff(parts: Iterable[Part]) -> Iterator[str]:
    """Lines of a unified diff; of neighbouring changes the old lines come first."""
    for same, group in groupby(parts, lambda part: not isinstance(part, Row) or part.same):
        found = list(group)
        if same:
            yield from map(_unchanged, found)
            continue
        rows = [part for part in found if isinstance(part, Row)]
        yield from (f"-{_text(row.left)}" for row in rows if row.left)
        yield from (f"+{_text(row.right)}" for row in rows if row.right)


def _unchanged(part: Part) -> str:
    if isinstance(part, Row):
        return f" {_text(part.left)}" if part.left else ""
    if isinstance(part, Cut):
        return f"@@ left out here: {part.left:,} and {count(part.right, 'line')} @@"
    return f"@@ {count(part.hidden, 'equal line')} @@"


def _text(line: Line) -> str:
    return "".join(piece.text for piece in line.pieces)
