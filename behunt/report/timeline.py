"""The geometry of the timeline: pure values, in percent of its width. The template draws them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from behunt.model import Answered, Hunt, Release
from behunt.report.wording import date_of, named, neighbours, role_of, tested_on

SHOWN_SINGLY = 20  # with more releases, those that were not tested share a row
_YEAR = 12
_STEPS = (1, 2, 3, 6, _YEAR, 2 * _YEAR, 5 * _YEAR, 10 * _YEAR, 20 * _YEAR)  # months
_YEARS_THAT_FIT, _MONTHS_THAT_FIT = 8, 5  # tick labels side by side on a narrow screen
_FADE = 9.0  # percent over which a lifetime of unknown length fades
_DEFAULT_SPAN = 365


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Life:
    """The bar of a release's supported lifetime."""

    x: float
    width: float
    end: str  # "eol", "fading": unknown, "open": a moving suite


@dataclass(frozen=True, slots=True)
class Mark:
    release: str  # Release.id
    x: float
    shift: int  # pixels to the right, where a release was tried more than once
    sign: str  # a Verdict, or "none": not tested
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    """One release, or neighbouring ones that were not tested."""

    releases: tuple[Release, ...]
    label: str
    date: str
    state: str  # "last good", "bad", "not tested"
    sign: str
    role: str
    lives: tuple[Life, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    dated: bool  # False: the catalogue has no dates, the releases stand in their order
    ticks: tuple[Tick, ...]
    rows: tuple[Row, ...]
    band: tuple[float, float] | None  # where the change lies: x, width
    today: float | None


@dataclass(frozen=True, slots=True)
class _Scale:
    start: dt.date
    end: dt.date

    def x(self, day: dt.date) -> float:
        inside = min(max(day, self.start), self.end)
        return _percent((inside - self.start).days / (self.end - self.start).days)


def timeline(hunt: Hunt, made: str = "") -> Timeline:
    """Rows in the order of the hunt. `made` is the day of the report, where time now stands."""
    today = _day(made)
    scale = _scale(hunt, today)
    places = _places(hunt, scale)
    band = None
    if len(pair := neighbours(hunt)) == 2:  # noqa: PLR2004
        one, other = sorted(places[release.id] for _, release in pair)
        band = (one, round(other - one, 2))
    return Timeline(
        dated=scale is not None,
        ticks=_ticks(scale) if scale else (),
        rows=tuple(_rows(hunt, scale, places)),
        band=band,
        today=scale.x(today) if scale and today else None,
    )


def _percent(part: float) -> float:
    return round(100 * part, 2)


def _day(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text[:10])
    except ValueError:
        return None


def _start(hunt: Hunt, release: Release) -> dt.date | None:
    """When a release came; for a moving suite, whose name is older, the day it was tested."""
    return _day(tested_on(hunt, release.id)) if release.moving else release.date


def _scale(hunt: Hunt, today: dt.date | None) -> _Scale | None:
    starts = [day for release in hunt.releases if (day := _start(hunt, release))]
    if not starts:
        return None
    ends = [r.eol for r in hunt.releases if r.eol and not r.moving]
    first, last = min(starts), max([*starts, *ends, *([today] if today else [])])
    return _Scale(first, last if last > first else first + dt.timedelta(days=_DEFAULT_SPAN))


def _places(hunt: Hunt, scale: _Scale | None) -> dict[str, float]:
    """Where each release stands. One without a date stands with the one before it."""
    steps = max(len(hunt.releases) - 1, 1)
    places: dict[str, float] = {}
    last = 0.0
    for index, release in enumerate(hunt.releases):
        day = _start(hunt, release)
        if scale is None:
            last = _percent(index / steps)
        elif day:
            last = scale.x(day)
        places[release.id] = last
    return places


def _ticks(scale: _Scale) -> tuple[Tick, ...]:
    """The first days of years or months, as many as have room for their labels."""
    first, last = _months(scale.start), _months(scale.end)
    for step in _STEPS:
        months = range(-(-first // step) * step, last + 1, step)
        days = [day for month in months if scale.start <= (day := _first_of(month)) <= scale.end]
        if len(days) <= (_YEARS_THAT_FIT if step >= _YEAR else _MONTHS_THAT_FIT):
            break
    form = "%Y" if step >= _YEAR else "%Y-%m"
    return tuple(Tick(scale.x(day), day.strftime(form)) for day in days)


def _months(day: dt.date) -> int:
    return day.year * _YEAR + day.month - 1


def _first_of(month: int) -> dt.date:
    return dt.date(month // _YEAR, month % _YEAR + 1, 1)


def _rows(hunt: Hunt, scale: _Scale | None, places: dict[str, float]) -> Iterator[Row]:
    answers: dict[str, list[Answered]] = {}
    for answered in hunt.answers:
        answers.setdefault(answered.trial.release, []).append(answered)
    suspects = {suspect.release for suspect in hunt.suspects}
    many = len(hunt.releases) > SHOWN_SINGLY

    def together(release: Release) -> str:
        """Neighbours with the same key share a row."""
        if not many or release.id in answers or role_of(hunt, release.id):
            return release.id
        return "suspect" if release.id in suspects else "not tested"

    for _, group in groupby(hunt.releases, together):
        releases = tuple(group)
        tried = answers.get(releases[0].id, [])
        state = _state(hunt, releases[0].id, tried, suspect=releases[0].id in suspects)
        yield Row(
            releases=releases,
            label=_label(releases),
            date=date_of(hunt, releases[0]) if len(releases) == 1 else "",
            state=state,
            sign=tried[-1].verdict.value if tried else "none",
            role=role_of(hunt, releases[0].id),
            lives=tuple(life for r in releases for life in _lives(r, scale, places[r.id])),
            marks=tuple(mark for r in releases for mark in _marks(r, tried, places[r.id])),
        )


def _label(releases: Sequence[Release]) -> str:
    if len(releases) == 1:
        return named(releases[0])
    return f"{len(releases)} releases, {releases[0].version} to {releases[-1].version}"


def _state(hunt: Hunt, release_id: str, tried: Sequence[Answered], *, suspect: bool) -> str:
    if role := role_of(hunt, release_id):
        return role
    answer = " / ".join(answered.verdict for answered in tried) or "not tested"
    if tried and tried[-1].verdict == "unknown":
        answer = tried[-1].trial.outcome
    return f"open: {answer}" if suspect else answer


def _lives(release: Release, scale: _Scale | None, x: float) -> Iterator[Life]:
    if scale is None or (release.date is None and not release.moving):
        return
    if release.moving:
        yield Life(x, round(100 - x, 2), "open")
    elif release.eol:
        yield Life(x, round(max(scale.x(release.eol) - x, 0), 2), "eol")
    else:
        yield Life(x, min(_FADE, round(100 - x, 2)), "fading")


_SHIFT = 22  # pixels: one mark's width


def _marks(release: Release, tried: Sequence[Answered], x: float) -> Iterator[Mark]:
    if not tried:
        yield Mark(release.id, x, 0, "none", f"{named(release)}: not tested")
    towards = -1 if x > 80 else 1  # noqa: PLR2004  stay inside at the right edge
    for index, answered in enumerate(tried):
        title = f"{named(release)}: {answered.verdict}, {answered.trial.outcome}"
        yield Mark(release.id, x, towards * index * _SHIFT, answered.verdict.value, title)
