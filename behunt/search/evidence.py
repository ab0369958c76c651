"""What a set of answers proves about a range of releases, and what it leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from behunt.model import Find, Verdict
from behunt.search.testability import Testability

_OTHER = {Verdict.GOOD: Verdict.BAD, Verdict.BAD: Verdict.GOOD}


@dataclass(frozen=True, slots=True)
class Question:
    """Find where the answer changed among `n` releases: indices 0 to n-1, oldest first.

    `find` says how: BREAK from good to bad, FIX from bad to good, CHANGE whichever of the two
    the ends show. `thorough` also tests what would be presumed untestable. With `open_start`
    the old end is not given: it is looked for, going back from the newest.
    """

    n: int
    find: Find = Find.BREAK
    thorough: bool = False
    open_start: bool = False

    def __post_init__(self) -> None:
        if self.n < 2:  # noqa: PLR2004
            raise ValueError(f"a change needs two releases to lie between, got {self.n}")

    @property
    def newest(self) -> int:
        return self.n - 1


@dataclass(frozen=True)
class Evidence:
    """The answers to a question, read: a function of the set, whatever order they came in."""

    question: Question
    seen: Mapping[int, Verdict]

    def __post_init__(self) -> None:
        if outside := [i for i in self.seen if not 0 <= i < self.question.n]:
            raise ValueError(f"answers outside the range of {self.question.n}: {outside}")

    @cached_property
    def new(self) -> Verdict | None:
        """The verdict that a release has from the change on; None while that is not known."""
        match self.question.find:
            case Find.BREAK:
                return Verdict.BAD
            case Find.FIX:
                return Verdict.GOOD
            case Find.CHANGE:
                newest = self.seen.get(self.question.newest, Verdict.UNKNOWN)
                return None if newest is Verdict.UNKNOWN else newest

    @property
    def old(self) -> Verdict | None:
        """The verdict that a release has before the change."""
        return _OTHER[self.new] if self.new else None

    @property
    def find(self) -> Find:
        """BREAK or FIX, or CHANGE while the newest release has not said which."""
        return {None: Find.CHANGE, Verdict.BAD: Find.BREAK, Verdict.GOOD: Find.FIX}[self.new]

    @property
    def ends(self) -> tuple[int, ...]:
        """What has to be proved before the search, in that order.

        The newest first: that is where the user sees what is hunted, and where a wrong test
        or a wrong question shows soonest.
        """
        newest = self.question.newest
        return (newest,) if self.question.open_start else (newest, 0)

    @property
    def unproved(self) -> tuple[int, ...]:
        """The ends that have not been tested yet."""
        return tuple(end for end in self.ends if end not in self.seen)

    @property
    def refusal(self) -> int | None:
        """The first end whose answer forbids a search: untestable, or not what it must be."""
        for end, wanted in zip(self.ends, (self.new, self.old), strict=False):
            verdict = self.seen.get(end, wanted)
            if verdict is not wanted and (wanted or verdict is Verdict.UNKNOWN):
                return end
        return None

    @cached_property
    def before(self) -> int | None:
        """The newest release with the old answer: the change that still holds lies after it.

        If the answers go to and fro, it is the last change that explains the newest release.
        """
        return max((i for i, verdict in self.seen.items() if verdict is self.old), default=None)

    @cached_property
    def after(self) -> int | None:
        """The oldest release with the new answer, of those after `before`."""
        floor = -1 if self.before is None else self.before
        return min(
            (i for i, verdict in self.seen.items() if verdict is self.new and i > floor),
            default=None,
        )

    @property
    def span(self) -> tuple[int, int]:
        """`before` and `after`; -1 and n, just outside, where they are not proved."""
        return (
            -1 if self.before is None else self.before,
            self.question.n if self.after is None else self.after,
        )

    @cached_property
    def unknown(self) -> tuple[int, ...]:
        """What was found untestable between `before` and `after`, oldest first."""
        low, high = self.span
        return tuple(i for i in sorted(self.seen) if low < i < high)

    @cached_property
    def testability(self) -> Testability:
        """What to expect of the releases without an answer."""
        return Testability(self.seen)

    @property
    def conflicts(self) -> tuple[tuple[int, int], ...]:
        """Each (earlier, later) where the new answer went back to the old one."""
        known = [i for i in sorted(self.seen) if self.seen[i] is not Verdict.UNKNOWN]
        return tuple(
            (i, j)
            for i, j in pairwise(known)
            if self.seen[i] is self.new and self.seen[j] is self.old
        )
