from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_evidence import MADE, answered, debian, freebsd, freebsd_evidence, hunt

from behunt.model import Outcome, Release
from behunt.report.timeline import SHOWN_SINGLY, timeline

DEBIAN = hunt(
    debian(), (4, Outcome.FAILED), (0, Outcome.PASSED), (1, Outcome.PASSED), (2, Outcome.FAILED),
    first_bad=2,
)  # fmt: skip


def test_each_release_has_its_row_with_what_was_answered() -> None:
    rows = timeline(DEBIAN, MADE).rows
    assert [row.state for row in rows] == ["good", "last good", "first bad", "not tested", "bad"]
    assert [row.sign for row in rows] == ["good", "good", "bad", "none", "bad"]
    assert [row.date for row in rows] == [
        "2021-08-14",
        "2023-06-10",
        "2025-08-09",
        "as of 2026-07-20",
        "as of 2026-07-20",
    ]


def test_a_lifetime_ends_fades_or_stays_open() -> None:
    dated = replace(debian()[2], eol=None)
    rows = timeline(hunt((debian()[0], dated, debian()[4]), (0, Outcome.PASSED)), MADE).rows
    assert [row.lives[0].end for row in rows] == ["eol", "fading", "open"]
    assert rows[2].lives[0].x + rows[2].lives[0].width == 100


def test_a_moving_suite_stands_on_the_day_of_its_trial_not_on_its_names_birthday() -> None:
    line = timeline(DEBIAN, MADE)
    assert line.rows[4].marks[0].x == line.today
    assert line.ticks[0].label == "2022"


def test_the_band_lies_between_the_two_neighbours() -> None:
    line = timeline(DEBIAN, MADE)
    assert line.band
    x, width = line.band
    assert x == line.rows[1].marks[0].x
    assert x + width == pytest.approx(line.rows[2].marks[0].x)


def test_without_dates_the_releases_stand_evenly_in_their_order() -> None:
    releases = tuple(Release(f"demo-{n}", "demo", str(n), "any") for n in range(5))
    line = timeline(hunt(releases, (0, Outcome.PASSED), (4, Outcome.FAILED)), MADE)
    assert not line.dated
    assert not line.ticks
    assert [row.marks[0].x for row in line.rows] == [0, 25, 50, 75, 100]
    assert not any(row.lives for row in line.rows)


def test_one_release_without_a_date_stands_with_the_one_before() -> None:
    releases = (debian()[0], replace(debian()[1], date=None), debian()[2])
    rows = timeline(hunt(releases, (0, Outcome.PASSED)), MADE).rows
    assert rows[1].marks[0].x == rows[0].marks[0].x
    assert not rows[1].lives


@pytest.mark.parametrize("number", [SHOWN_SINGLY + 1, 100, 300])
def test_many_releases_share_rows_where_they_were_not_tested(number: int) -> None:
    found = freebsd_evidence(number).hunt
    rows = timeline(found, MADE).rows
    assert [release for row in rows for release in row.releases] == list(found.releases)
    assert len(rows) <= 2 * (len(found.answers) + len(found.suspects)) + 1
    tested = {answer.trial.release for answer in found.answers}
    assert all(not tested & {r.id for r in row.releases} for row in rows if len(row.releases) > 1)
    assert sum(len(row.marks) for row in rows) == number


def test_a_release_tried_twice_has_both_marks_beside_each_other() -> None:
    release = debian()[1]
    again = (answered(release, Outcome.PASSED), answered(release, Outcome.FAILED))
    (row,) = timeline(replace(hunt((release,)), answers=again), MADE).rows
    assert [mark.sign for mark in row.marks] == ["good", "bad"]
    assert row.marks[0].shift != row.marks[1].shift
    assert row.state == "good / bad"


DAYS = st.dates(dt.date(1970, 1, 1), dt.date(2060, 1, 1))


@given(st.lists(DAYS, min_size=1, max_size=30), DAYS, st.integers(0, 9000))
def test_everything_lies_within_and_the_labels_have_room(
    days: list[dt.date], made: dt.date, life: int
) -> None:
    releases = tuple(
        replace(release, date=day, eol=day + dt.timedelta(days=life))
        for release, day in zip(freebsd(len(days)), days, strict=True)
    )
    line = timeline(hunt(releases, (0, Outcome.PASSED)), made.isoformat())
    assert len(line.ticks) <= 8
    assert len({tick.label for tick in line.ticks}) == len(line.ticks)
    assert all(0 <= tick.x <= 100 for tick in line.ticks)
    for row in line.rows:
        assert all(0 <= mark.x <= 100 for mark in row.marks)
        assert all(bar.x >= 0 and bar.x + bar.width <= 100.01 for bar in row.lives)
    assert line.today is not None
    assert 0 <= line.today <= 100
