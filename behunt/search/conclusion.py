"""What may be said of a question's answers, and no more than that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from behunt.model import Find, HuntOutcome, Verdict
from behunt.search.evidence import Evidence, Question
from behunt.search.probes import next_probes


@dataclass(frozen=True, slots=True)
class Conclusion:
    """`before` has the old answer, `after` the new one; between them only `suspects` lie.

    The first release with the new answer is `after` or one of the `suspects`: those have no
    answer, being untestable, presumed so, or not asked yet. There are none exactly when `kind`
    is FOUND, or would be but for `conflicts`: pairs (earlier, later) where the new answer went
    back to the old one. Those make any change a matter of interpretation; `before` and `after`
    are then the last one, which explains the newest release.

    CONTRADICTION without conflicts: an end has the wrong answer. BROKEN: an end could not be
    tested. UNFINISHED: `next_probes` knows what to ask. `reason` is empty where it is FOUND.
    """

    kind: HuntOutcome  # all but BUDGET, which is the driver's
    find: Find  # BREAK or FIX; CHANGE only while the newest release has no answer
    before: int | None = None
    after: int | None = None
    suspects: tuple[int, ...] = ()
    conflicts: tuple[tuple[int, int], ...] = ()
    reason: str = ""


def conclude(
    question: Question, seen: Mapping[int, Verdict], name: Callable[[int], str] = "#{}".format
) -> Conclusion:
    """Say what the answers prove; `name` is how the reason calls a release."""
    evidence = Evidence(question, seen)
    kind, reason = _judge(evidence, name)
    if evidence.refusal is not None:
        return Conclusion(kind, evidence.find, conflicts=evidence.conflicts, reason=reason)
    bracketed = evidence.after is not None
    return Conclusion(
        kind,
        evidence.find,
        evidence.before,
        evidence.after,
        tuple(range(evidence.span[0] + 1, evidence.span[1])) if bracketed else (),
        evidence.conflicts,
        reason,
    )


def _judge(evidence: Evidence, name: Callable[[int], str]) -> tuple[HuntOutcome, str]:
    if evidence.refusal is not None:
        return _refuse(evidence, evidence.refusal, name)
    if next_probes(evidence.question, evidence.seen):
        return HuntOutcome.UNFINISHED, "Releases worth testing are left."
    low, high = evidence.span
    if low < 0:
        return _nothing_older(evidence, high, name)
    if evidence.conflicts:
        earlier, later = (name(i) for i in evidence.conflicts[-1])
        return (
            HuntOutcome.CONTRADICTION,
            f"The answer changed more than once: {earlier} is {evidence.new}, "
            f"but {later}, which is later, is {evidence.old} again.",
        )
    if high == low + 1:
        return HuntOutcome.FOUND, ""
    return HuntOutcome.AMBIGUOUS, _ambiguity(evidence, name)


def _refuse(evidence: Evidence, end: int, name: Callable[[int], str]) -> tuple[HuntOutcome, str]:
    verdict = evidence.seen[end]
    which = "newest" if end else "oldest"
    if verdict is Verdict.UNKNOWN:
        return HuntOutcome.BROKEN, f"{name(end)}, the {which} release, could not be tested."
    if evidence.question.find is Find.CHANGE:
        newest = name(evidence.question.newest)
        reason = f"{name(end)} and {newest}, the two ends, are both {verdict}: nothing changed."
        return HuntOutcome.CONTRADICTION, reason
    wanted = evidence.new if end else evidence.old
    return (
        HuntOutcome.CONTRADICTION,
        f"{name(end)}, the {which} release, is {verdict}: to find a {evidence.find} "
        f"it has to be {wanted}.",
    )


def _nothing_older(
    evidence: Evidence, after: int, name: Callable[[int], str]
) -> tuple[HuntOutcome, str]:
    """The walk back came to its end without the old answer."""
    if after == 0:
        return (
            HuntOutcome.CONTRADICTION,
            f"Every release tried is {evidence.new}, back to {name(0)}, the oldest.",
        )
    return (
        HuntOutcome.BROKEN,
        f"Every release that could be tested is {evidence.new}, back to {name(after)}; "
        f"the {after} older ones could not be.",
    )


def _ambiguity(evidence: Evidence, name: Callable[[int], str]) -> str:
    low, high = evidence.span
    presumed = high - low - 1 - len(evidence.unknown)
    return (
        f"Between {name(low)} ({evidence.old}) and {name(high)} ({evidence.new}) "
        f"{len(evidence.unknown)} of the releases could not be tested"
        + (f", and {presumed} between those were presumed untestable." if presumed else ".")
    )
