"""Which release to test next.

The one that is worth most: likely to answer, and splitting what is left most evenly. Its
worth is the entropy of the split times the square root of the chance that it can be tested
(testability.py); the root because an UNKNOWN is not worth nothing, it tells where not to go
on. So this is the binary search where all can be tested, and where some cannot it weighs the
better split against the surer answer. Several probes at once are spread so that, with those
still running, they split the range evenly.

Nothing is remembered: the next probe follows from the set of answers alone, so resumed,
replayed and cached answers need no care, in whatever order they came.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from math import ceil, log2, sqrt
from typing import NamedTuple

from behunt.model import Verdict
from behunt.search.evidence import Evidence, Question


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
    if evidence.unproved:
        return tuple(end for end in evidence.unproved if end not in running)[: max(0, want)]
    if evidence.before is None:
        return _walk_back(evidence, want, running)
    chance = evidence.testability.chance if evidence.unknown else _certain
    return _split(Piece(*evidence.span, _untried(evidence)), want, running, chance)


def about_left(question: Question, seen: Mapping[int, Verdict]) -> int:
    """Estimate how many trials remain, for a progress view; 0 exactly when none does."""
    if not next_probes(question, seen):
        return 0
    evidence = Evidence(question, seen)
    inner = [i for i in _untried(evidence) if i not in evidence.unproved]
    return len(evidence.unproved) + ceil(log2(len(inner) + 1))


class Piece(NamedTuple):
    """A part of the range, and the releases strictly inside that are worth a trial."""

    low: int
    high: int
    fresh: list[int]  # oldest first


def _untried(evidence: Evidence) -> list[int]:
    """The releases between `before` and `after` that are worth a trial."""
    low, high = evidence.span
    untried = [i for i in range(low + 1, high) if i not in evidence.seen]
    if evidence.question.thorough or not evidence.unknown:
        return untried
    return [i for i in untried if not evidence.testability.presumed(i)]


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
    """`count` probes that part a piece evenly, as far as they can expect an answer."""
    if not count:
        return []

    def worth(index: int) -> float:
        """Bits that this split brings, less those that it takes from the other probes."""
        older = (index - piece.low) / (piece.high - piece.low)
        return sqrt(chance(index)) * (_entropy(older) - older * log2(count))

    first = max(piece.fresh[: len(piece.fresh) - count + 1], key=worth)
    newer = Piece(first, piece.high, [i for i in piece.fresh if i > first])
    return [first, *_spread(newer, count - 1, chance)]


def _entropy(share: float) -> float:
    """Bits that an answer brings if one of its two values has this share, 0 < share < 1."""
    return -share * log2(share) - (1 - share) * log2(1 - share)


def _certain(_index: int) -> float:
    return 1.0


def _walk_back(evidence: Evidence, want: int, running: Collection[int]) -> tuple[int, ...]:
    """Look for the old answer: 1, 2, 4, 8, … releases back from the newest, to the oldest.

    The oldest releases of a system are often untestable. If the walk ends at such a one, the
    first that can be tested is looked for by halving what is newer than the untestable ones.
    """
    newest = evidence.question.newest
    steps: list[int] = []
    oldest = min(*evidence.seen, *running, newest)
    while oldest > 0 and len(steps) < want:
        oldest = max(0, newest - max(1, 2 * (newest - oldest)))
        steps.append(oldest)
    if steps or 0 in running:
        return tuple(steps)
    low, high = evidence.span
    untried = _untried(evidence)
    edge = max(evidence.unknown, default=low)
    beyond = [i for i in untried if i > edge]
    piece = Piece(edge, high, beyond) if beyond else Piece(low, high, untried)
    return _split(piece, want, running, _certain)
