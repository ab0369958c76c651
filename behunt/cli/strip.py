"""The range of a hunt as one strip of cells, with brackets around where the change lies.

    11    12     13    forky   sid        ··G··9··G[··14··?··7··]B······40······B
    G  [  ·      *       ·  ]   B

Narrow: G good, B bad, ? unknown, * under way, · untested. Where a strip is too long for the
line, stretches of like cells are shortened to their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, pairwise

from behunt.cli.watched import Watched
from behunt.model import Verdict

Span = tuple[str, str]  # (text, style)
Row = tuple[Span, ...]

LEGEND: Row = (
    ("G", "bold green"),
    (" good  ", "dim"),
    ("B", "bold red"),
    (" bad  ", "dim"),
    ("?", "bold yellow"),
    (" unknown  ", "dim"),
    ("*", "bold cyan"),
    (" under way  ", "dim"),
    ("[ ]", "bold"),
    (" where it changed", "dim"),
)
STYLES = {Verdict.GOOD: "green", Verdict.BAD: "red", Verdict.UNKNOWN: "yellow"}
_MARKS = {Verdict.GOOD: "G", Verdict.BAD: "B", Verdict.UNKNOWN: "?"}
_UNTESTED = "·"
_BRACKETS = "[]|"
_MORE = "⋯"
_CUT = "…"
_SIDE = 3  # columns between two labelled cells


def strip(watched: Watched, labels: Sequence[str], width: int) -> tuple[Row, ...]:
    """The strip in the roomiest form that `width` columns hold; `labels` name the releases."""
    cells = _cells(watched)
    labelled = sum(map(len, labels)) + _SIDE * (len(labels) + 1)
    if labelled <= width:
        return _labelled(watched, cells, labels)
    if 2 * len(cells) + 1 <= width:
        return (tuple(_woven(watched, cells, " ")),)
    row = tuple(_woven(watched, cells, ""))
    return (row if len(row) <= width else _window(_shortened(row, width), width),)


def _cells(watched: Watched) -> list[Span]:
    releases = watched.hunt.releases if watched.hunt else ()
    under_way = watched.under_way
    return [
        ("*", "bold cyan") if index in under_way else _cell(watched, index)
        for index in range(len(releases))
    ]


def _cell(watched: Watched, index: int) -> Span:
    verdict = watched.verdicts.get(index)
    if verdict is not None:
        return _MARKS[verdict], f"bold {STYLES[verdict]}"
    for end, beyond in ((watched.low, -1), (watched.high, 1)):
        if end is not None and (index - end) * beyond > 0:
            presumed = watched.verdicts.get(end)
            return _UNTESTED, f"dim {STYLES[presumed]}" if presumed else "dim"
    return _UNTESTED, "bold"


def _bracket(watched: Watched, cells: Sequence[Span]) -> dict[int, str]:
    """What stands before the cell of an index (or after the last one)."""
    first = 0 if watched.low is None else watched.low + 1
    last = len(cells) if watched.high is None else watched.high
    return {first: "|"} if first == last else {first: "[", last: "]"}


def _woven(watched: Watched, cells: Sequence[Span], space: str) -> Iterator[Span]:
    """The cells with `space` around each, or a bracket instead of it."""
    bracket = _bracket(watched, cells)
    for index in range(len(cells) + 1):
        if beside := bracket.get(index, space):
            yield beside, "bold"
        if index < len(cells):
            yield cells[index]


def _labelled(watched: Watched, cells: Sequence[Span], labels: Sequence[str]) -> tuple[Row, ...]:
    names: list[Span] = [(" " * _SIDE, "")]
    marks: list[Span] = []
    bracket = _bracket(watched, cells)
    for index, (label, (mark, style)) in enumerate(zip(labels, cells, strict=True)):
        names += [(label, "dim" if style.startswith("dim") else ""), (" " * _SIDE, "")]
        marks += [(bracket.get(index, " ").center(_SIDE), "bold")]
        marks += [(mark.center(len(label)), style)]
    marks.append((bracket.get(len(cells), " ").center(_SIDE), "bold"))
    return tuple(names), tuple(marks)


def _shortened(row: Row, width: int) -> Row:
    """Runs of like cells made to fit `width`: those outside the brackets give way first."""
    runs = [(span, len(list(same))) for span, same in groupby(row)]
    places = [place for place, ((mark, _), _) in enumerate(runs) if mark in _BRACKETS]
    inside = [places[0] < place < places[-1] for place in range(len(runs))]
    lengths = [length for _, length in runs]
    room = max(0, width - len(runs))  # beyond the one column that each has
    kept = _shares(
        [length - 1 if within else 0 for length, within in zip(lengths, inside, strict=True)], room
    )
    rest = [0 if within else length - 1 for length, within in zip(lengths, inside, strict=True)]
    given = _shares(rest, room - sum(kept))
    return tuple(
        (_run(mark, length, 1 + more + less), style)
        for ((mark, style), length), more, less in zip(runs, kept, given, strict=True)
    )


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """`room` shared out in proportion to what is wanted; no more than that."""
    total = sum(wanted)
    if total <= room:
        return list(wanted)
    # Rounded sums, not rounded shares: nothing of the room is lost.
    edges = [done * room // total for done in accumulate(wanted, initial=0)]
    return [high - low for low, high in pairwise(edges)]


def _run(mark: str, length: int, width: int) -> str:
    if length <= width:
        return mark * length
    number = str(length)
    return (number if len(number) + 2 <= width else _MORE).center(width, mark)


def _window(row: Row, width: int) -> Row:
    """The part around the brackets where even the shortened strip is too long."""
    flat = [(char, style) for text, style in row for char in text]
    if len(flat) <= width:
        return row
    marks = [place for place, (char, _) in enumerate(flat) if char in _BRACKETS]
    start = min(max(0, sum(marks) // len(marks) - width // 2), len(flat) - width)
    part = flat[start : start + width]
    if start:
        part[0] = (_CUT, "dim")
    if start + width < len(flat):
        part[-1] = (_CUT, "dim")
    return tuple(part)
