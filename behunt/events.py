"""What drivers tell while they work. One callback; the live view, the log and tests consume it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from behunt.model import Answered, Hunt, Release, Trial


@dataclass(frozen=True, slots=True)
class Note:
    """Something a person should read; `warning` where it may change what the answer means."""

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class HuntStarted:
    session: int
    releases: tuple[Release, ...]
    test: str
    runner: str
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class InstallStarted:
    release: str
    how: str  # "mmdebstrap", "archive"


@dataclass(frozen=True, slots=True)
class InstallProgress:
    release: str
    text: str


@dataclass(frozen=True, slots=True)
class InstallEnded:
    release: str
    how: str
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class TrialStarted:
    release: str
    test: str
    runner: str
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """One attempt is over and recorded. A BROKEN one may be followed by another."""

    trial: Trial


@dataclass(frozen=True, slots=True)
class Narrowed:
    """An answer arrived.

    `low` and `high` are indices into the hunt's releases that bracket the change (None while
    that end is not proved); `left` is about how many trials remain.
    """

    answered: Answered
    low: int | None
    high: int | None
    left: int


@dataclass(frozen=True, slots=True)
class HuntEnded:
    hunt: Hunt


Event: TypeAlias = (
    Note
    | HuntStarted
    | InstallStarted
    | InstallProgress
    | InstallEnded
    | TrialStarted
    | TrialEnded
    | Narrowed
    | HuntEnded
)
OnEvent: TypeAlias = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """The consumer for those who do not watch."""
