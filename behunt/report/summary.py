"""The text at the end of a bisection, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from behunt.model import Hunt
from behunt.report.clean import clean, one_line
from behunt.report.wording import (
    count,
    date_of,
    grounds,
    headline,
    named,
    neighbours,
    sentence,
    span,
    still_open,
    support,
)

WIDTH = 80


def summary(hunt: Hunt, reproduce: Iterable[tuple[str, str]] = ()) -> str:
    """What was found, on what grounds, and the commands to see it again.

    `reproduce` are (label, command line); a command is never wrapped, so that it can be pasted.
    """
    paragraphs = [
        _paragraph(f"{one_line(hunt.test.name)}: {one_line(headline(hunt))}"),
        _table(_neighbour_rows(hunt)) or _paragraph(one_line(sentence(hunt))),
        _paragraph(_work(hunt)),
        "\n".join(_paragraph(one_line(ground)) for ground in grounds(hunt)),
        _suspects(hunt),
        _titled("Reproduce", _commands(list(reproduce))),
    ]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _neighbour_rows(hunt: Hunt) -> Iterator[tuple[str, ...]]:
    for role, release in neighbours(hunt):
        known = support(release, hunt.started[:10])
        yield role, named(release), date_of(hunt, release), known


def _work(hunt: Hunt) -> str:
    cached = sum(answered.cached for answered in hunt.answers)
    trials = count(len(hunt.answers), "trial") + (f" ({cached} cached)" if cached else "")
    return ", ".join((trials, count(hunt.installs, "install"), span(hunt.seconds))) + "."


def _suspects(hunt: Hunt) -> str:
    told = (
        _paragraph(one_line(f"{releases}: {reason}"), "  ", "      ")
        for releases, reason in still_open(hunt)
    )
    return _titled("Still open", "\n".join(told))


def _commands(labelled: Sequence[tuple[str, str]]) -> str:
    width = max((len(one_line(label)) for label, _ in labelled), default=0)
    return "\n".join(
        f"  {one_line(label):{width}}  {clean(command)}" for label, command in labelled
    )


def _titled(title: str, text: str) -> str:
    return f"{title}\n{text}" if text else ""


def _paragraph(text: str, first: str = "", other: str = "  ") -> str:
    return "\n".join(wrap(text, WIDTH, initial_indent=first, subsequent_indent=other))


def _table(rows: Iterable[Sequence[str]]) -> str:
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
    return "\n".join(lines)
