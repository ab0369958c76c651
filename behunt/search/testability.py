"""Which releases can probably be tested, judged by those that could and those that could not.

UNKNOWN answers have one of two causes. *Bad luck*: single releases fail here and there, and
the neighbour of one is as good as any other. *A window*: an era cannot be tested (an installer,
a mirror, an interpreter that was not there yet), and trying it release by release is what
makes a search expensive.

Both are two-state Markov chains: from one release to the next, testability is kept with the
chance `memory`, and otherwise drawn anew, untestable at `rate`. Bad luck has no memory; a
window of mean length L forgets in about L steps. Several of each are held for possible and
weighed by how well they foretell the answers (Bayes). So one UNKNOWN says little, and its
neighbour is asked; a few in a row speak for a window, and the longer it shows itself to be,
the farther the search jumps; UNKNOWNs scattered elsewhere speak for luck again. What lies
between two untestable releases soon is too unlikely to answer and is presumed untestable, but
the middle of a wide gap not before it has been tried.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from itertools import pairwise
from math import exp, inf, log
from typing import NamedTuple

from behunt.model import Verdict


class Chain(NamedTuple):
    """One cause of untestable releases, and its weight before there are answers."""

    weight: float
    rate: float  # share of untestable releases
    memory: float  # 0 ≤ memory < 1

    def chance(self, here: bool, there: bool, distance: float) -> float:  # noqa: FBT001
        """How likely `there` is the testability this far from a release where it is `here`."""
        share = 1 - self.rate if there else self.rate
        return share + ((here is there) - share) * self.memory**distance


def _luck(rate: float) -> Chain:
    return Chain(weight=3 / 4, rate=rate, memory=0.0)


def _window(length: int, onset: float = 0.02) -> Chain:
    """Windows of this mean length; a testable release is followed by one at a chance of `onset`."""
    end = 1 / length
    return Chain(weight=1 / 5, rate=onset / (onset + end), memory=1 - onset - end)


# Luck weighs three times as much in all: one neighbour asked too many costs less than a jump
# over what could be tested. Nothing hangs on the figures: see benchmarks/search.py.
_CAUSES = (*map(_luck, (0.05, 0.15, 0.25, 0.35)), *map(_window, (4, 8, 16, 32, 64)))

# Between two untestable releases, and less likely to answer than this: presumed untestable.
_HOPELESS = 1 / 10


class Testability:
    """What the answers so far let one expect of the releases that were not tested."""

    __test__ = False  # not a pytest class

    def __init__(self, seen: Mapping[int, Verdict]) -> None:
        answers = [(i, seen[i] is not Verdict.UNKNOWN) for i in sorted(seen)]
        # Beyond both ends, infinitely far: releases that say nothing.
        self._answers: list[tuple[float, bool]] = [(-inf, True), *answers, (inf, True)]
        fits = [
            log(cause.weight)
            + sum(log(cause.chance(a, b, j - i)) for (i, a), (j, b) in pairwise(self._answers))
            for cause in _CAUSES
        ]
        self._causes = [
            cause._replace(weight=exp(fit - max(fits)))
            for cause, fit in zip(_CAUSES, fits, strict=True)
        ]

    def chance(self, index: int) -> float:
        """How likely this release, not tested yet, is to answer GOOD or BAD."""
        (older, before), (newer, after) = self._neighbours(index)
        return sum(
            cause.weight
            * cause.chance(before, True, index - older)
            * cause.chance(True, after, newer - index)
            / cause.chance(before, after, newer - older)
            for cause in self._causes
        ) / sum(cause.weight for cause in self._causes)

    def presumed(self, index: int) -> bool:
        """Whether this release is taken for untestable without a trial."""
        (_, before), (_, after) = self._neighbours(index)
        return not before and not after and self.chance(index) < _HOPELESS

    def _neighbours(self, index: int) -> tuple[tuple[float, bool], tuple[float, bool]]:
        place = bisect(self._answers, (index, True))
        return self._answers[place - 1], self._answers[place]
