"""What holds of the search whatever the history, and in whatever order answers arrive."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from behunt.model import Find, HuntOutcome, Verdict
from behunt.search import Conclusion, Question, about_left, conclude, next_probes

FLIPPED = {
    Verdict.GOOD: Verdict.BAD,
    Verdict.BAD: Verdict.GOOD,
    Verdict.UNKNOWN: Verdict.UNKNOWN,
}


@dataclass(frozen=True)
class History:
    """One change from good to bad, and what cannot be tested."""

    n: int
    first_bad: int
    untestable: frozenset[int]

    def __getitem__(self, index: int) -> Verdict:
        if index in self.untestable:
            return Verdict.UNKNOWN
        return Verdict.GOOD if index < self.first_bad else Verdict.BAD

    def best(self) -> tuple[int, int]:
        testable = [i for i in range(self.n) if i not in self.untestable]
        older = [i for i in testable if i < self.first_bad]
        return older[-1], testable[len(older)]


@st.composite
def histories(draw: st.DrawFn) -> History:
    n = draw(st.integers(2, 48))
    inner = st.integers(1, n - 1)
    single = draw(st.frozensets(inner, max_size=n))
    start, end = sorted((draw(inner), draw(inner)))
    untestable = single if draw(st.booleans()) else frozenset(range(start, end))
    return History(n, draw(inner), untestable - {n - 1})


def search(
    history: History, question: Question, seen: dict[int, Verdict], want: int = 1
) -> Conclusion:
    """Answer all that is asked, and check what must hold at every step."""
    while probes := next_probes(question, seen, want):
        assert len(probes) == len(set(probes)) <= want
        assert not set(probes) & set(seen)
        assert about_left(question, seen) >= 1
        assert conclude(question, seen).kind is HuntOutcome.UNFINISHED
        seen |= {probe: history[probe] for probe in probes}
    return conclude(question, seen)


def check(history: History, conclusion: Conclusion) -> tuple[int, int]:
    """The truth is inside, and no more is claimed than is known: before and after."""
    before, after = conclusion.before, conclusion.after
    assert before is not None
    assert after is not None
    assert before < history.first_bad <= after
    assert conclusion.suspects == tuple(range(before + 1, after))
    single = after == before + 1
    assert conclusion.kind is (HuntOutcome.FOUND if single else HuntOutcome.AMBIGUOUS)
    return before, after


@settings(deadline=None)
@given(histories(), st.integers(1, 9))
def test_the_truth_is_always_inside_and_never_over_claimed(history: History, want: int) -> None:
    check(history, search(history, Question(history.n), {}, want))


@settings(deadline=None)
@given(histories(), st.integers(1, 9))
def test_a_thorough_search_finds_the_narrowest_interval(history: History, want: int) -> None:
    question = Question(history.n, thorough=True)
    assert check(history, search(history, question, {}, want)) == history.best()


@settings(deadline=None)
@given(histories())
def test_a_window_costs_no_precision(history: History) -> None:
    low, high = min(history.untestable, default=0), max(history.untestable, default=0)
    window = History(history.n, history.first_bad, frozenset(range(low, high + 1)) - {0})
    assert check(window, search(window, Question(window.n), {})) == window.best()


@settings(deadline=None)
@given(histories(), st.data())
def test_answers_known_before_are_used_in_whatever_order_they_came(
    history: History, data: st.DataObject
) -> None:
    question = Question(history.n)
    known = data.draw(st.permutations(range(history.n)))[: data.draw(st.integers(0, history.n))]
    seen = {i: history[i] for i in known}
    again = {i: history[i] for i in sorted(known)}
    assert next_probes(question, seen, 3) == next_probes(question, again, 3)
    assert conclude(question, seen) == conclude(question, again)
    low = max((i for i in known if history[i] is Verdict.GOOD), default=-1)
    high = min((i for i in known if history[i] is Verdict.BAD), default=history.n)
    for probe in next_probes(question, seen, history.n):
        assert low < probe < high or probe in (0, history.n - 1)
    check(history, search(history, question, seen))


@settings(deadline=None)
@given(histories(), st.integers(1, 6), st.data())
def test_probes_that_finish_in_any_order_come_to_the_same_end(
    history: History, jobs: int, data: st.DataObject
) -> None:
    question = Question(history.n, thorough=True)
    seen: dict[int, Verdict] = {}
    running: set[int] = set()
    while True:
        probes = next_probes(question, seen, jobs - len(running), running)
        assert not set(probes) & ({*seen} | running)
        running |= set(probes)
        if not running:
            break
        done = data.draw(st.sampled_from(sorted(running)))
        running.remove(done)
        seen[done] = history[done]
    assert check(history, conclude(question, seen)) == history.best()


@settings(deadline=None)
@given(histories(), st.booleans(), st.booleans())
def test_a_fix_is_a_break_seen_from_the_other_side(
    history: History,
    thorough: bool,  # noqa: FBT001
    open_start: bool,  # noqa: FBT001
) -> None:
    how = {"thorough": thorough, "open_start": open_start}
    seen: dict[int, Verdict] = {}
    found = search(history, Question(history.n, Find.BREAK, **how), seen)
    flipped = {i: FLIPPED[verdict] for i, verdict in seen.items()}
    for find in (Find.FIX, Find.CHANGE):
        question = Question(history.n, find, **how)
        order = list(flipped)
        for k, probe in enumerate(order):
            assert next_probes(question, {i: flipped[i] for i in order[:k]}) == (probe,)
        mirrored = conclude(question, flipped)
        assert (mirrored.kind, mirrored.find) == (found.kind, Find.FIX)
        assert (mirrored.before, mirrored.after) == (found.before, found.after)


@settings(deadline=None)
@given(histories(), st.integers(1, 9))
def test_the_walk_back_finds_what_the_search_from_an_end_finds(history: History, want: int) -> None:
    question = Question(history.n, thorough=True, open_start=True)
    assert check(history, search(history, question, {}, want)) == history.best()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(Verdict), min_size=2, max_size=24), st.booleans())
def test_any_answers_at_all_end_in_a_conclusion_that_they_support(
    verdicts: list[Verdict],
    open_start: bool,  # noqa: FBT001
) -> None:
    question = Question(len(verdicts), open_start=open_start)
    seen: dict[int, Verdict] = {}
    while probes := next_probes(question, seen):
        seen |= {probe: verdicts[probe] for probe in probes}
    conclusion = conclude(question, seen)
    assert conclusion.kind is not HuntOutcome.UNFINISHED
    if conclusion.kind is HuntOutcome.FOUND:
        assert conclusion.before is not None
        assert conclusion.after == conclusion.before + 1
        assert verdicts[conclusion.before] is Verdict.GOOD
        assert verdicts[conclusion.after] is Verdict.BAD
    for earlier, later in conclusion.conflicts:
        assert earlier < later
        assert (verdicts[earlier], verdicts[later]) == (Verdict.BAD, Verdict.GOOD)
