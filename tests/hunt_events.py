"""The events of a small hunt, and what a hostile test could say in them."""

from __future__ import annotations

from behunt import events
from behunt.events import Event
from behunt.model import Answered, Outcome, Release, Trial, verdict_of

HOSTILE = "no\rway\x00 [red]\x1b[2J\x1b]0;owned\x07" + "x" * 5000


def releases(count: int) -> tuple[Release, ...]:
    return tuple(Release(f"demo-{i}-amd64", "demo", str(i), "amd64") for i in range(1, count + 1))


def trial(release: str, outcome: Outcome, reason: str = "", attempt: int = 1) -> Trial:
    return Trial(
        release=release,
        test="test.sh",
        runner="namespace",
        outcome=outcome,
        key="k",
        reason=reason,
        seconds=1.24,
        attempt=attempt,
    )


def narrowed(
    release: str, outcome: Outcome, ends: tuple[int | None, int | None], left: int, reason: str = ""
) -> events.Narrowed:
    answered = Answered(trial(release, outcome, reason), verdict_of(outcome))
    return events.Narrowed(answered, *ends, left)


def a_hunt() -> list[Event]:
    five = releases(5)
    return [
        events.HuntStarted(7, five, "test.sh", "namespace"),
        events.InstallStarted("demo-5-amd64", "mmdebstrap"),
        events.InstallProgress("demo-5-amd64", "Unpacking libc6"),
        events.InstallEnded("demo-5-amd64", "mmdebstrap", 11.6),
        events.Note("demo-5-amd64: the Release file expired", warning=True),
        events.TrialStarted("demo-5-amd64", "test.sh", "namespace"),
        events.TrialEnded(trial("demo-5-amd64", Outcome.FAILED, "exit 3")),
        narrowed("demo-5-amd64", Outcome.FAILED, (None, 4), 3, "exit 3"),
        events.TrialStarted("demo-1-amd64", "test.sh", "namespace"),
        events.TrialEnded(trial("demo-1-amd64", Outcome.BROKEN, "the clone's disk is full")),
        events.TrialStarted("demo-1-amd64", "test.sh", "namespace", 2),
        events.TrialEnded(trial("demo-1-amd64", Outcome.PASSED, attempt=2)),
        narrowed("demo-1-amd64", Outcome.PASSED, (0, 4), 2),
        events.InstallEnded("demo-3-amd64", "mmdebstrap", 0.4, "no source has it"),
        narrowed("demo-3-amd64", Outcome.BROKEN, (0, 4), 0, "no source has it"),
    ]
