"""The range of a hunt as one strip, in every width."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hunt_events import narrowed, releases

from behunt import events
from behunt.cli.strip import strip
from behunt.cli.watched import Watched, told
from behunt.model import Outcome, Verdict

GOOD, BAD, UNKNOWN = Verdict.GOOD, Verdict.BAD, Verdict.UNKNOWN


def drawn(state: Watched, width: int, labels: Sequence[str] | None = None) -> list[str]:
    assert state.hunt is not None
    if labels is None:
        labels = ["a long label"] * len(state.hunt.releases)
    return ["".join(text for text, _ in row) for row in strip(state, labels, width)]


def state_of(
    count: int,
    verdicts: dict[int, Verdict],
    ends: tuple[int | None, int | None],
    under_way: Sequence[int] = (),
) -> Watched:
    hunt = events.HuntStarted(1, releases(count), "test.sh", "namespace")
    state = told(Watched(), hunt, 0.0)
    for index in under_way:
        state = told(state, events.TrialStarted(hunt.releases[index].id, "t", "namespace"), 0.0)
    outcomes = {GOOD: Outcome.PASSED, BAD: Outcome.FAILED, UNKNOWN: Outcome.BROKEN}
    for index, verdict in verdicts.items():
        event = narrowed(hunt.releases[index].id, outcomes[verdict], ends, 1)
        state = told(state, event, 0.0)
    return state


def test_few_releases_have_their_labels() -> None:
    state = state_of(5, {0: GOOD, 4: BAD}, (0, 4), [2])
    assert drawn(state, 78, ["11", "12", "13", "forky", "sid"]) == [
        "   11   12   13   forky   sid   ",
        "   G  [ ·    *      ·   ]  B    ",
    ]


@pytest.mark.parametrize(
    ("count", "verdicts", "ends", "under_way", "width", "expected"),
    [
        (6, {}, (None, None), [5], 20, "[· · · · · *]"),
        (6, {5: BAD}, (None, 5), [0], 20, "[* · · · ·]B "),
        (6, {0: GOOD, 5: BAD, 3: UNKNOWN}, (0, 5), [2], 20, " G[· * ? ·]B "),
        (6, {0: GOOD, 5: BAD, 2: GOOD, 3: BAD}, (2, 3), [], 20, " G · G|B · B "),
        (10, {0: GOOD, 9: BAD}, (0, 9), [4], 20, "G[···*····]B"),
        (100, {0: GOOD, 99: BAD}, (0, 99), [], 24, "G[·········98·········]B"),
        (
            100,
            {0: GOOD, 99: BAD, 50: GOOD, 60: BAD},
            (50, 60),
            [],
            30,
            "G···49···G[·········]B···38··B",
        ),
        (100, {0: GOOD, 99: BAD, 50: GOOD}, (50, 99), [], 12, "G⋯G[··48··]B"),
    ],
)
def test_the_strip_takes_the_roomiest_form_that_fits(  # noqa: PLR0917 - a table
    count: int,
    verdicts: dict[int, Verdict],
    ends: tuple[int | None, int | None],
    under_way: Sequence[int],
    width: int,
    expected: str,
) -> None:
    assert drawn(state_of(count, verdicts, ends, under_way), width) == [expected]


def test_a_strip_that_cannot_be_shortened_enough_shows_the_part_in_brackets() -> None:
    verdicts = {i: (GOOD, UNKNOWN)[i % 2] for i in range(200)} | {199: BAD}
    (line,) = drawn(state_of(200, verdicts, (198, 199)), 20)
    assert len(line) == 20
    assert line[0] == "…"
    assert line.endswith("?G|B")


@pytest.mark.parametrize("width", range(5, 130, 7))
def test_the_strip_is_never_wider_than_asked(width: int) -> None:
    for count in (2, 30, 100, 1000):
        verdicts = {0: GOOD, count - 1: BAD}
        rows = drawn(state_of(count, verdicts, (0, count - 1)), width)
        assert max(map(len, rows)) <= width
