"""What the store tells of a session besides its trials: its states and its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """What became of a session. One that is STARTED or RESUMED runs, or was killed."""

    STARTED = "started"
    RESUMED = "resumed"
    INTERRUPTED = "interrupted"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class SessionEvent:
    state: State
    at: str  # ISO 8601, UTC
    detail: Mapping[str, Any]  # of ENDED: the conclusion


@dataclass(frozen=True, slots=True)
class Session:
    """One bisection or run, and all that became of it, in order; the first event is STARTED."""

    id: int
    kind: str  # "bisect", "run"
    params: Mapping[str, Any]  # as given to `new_session`, through JSON
    created: str  # ISO 8601, UTC
    version: str  # of behunt
    host: str
    events: tuple[SessionEvent, ...]

    @property
    def state(self) -> State:
        return self.events[-1].state

    @property
    def resumed(self) -> int:
        """How often."""
        return sum(event.state is State.RESUMED for event in self.events)

    @property
    def conclusion(self) -> Mapping[str, Any] | None:
        """The detail of its end, None while it has none."""
        return self.events[-1].detail if self.state is State.ENDED else None


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was begun: an install, a trial."""

    id: int
    session: int | None
    kind: str  # "install", "trial"
    subject: str  # Release.id
    owner: str  # the process that does it
    began: str  # ISO 8601, UTC
