"""The power of a machine that behunt does not run itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from behunt.errors import HostError

_EVERY = 0.5  # seconds between two questions to a BMC, of which some are slow to think
DEADLINE = 60.0  # seconds in which a machine must have followed


class State(StrEnum):
    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


class Power(Protocol):
    """A switch. Values only: nothing is open between two calls, and it can be pickled.

    `on` and `off` do nothing where that is so already, and return when the machine says that it
    is so, or at once where no machine can say (`state` is then UNKNOWN). `off` pulls the plug: no
    system is asked to shut down. `cycle` ends with on.

    All raise HostError: what holds the switch does not answer, lets us not in, or the machine
    did not follow within the deadline.
    """

    def on(self) -> None: ...

    def off(self) -> None: ...

    def cycle(self) -> None: ...

    def state(self) -> State: ...


def wait_for(wanted: State, state: Callable[[], State], deadline: float, where: str) -> None:
    """Ask until the machine is `wanted`. Raises HostError after `deadline` seconds."""
    end = time.monotonic() + deadline
    while (found := state()) is not wanted:
        if time.monotonic() >= end:
            raise HostError(
                f"the machine of {where} was switched {wanted}, and is {found} after"
                f" {deadline:g} s",
                "switch it by hand to see whether it follows; a slow one needs a longer"
                " `deadline` in lab.toml",
            )
        time.sleep(_EVERY)
