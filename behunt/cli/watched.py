"""What the events have told so far: one frozen value, folded from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from behunt import events
from behunt.events import Event
from behunt.model import Outcome, Trial, Verdict


@dataclass(frozen=True, slots=True)
class Job:
    """Something under way. `since` is on the clock of the events' consumer, in seconds."""

    doing: str  # "installing", "testing"
    release: str
    how: str
    since: float
    test: str = ""
    said: str = ""  # the installer's last line

    @property
    def key(self) -> tuple[str, str, str]:
        return self.doing, self.release, self.test


@dataclass(frozen=True)
class Watched:
    """`low` and `high` bracket the change, as in `Narrowed`; `verdicts` are by index."""

    began: float = 0.0
    hunt: events.HuntStarted | None = None
    jobs: tuple[Job, ...] = ()
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)
    low: int | None = None
    high: int | None = None
    left: int | None = None
    answers: int = 0
    cached: int = 0
    installs: int = 0
    broken: Mapping[str, str] = field(default_factory=dict)  # release -> why its last attempt was

    @cached_property
    def index(self) -> Mapping[str, int]:
        return {r.id: i for i, r in enumerate(self.hunt.releases)} if self.hunt else {}

    @property
    def under_way(self) -> frozenset[int]:
        return frozenset(self.index[job.release] for job in self.jobs if job.release in self.index)


def told(watched: Watched, event: Event, now: float) -> Watched:  # noqa: PLR0911 - a table
    """What is known after `event`."""
    match event:
        case events.HuntStarted():
            return Watched(began=now, hunt=event)
        case events.InstallStarted(release, how):
            return _begun(watched, Job("installing", release, how, now))
        case events.InstallProgress(release, text):
            return _said(watched, release, text)
        case events.InstallEnded():
            left = _without(watched.jobs, ("installing", event.release, ""))
            return replace(watched, jobs=left, installs=watched.installs + (not event.error))
        case events.TrialStarted(release, test, runner, attempt):
            how = runner if attempt == 1 else f"{runner}, attempt {attempt}"
            return _begun(watched, Job("testing", release, how, now, test))
        case events.TrialEnded(trial):
            return _tried(watched, trial)
        case events.Narrowed():
            return _narrowed(watched, event)
        case events.HuntEnded():
            return replace(watched, jobs=(), left=0)
        case events.Note():
            return watched


def _begun(watched: Watched, job: Job) -> Watched:
    return replace(watched, jobs=(*_without(watched.jobs, job.key), job))


def _without(jobs: tuple[Job, ...], key: tuple[str, str, str]) -> tuple[Job, ...]:
    return tuple(job for job in jobs if job.key != key)


def _said(watched: Watched, release: str, text: str) -> Watched:
    key = ("installing", release, "")
    if not text.strip():
        return watched
    return replace(
        watched,
        jobs=tuple(replace(job, said=text) if job.key == key else job for job in watched.jobs),
    )


def _tried(watched: Watched, trial: Trial) -> Watched:
    broken = {k: v for k, v in watched.broken.items() if k != trial.release}
    if trial.outcome is Outcome.BROKEN:
        broken[trial.release] = trial.why
    left = _without(watched.jobs, ("testing", trial.release, trial.test))
    return replace(watched, jobs=left, broken=broken)


def _narrowed(watched: Watched, event: events.Narrowed) -> Watched:
    index = watched.index.get(event.answered.trial.release)
    answer = {} if index is None else {index: event.answered.verdict}
    return replace(
        watched,
        verdicts={**watched.verdicts, **answer},
        low=event.low,
        high=event.high,
        left=event.left,
        answers=watched.answers + 1,
        cached=watched.cached + event.answered.cached,
    )
