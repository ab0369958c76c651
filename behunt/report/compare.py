"""Two logs beside each other: pure, and bounded in what it returns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import groupby, starmap, takewhile, zip_longest
from typing import TypeAlias

from behunt.report.clean import clipped, ends, lines_of

CONTEXT = 3  # equal lines shown around a difference
OPENABLE = 40  # a longer stretch of equal lines is counted, not carried
_WORDS = re.compile(r"\w+|\W")
_TOO_MANY_WORDS = 200  # the marks within a line are a convenience, not worth quadratic time


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    differs: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    number: int  # in its log, from 1
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Row:
    left: Line | None
    right: Line | None
    same: bool = False


@dataclass(frozen=True, slots=True)
class Fold:
    """A stretch of equal lines. `rows` is empty where it is too long to be carried."""

    hidden: int
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Cut:
    """Lines of each log that were left out, differing ones among them."""

    left: int
    right: int


Part: TypeAlias = Row | Fold | Cut


def side_by_side(before: str, after: str, budget: int) -> tuple[Part, ...]:
    """Rows of the two logs, equal stretches folded.

    Each log gets `budget` bytes for what lies between their common beginning and end, so the
    first difference is always shown, however far into the logs it is.
    """
    left, right = _numbered(before), _numbered(after)
    head = _common(left, right)
    tail = _common(left[head:][::-1], right[head:][::-1])
    inner_left, inner_right = left[head : len(left) - tail], right[head : len(right) - tail]
    parts = [
        *_same(left[:head], right[:head]),
        *_differing(inner_left, inner_right, budget),
        *_same(left[len(left) - tail :], right[len(right) - tail :]),
    ]
    return tuple(_folded(parts))


@dataclass(frozen=True, slots=True)
class _Numbered:
    number: int = field(compare=False)
    text: str


def _numbered(log: str) -> list[_Numbered]:
    return [_Numbered(number, text) for number, text in enumerate(lines_of(log), 1)]


def _common(left: Sequence[_Numbered], right: Sequence[_Numbered]) -> int:
    pairs = zip(left, right, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _same(left: Sequence[_Numbered], right: Sequence[_Numbered]) -> Iterator[Row]:
    for one, other in zip(left, right, strict=True):
        yield Row(_plain(one), _plain(other), same=True)


def _differing(
    left: Sequence[_Numbered], right: Sequence[_Numbered], budget: int
) -> Iterator[Row | Cut]:
    """Both ends of both stretches, each end compared for itself."""
    (first_left, cut_left, last_left) = _within(left, budget)
    (first_right, cut_right, last_right) = _within(right, budget)
    yield from _aligned(first_left, first_right)
    if cut_left or cut_right:
        yield Cut(cut_left, cut_right)
    yield from _aligned(last_left, last_right)


def _within(
    lines: Sequence[_Numbered], budget: int
) -> tuple[Sequence[_Numbered], int, Sequence[_Numbered]]:
    kept = ends([line.text for line in lines], budget)
    return lines[: len(kept.first)], kept.left_out, lines[len(lines) - len(kept.last) :]


def _aligned(left: Sequence[_Numbered], right: Sequence[_Numbered]) -> Iterator[Row]:
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            yield from _same(left[a:b], right[c:d])
        else:
            yield from starmap(_changed, zip_longest(left[a:b], right[c:d]))


def _changed(left: _Numbered | None, right: _Numbered | None) -> Row:
    if left is None or right is None:
        return Row(_plain(left) if left else None, _plain(right) if right else None)
    before, after = _WORDS.findall(clipped(left.text)), _WORDS.findall(clipped(right.text))
    if max(len(before), len(after)) > _TOO_MANY_WORDS:
        return Row(_plain(left), _plain(right))
    opcodes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    pieces = [
        (Piece("".join(before[a:b]), tag != "equal"), Piece("".join(after[c:d]), tag != "equal"))
        for tag, a, b, c, d in opcodes
    ]
    return Row(
        Line(left.number, tuple(one for one, _ in pieces if one.text)),
        Line(right.number, tuple(other for _, other in pieces if other.text)),
    )


def _plain(line: _Numbered) -> Line:
    return Line(line.number, (Piece(clipped(line.text)),))


def _folded(parts: Iterable[Row | Cut]) -> Iterator[Part]:
    for same, group in groupby(parts, lambda part: isinstance(part, Row) and part.same):
        rows = list(group)
        if not same or len(rows) <= 2 * CONTEXT + 1:
            yield from rows
            continue
        inside = [row for row in rows[CONTEXT:-CONTEXT] if isinstance(row, Row)]
        yield from rows[:CONTEXT]
        yield Fold(len(inside), tuple(inside) if len(inside) <= OPENABLE else ())
        yield from rows[-CONTEXT:]
