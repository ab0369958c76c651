"""The search by example: ranges written as strings, one letter a release, oldest first.

+ good   - bad   ? cannot be tested
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from behunt.model import Find, HuntOutcome, Verdict
from behunt.search import Conclusion, Question, about_left, conclude, next_probes

VERDICTS = {"+": Verdict.GOOD, "-": Verdict.BAD, "?": Verdict.UNKNOWN}


def answers(history: str) -> dict[int, Verdict]:
    """The verdicts of a history; a dot has not been tested."""
    return {i: VERDICTS[letter] for i, letter in enumerate(history) if letter != "."}


def hunt(history: str, find: Find = Find.BREAK, **how: bool) -> tuple[list[int], Conclusion]:
    """Search a whole history one probe at a time: the probes in order, and the conclusion."""
    question = Question(len(history), find, **how)
    seen: dict[int, Verdict] = {}
    while probes := next_probes(question, seen):
        assert conclude(question, seen).kind is HuntOutcome.UNFINISHED
        assert about_left(question, seen) >= 1
        (probe,) = probes
        seen[probe] = VERDICTS[history[probe]]
    assert about_left(question, seen) == 0
    return list(seen), conclude(question, seen)


FOUND, AMBIGUOUS = HuntOutcome.FOUND, HuntOutcome.AMBIGUOUS
CONTRADICTION, BROKEN = HuntOutcome.CONTRADICTION, HuntOutcome.BROKEN


@pytest.mark.parametrize(
    ("history", "find", "expected"),
    [
        ("+-", Find.BREAK, Conclusion(FOUND, Find.BREAK, 0, 1)),
        ("++--", Find.BREAK, Conclusion(FOUND, Find.BREAK, 1, 2)),
        ("+++++++-", Find.BREAK, Conclusion(FOUND, Find.BREAK, 6, 7)),
        ("+-------", Find.BREAK, Conclusion(FOUND, Find.BREAK, 0, 1)),
        ("--++", Find.FIX, Conclusion(FOUND, Find.FIX, 1, 2)),
        ("--++", Find.CHANGE, Conclusion(FOUND, Find.FIX, 1, 2)),
        ("++--", Find.CHANGE, Conclusion(FOUND, Find.BREAK, 1, 2)),
        ("+??+-", Find.BREAK, Conclusion(FOUND, Find.BREAK, 3, 4)),
        ("+?-", Find.BREAK, Conclusion(AMBIGUOUS, Find.BREAK, 0, 2, (1,))),
        ("+??-", Find.BREAK, Conclusion(AMBIGUOUS, Find.BREAK, 0, 3, (1, 2))),
        ("-??+", Find.CHANGE, Conclusion(AMBIGUOUS, Find.FIX, 0, 3, (1, 2))),
        ("++??--", Find.BREAK, Conclusion(AMBIGUOUS, Find.BREAK, 1, 4, (2, 3))),
        ("+?+?-?-", Find.BREAK, Conclusion(AMBIGUOUS, Find.BREAK, 2, 4, (3,))),
    ],
)
def test_what_a_history_proves(history: str, find: Find, expected: Conclusion) -> None:
    _, conclusion = hunt(history, find)
    assert replace(conclusion, reason="") == expected
    assert (conclusion.reason == "") == (conclusion.kind is FOUND)


@pytest.mark.parametrize(
    ("history", "find", "asked", "kind", "reason"),
    [
        ("++", Find.BREAK, [1], CONTRADICTION, "#1, the newest release, is good"),
        ("--", Find.BREAK, [1, 0], CONTRADICTION, "#0, the oldest release, is bad"),
        ("--", Find.FIX, [1], CONTRADICTION, "#1, the newest release, is bad"),
        ("+-+", Find.FIX, [2, 0], CONTRADICTION, "#0, the oldest release, is good"),
        ("+-+", Find.CHANGE, [2, 0], CONTRADICTION, "#0 and #2, the two ends, are both good"),
        ("+?", Find.BREAK, [1], BROKEN, "#1, the newest release, could not be tested"),
        ("?-", Find.BREAK, [1, 0], BROKEN, "#0, the oldest release, could not be tested"),
        ("+?", Find.CHANGE, [1], BROKEN, "#1, the newest release, could not be tested"),
        ("?-", Find.CHANGE, [1, 0], BROKEN, "#0, the oldest release, could not be tested"),
    ],
)
def test_a_search_ends_at_an_end_that_forbids_it(
    history: str, find: Find, asked: list[int], kind: HuntOutcome, reason: str
) -> None:
    probes, conclusion = hunt(history, find)
    assert probes == asked
    assert conclusion.kind is kind
    assert (conclusion.before, conclusion.after, conclusion.suspects) == (None, None, ())
    assert conclusion.reason.startswith(reason)


@pytest.mark.parametrize(
    ("seen", "want", "running", "probes"),
    [
        (".....", 1, (), (4,)),
        (".....", 2, (), (4, 0)),
        (".....", 4, (), (4, 0)),
        (".....", 1, (4,), (0,)),
        (".....", 2, (4, 0), ()),
        ("....-", 1, (), (0,)),
        ("+...-", 1, (), (2,)),
        ("+...-", 3, (), (1, 2, 3)),
        ("+...-", 9, (), (1, 2, 3)),
        ("+...-", 2, (2,), (1, 3)),
        ("+...-", 1, (1, 2, 3), ()),
        ("+..........-", 2, (), (4, 7)),
        ("+...+......-", 1, (), (7,)),
        ("+.......-", 1, (4,), (2,)),
        ("+.......-", 1, (2, 4), (6,)),
        ("+.......-", 0, (), ()),
        (".........", -1, (), ()),
    ],
)
def test_which_releases_are_asked(
    seen: str, want: int, running: tuple[int, ...], probes: tuple[int, ...]
) -> None:
    assert next_probes(Question(len(seen)), answers(seen), want, running) == probes


def test_a_window_is_jumped_out_of() -> None:
    probes, conclusion = hunt("+" + "+" * 16 + "?" * 32 + "-" * 16)
    assert (conclusion.before, conclusion.after) == (16, 49)
    assert len([i for i in probes if 17 <= i < 49]) <= 12


@pytest.mark.parametrize("untestable", [8, 16, 32, 48])
@pytest.mark.parametrize("first_bad", [1, 30, 31, 33, 34, 64])
def test_a_single_untestable_release_costs_little(untestable: int, first_bad: int) -> None:
    history = ["+"] * first_bad + ["-"] * (65 - first_bad)
    history[untestable] = "?"
    probes, conclusion = hunt("".join(history))
    beside = untestable in {first_bad - 1, first_bad}
    assert conclusion.kind is (AMBIGUOUS if beside else FOUND)
    assert len(probes) <= 2 + 6 + 3


def test_presumed_releases_are_tested_only_when_thorough() -> None:
    history = "+" * 20 + "?" * 11 + "+?" + "?" * 12 + "-" * 20
    quick, interval = hunt(history)
    every, narrowest = hunt(history, thorough=True)
    assert interval.kind is narrowest.kind is AMBIGUOUS
    assert (interval.before, interval.after) == (19, 45)
    assert "presumed" in interval.reason
    assert (narrowest.before, narrowest.after) == (31, 45)
    assert "presumed" not in narrowest.reason
    assert len(quick) < len(every)


@pytest.mark.parametrize(
    ("history", "asked", "kind", "before", "after"),
    [
        ("++++++++-", [8, 7], FOUND, 7, 8),
        ("++++++---", [8, 7, 6, 4, 5], FOUND, 5, 6),
        ("+--------", [8, 7, 6, 4, 0, 2, 1], FOUND, 0, 1),
        ("+++++?-?-", [8, 7, 6, 4, 5], AMBIGUOUS, 4, 6),
        ("-++--", [4, 3, 2], FOUND, 2, 3),
        ("---------", [8, 7, 6, 4, 0], CONTRADICTION, None, 0),
        ("--", [1, 0], CONTRADICTION, None, 0),
        ("?-", [1, 0], BROKEN, None, 1),
        ("??+------", [8, 7, 6, 4, 0, 2, 3], FOUND, 2, 3),
        ("???------", [8, 7, 6, 4, 0, 2, 3, 1], BROKEN, None, 3),
    ],
)
def test_the_walk_back_from_the_newest(
    history: str, asked: list[int], kind: HuntOutcome, before: int | None, after: int
) -> None:
    probes, conclusion = hunt(history, open_start=True)
    assert probes == asked
    assert (conclusion.kind, conclusion.before, conclusion.after) == (kind, before, after)


@pytest.mark.parametrize("find", [Find.FIX, Find.CHANGE])
def test_a_fix_is_walked_back_to_as_well(find: Find) -> None:
    probes, conclusion = hunt("------+++", find, open_start=True)
    assert probes == [8, 7, 6, 4, 5]
    assert (conclusion.kind, conclusion.find, conclusion.after) == (FOUND, Find.FIX, 6)


def test_the_walk_back_in_parallel_takes_several_steps_at_once() -> None:
    question = Question(65, open_start=True)
    assert next_probes(question, {}, 4) == (64,)
    assert next_probes(question, {64: Verdict.BAD}, 4) == (63, 62, 60, 56)
    assert next_probes(question, {64: Verdict.BAD}, 2, {63, 62}) == (60, 56)
    assert next_probes(question, {64: Verdict.BAD}, 9, {0, 63}) == ()


def test_an_open_start_without_an_old_answer_leaves_every_older_release_suspect() -> None:
    _, conclusion = hunt("???------", open_start=True)
    assert conclusion.suspects == (0, 1, 2)
    assert conclusion.reason == (
        "Every release that could be tested is bad, back to #3; the 3 older ones could not be."
    )


@pytest.mark.parametrize(
    ("seen", "find", "expected"),
    [
        ("+-+-", Find.BREAK, Conclusion(CONTRADICTION, Find.BREAK, 2, 3, (), ((1, 2),))),
        ("+-?+-", Find.BREAK, Conclusion(CONTRADICTION, Find.BREAK, 3, 4, (), ((1, 3),))),
        ("+-+-+-", Find.BREAK, Conclusion(CONTRADICTION, Find.BREAK, 4, 5, (), ((1, 2), (3, 4)))),
        ("-+-+", Find.FIX, Conclusion(CONTRADICTION, Find.FIX, 2, 3, (), ((1, 2),))),
        ("+-+?-", Find.CHANGE, Conclusion(CONTRADICTION, Find.BREAK, 2, 4, (3,), ((1, 2),))),
    ],
)
def test_answers_that_go_to_and_fro_are_reported_beside_the_last_change(
    seen: str, find: Find, expected: Conclusion
) -> None:
    conclusion = conclude(Question(len(seen), find), answers(seen), "r{}".format)
    assert replace(conclusion, reason="") == expected
    earlier, later = expected.conflicts[-1]
    assert f"r{earlier} is" in conclusion.reason
    assert f"r{later}, which is later, is" in conclusion.reason


def test_the_last_change_is_narrowed_down_even_after_a_contradiction() -> None:
    seen = answers("+.-..+.....-")
    assert next_probes(Question(12), seen) == (8,)
    conclusion = conclude(Question(12), seen)
    assert (conclusion.kind, conclusion.conflicts) == (HuntOutcome.UNFINISHED, ((2, 5),))


def test_what_is_not_proved_yet_is_not_concluded() -> None:
    assert conclude(Question(9, Find.CHANGE), {}) == Conclusion(
        HuntOutcome.UNFINISHED, Find.CHANGE, reason="Releases worth testing are left."
    )
    begun = conclude(Question(9), answers("+...?...-"))
    assert (begun.before, begun.after, len(begun.suspects)) == (0, 8, 7)


def test_the_estimate_of_what_is_left_is_exact_where_all_can_be_tested() -> None:
    assert about_left(Question(65), {}) == 8
    assert about_left(Question(65), {64: Verdict.BAD}) == 7
    assert about_left(Question(65), {64: Verdict.BAD, 0: Verdict.GOOD}) == 6


@pytest.mark.parametrize("n", [-1, 0, 1])
def test_a_question_needs_two_releases(n: int) -> None:
    with pytest.raises(ValueError, match="two releases"):
        Question(n)


def test_an_answer_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"outside the range of 3: \[3\]"):
        next_probes(Question(3), {3: Verdict.GOOD})


def test_five_thousand_answers_do_not_vanish_in_floating_point() -> None:
    seen = {i: Verdict.UNKNOWN if i % 3 else Verdict.GOOD for i in range(5000)}
    seen |= {4999: Verdict.BAD}
    del seen[4997], seen[4998]
    assert set(next_probes(Question(5000), seen, 2)) == {4997, 4998}
