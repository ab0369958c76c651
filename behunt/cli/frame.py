"""What the live view shows of a moment: rows of styled text, fitted to the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import IntEnum

from behunt.cli.strip import LEGEND, STYLES, Row, strip
from behunt.cli.telling import clock, header, shown
from behunt.cli.watched import Job, Watched
from behunt.model import Release, Verdict
from behunt.report.wording import count

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAMES = 8  # of the spinner a second
_MARGIN = (" ", "")
_BLANK: Row = ((" ", ""),)
_LABEL = 12  # columns of a release's label in the strip


class Worth(IntEnum):
    """What goes first where the terminal is low, from the least."""

    BLANK = 0
    LEGEND = 1
    ENDS = 2
    SAID = 3
    HEADER = 4
    FOUND = 5
    JOB = 6
    TALLY = 7
    STRIP = 8


Rows = list[tuple[Worth, Row]]


def frame(watched: Watched, now: float, width: int, height: int) -> list[Row]:
    """At most `height` rows. None while there is nothing that a user would wait for.

    A test outside a hunt writes to the terminal itself: then nothing may be drawn over it.
    """
    if watched.hunt is None:
        installs = tuple(job for job in watched.jobs if job.doing == "installing")
        testing = len(installs) < len(watched.jobs)
        return [] if testing else _fitted(list(_jobs(installs, now)), height)
    rows = [(Worth.BLANK, _BLANK), *_range(watched, width), *_found(watched)]
    jobs = list(_jobs(watched.jobs, now))
    rows += [(Worth.BLANK, _BLANK), *jobs] if jobs else []
    rows += [(Worth.BLANK, _BLANK), (Worth.TALLY, _tally(watched, now))]
    return _fitted(rows, height)


def last_frame(watched: Watched, width: int) -> list[Row]:
    """What stays on the screen of a hunt: how far the range was narrowed."""
    still = replace(watched, jobs=())
    rows = [row for worth, row in _range(still, width) if worth is not Worth.LEGEND]
    return [_BLANK, *rows] if rows else []


def _fitted(rows: Rows, height: int) -> list[Row]:
    rows = list(rows)
    while len(rows) > max(1, height):
        least = min(worth for worth, _ in rows)
        # Of what is worth the same the last goes first.
        del rows[max(i for i, (worth, _) in enumerate(rows) if worth is least)]
    return [row for _, row in rows]


def _range(watched: Watched, width: int) -> Rows:
    hunt = watched.hunt
    if hunt is None:
        return []
    labels = [shown(release.version, _LABEL) for release in hunt.releases]
    cells = strip(watched, labels, width - 2)
    rows: Rows = [(Worth.HEADER, (_MARGIN, *header(hunt)))]
    rows += [(Worth.BLANK, _BLANK)]
    rows += [(Worth.STRIP, (_MARGIN, *row)) for row in cells]
    if len(cells) == 1:
        taken = sum(len(text) for text, _ in cells[0])
        rows.append((Worth.ENDS, (_MARGIN, *_ends(labels, taken))))
    if sum(len(text) for text, _ in LEGEND) < width:
        rows += [(Worth.BLANK, _BLANK), (Worth.LEGEND, (_MARGIN, *LEGEND))]
    return rows


def _ends(labels: Sequence[str], width: int) -> Row:
    first, last = labels[0], labels[-1]
    gap = max(1, width - len(first) - len(last) - 2)
    return ((f" {first}{' ' * gap}{last}", "dim"),)


def _found(watched: Watched) -> Rows:
    """The two releases that bracket the change, so far as they are proved."""
    if watched.hunt is None or (watched.low is None and watched.high is None):
        return []
    releases = watched.hunt.releases
    rows: Rows = [(Worth.BLANK, _BLANK)]
    for which, index in (("last", watched.low), ("first", watched.high)):
        verdict = _verdict(watched, which)
        label = (f"{which} {verdict}".ljust(12), STYLES[verdict])
        row = _neighbour(releases[index]) if index is not None else (("not proved yet", "dim"),)
        rows.append((Worth.FOUND, (_MARGIN, label, *row)))
    return rows


def _verdict(watched: Watched, which: str) -> Verdict:
    """What the bracket's low or high end is called; the other end tells where it has none."""
    ends = {"last": watched.low, "first": watched.high}
    other = {Verdict.GOOD: Verdict.BAD, Verdict.BAD: Verdict.GOOD}
    for end, index in ends.items():
        verdict = watched.verdicts.get(-1 if index is None else index)
        if verdict in other:
            return verdict if end == which else other[verdict]
    return Verdict.GOOD if which == "last" else Verdict.BAD


def _neighbour(release: Release) -> Row:
    codename = f" ({shown(release.codename, 30)})" if release.codename else ""
    date = f"  {release.date.isoformat()}" if release.date and not release.moving else ""
    return ((shown(release.id), "bold"), (f"{codename}{date}", "dim"))


def _jobs(jobs: Sequence[Job], now: float) -> Iterator[tuple[Worth, Row]]:
    turn = _SPINNER[int(now * _FRAMES) % len(_SPINNER)]
    width = max((len(job.release) for job in jobs), default=0)
    for job in jobs:
        yield (
            Worth.JOB,
            (
                (f" {turn} ", "bold cyan"),
                (f"{job.doing:<10} ", ""),
                (f"{job.release:<{width}}", "bold"),
                (f"  {job.how}", "dim"),
                (f"  {clock(now - job.since)}", "cyan"),
            ),
        )
        if job.said:
            yield Worth.SAID, ((f"   {shown(job.said)}", "dim"),)


def _tally(watched: Watched, now: float) -> Row:
    cached = f" ({watched.cached} cached)" if watched.cached else ""
    left = "" if watched.left is None else f", about {watched.left} left"
    installs = f", {count(watched.installs, 'install')}" if watched.installs else ""
    jobs = f", {len(watched.jobs)} under way" if len(watched.jobs) > 1 else ""
    return (
        _MARGIN,
        (f"{count(watched.answers, 'trial')} done{cached}{left}", "bold"),
        (f"{jobs}{installs}, {clock(now - watched.began)}", "dim"),
    )
