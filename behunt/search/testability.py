"""Which releases can probably be tested, judged by those that could and those that could not.

UNKNOWN answers have one of two causes. *Bad luck*: single releases fail here and there, and
the neighbour of one is as good as any other. *A window*: an era cannot be tested (an installer,
a mirror, an interpreter that was not there yet), and trying it release by release is what
makes a search expensive.

Both are two-state Markov chains: from one release to the next, testability is kept with the
chance `memory`, and otherwise drawn anew, untestable at `rate`. Bad luck has no memory; a
window of mean length L forgets in about L steps. Several of each are held for possible and
weighed by how well they foretell the answers (Bayes). So one UNKNOWN says little, and the
search steps aside to where the split is nearly as even; a few in a row speak for a window, and
the longer it shows itself to be, the farther the search jumps; UNKNOWNs scattered elsewhere
speak for luck again, and it stays near. What lies between two untestable releases is soon too
unlikely to answer, and is presumed untestable: last of all the middle of a wide gap, which is
asked first.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from behunt.model import Verdict


class Cause(NamedTuple):
    """A Markov chain that makes releases untestable, and its weight among the others."""

    rate: float  # share of untestable releases
    memory: float  # 0 ≤ memory < 1
    weight: float = 1.0

    def chance(self, here: bool, there: bool, distance: float) -> float:  # noqa: FBT001
        """How likely `there` is the testability this far from a release where it is `here`."""
        share = 1 - self.rate if there else self.rate
        return share + ((here is there) - share) * math.pow(self.memory, distance)


def _window(length: int) -> Cause:
    """Windows of this mean length, one begun by each 50th testable release."""
    begin, end = 1 / 50, 1 / length
    return Cause(rate=begin / (begin + end), memory=1 - begin - end)


# Round figures that cover what may happen: benchmarks/search.py moves little if one is doubled.
_LUCK = tuple(Cause(rate, memory=0.0) for rate in (0.05, 0.15, 0.25, 0.35))
_WINDOWS = tuple(_window(length) for length in (4, 8, 16, 32, 64, 128, 256, 512, 1024))

# Between two untestable releases, and less likely to answer than this: presumed untestable.
_HOPELESS = 1 / 40


class Testability:
    """What the answers so far let one expect of the releases that were not tested."""

    __test__ = False  # not a pytest class

    def __init__(self, seen: Mapping[int, Verdict]) -> None:
        answers = [(i, seen[i] is not Verdict.UNKNOWN) for i in sorted(seen)]
        # Beyond both ends, infinitely far: releases that say nothing.
        self._answers: list[tuple[float, bool]] = [(-math.inf, True), *answers, (math.inf, True)]
        causes = _LUCK + _WINDOWS
        fits = [
            sum(math.log(cause.chance(a, b, j - i)) for (i, a), (j, b) in pairwise(self._answers))
            for cause in causes
        ]
        self._causes = [
            cause._replace(weight=math.exp(fit - max(fits)))
            for cause, fit in zip(causes, fits, strict=True)
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
