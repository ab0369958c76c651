"""Which release to test next.

The one that is worth most: likely to answer, and splitting what is left most evenly. Its
worth is the chance that it can be tested (testability.py) times the entropy of the split. So
this is the binary search where all can be tested, and where some cannot it weighs the better
split against the surer answer. Several probes at once are spread so that, with those still
running, they split the range evenly.

Nothing is remembered: the next probe follows from the set of answers alone, so resumed,
replayed and cached answers need no care, in whatever order they came.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from math import ceil, log2
from typing import NamedTuple

from behunt.model import Verdict
from behunt.search.evidence import Evidence, Question
from behunt.search.testability import Testability


def next_probes(
    question: Question,
    seen: Mapping[int, Verdict],
    want: int = 1,
    running: Collection[int] = (),
) -> tuple[int, ...]:
    """Up to `want` releases to test now, beside those already `running`.

    Empty: nothing more is worth asking, or nothing before one of the `running` has answered.
    A running probe that is no longer between `before` and `after` of `conclude` is useless.
    """
    evidence = Evidence(question, seen)
    if evidence.refusal is not None:
        return ()
    if missing := [end for end in evidence.ends if end not in seen]:
        return tuple(end for end in missing if end not in running)[:want]
    if evidence.before is None:
        return _walk_back(evidence, want, running)
    chance = Testability(seen).chance if evidence.unknown else _certain
    return _split(Piece(*evidence.span, _untried(evidence)), want, running, chance)


def about_left(question: Question, seen: Mapping[int, Verdict]) -> int:
    """Estimate how many trials remain, for a progress view; 0 exactly when none does."""
    if not next_probes(question, seen):
        return 0
    evidence = Evidence(question, seen)
    missing = sum(end not in seen for end in evidence.ends)
    return max(1, missing + ceil(log2(1 + len(_untried(evidence)))))


class Piece(NamedTuple):
    """A part of the range between two proved or running releases."""

    low: int
    high: int
    fresh: list[int]  # strictly between, worth a trial, oldest first


def _untried(evidence: Evidence) -> list[int]:
    """The releases between `before` and `after` that are worth a trial."""
    low, high = evidence.span
    untried = [i for i in range(low + 1, high) if i not in evidence.seen]
    if evidence.question.thorough:
        return untried
    testability = Testability(evidence.seen)
    return [i for i in untried if not testability.presumed(i)]


def _split(
    whole: Piece, want: int, running: Collection[int], chance: Callable[[int], float]
) -> tuple[int, ...]:
    """Place each of `want` probes where the widest part would be left without it."""
    cuts = [i for i in whole.fresh if i in running]
    pieces = [
        Piece(low, high, [i for i in whole.fresh if low < i < high])
        for low, high in pairwise([whole.low, *cuts, whole.high])
    ]
    shares = [0] * len(pieces)
    for _ in range(min(want, len(whole.fresh) - len(cuts))):
        roomy = [k for k, piece in enumerate(pieces) if shares[k] < len(piece.fresh)]
        shares[max(roomy, key=lambda k: (pieces[k].high - pieces[k].low) / (shares[k] + 1))] += 1
    return tuple(
        probe
        for piece, share in zip(pieces, shares, strict=True)
        for probe in _spread(piece, share, chance)
    )


def _spread(piece: Piece, count: int, chance: Callable[[int], float]) -> list[int]:
    """`count` probes that part a piece evenly, so far as they can expect an answer."""
    probes: list[int] = []
    low, high, fresh = piece
    for left in range(count, 0, -1):

        def worth(index: int, low: int = low, left: int = left) -> float:
            """Bits: from this split, less what the `left` - 1 others lose of their range by it."""
            share = (index - low) / (high - low)
            return chance(index) * (_entropy(share) - share * log2(left))

        low = max(fresh[: len(fresh) - left + 1], key=worth)
        fresh = [i for i in fresh if i > low]
        probes.append(low)
    return probes


def _certain(_index: int) -> float:
    return 1.0


def _entropy(share: float) -> float:
    """Bits that a yes-or-no answer brings if one of the two has this share."""
    return -share * log2(share) - (1 - share) * log2(1 - share)


def _walk_back(evidence: Evidence, want: int, running: Collection[int]) -> tuple[int, ...]:
    """Look for the old answer: 1, 2, 4, 8, … releases back from the newest, to the first of all.

    The first releases of a system are often untestable. Then the oldest that can be tested is
    looked for by halving, what is older than an untestable one being presumed so too.
    """
    seen, newest = evidence.seen, evidence.question.newest
    steps: list[int] = []
    oldest = min(*seen, *running, newest)
    while oldest > 0 and len(steps) < want:
        oldest = max(0, newest - max(1, 2 * (newest - oldest)))
        steps.append(oldest)
    if steps or 0 in running:
        return tuple(steps)
    untried = _untried(evidence)
    edge = max(evidence.unknown, default=-1)
    if newer := [i for i in untried if i > edge]:
        return _split(Piece(edge, evidence.span[1], newer), want, running, _certain)
    return _split(Piece(*evidence.span, untried), want, running, _certain)
