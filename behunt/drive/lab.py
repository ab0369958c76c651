"""What every use-case works with: the home, a store, a runner, the results and who listens."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from behunt.errors import BehuntError, UsageError
from behunt.events import OnEvent, ignore
from behunt.hosts import spawner
from behunt.model import BootEnv, Verdict
from behunt.results.store import Results
from behunt.runners import runners
from behunt.runners.protocol import Runner
from behunt.storage.home import Home, Owner
from behunt.storage.overlay import OverlayStore
from behunt.storage.protocol import Store


@dataclass(frozen=True, slots=True)
class Settings:
    """How releases are installed and trials are run, whatever is asked of them."""

    packages: tuple[str, ...] = ()
    mirror: str = ""
    keyring: str = ""
    retries: int = 1  # of what was BROKEN
    fresh: bool = False  # take no cached answer
    timeout_is: Verdict = Verdict.UNKNOWN
    on_disk: bool = False  # clones keep their changes there instead of in memory


DEFAULTS = Settings()
AGAIN = 0.2  # seconds until something that does not tell of itself is looked at again


@dataclass(frozen=True)
class Lab:
    """One running behunt. `stopping` is set once the user wants it to end.

    `current` are boot environments that are known to be what is ordered.
    """

    home: Home
    owner: Owner
    store: Store
    results: Results
    runner: Runner
    settings: Settings = DEFAULTS
    emit: OnEvent = ignore
    stopping: threading.Event = field(default_factory=threading.Event)
    current: set[BootEnv] = field(default_factory=set)

    def stop(self) -> None:
        """End all that runs. Trials under way raise InterruptedTrialError and leave no answer."""
        self.stopping.set()
        spawner.stop()

    def end(self, running: Collection[Future[Any]]) -> None:
        """End what runs in other threads, and wait for it."""
        # Again and again: one that was between two commands has started the spawner anew.
        while running and wait(running, AGAIN).not_done:
            self.stop()


class InterruptedTrialError(BehuntError):
    """A trial was cut short by the user: it says nothing."""

    exit_code = 130


@contextlib.contextmanager
def opened(
    home: Path,
    runner: str,
    *,
    results: str | Path = "",
    settings: Settings = DEFAULTS,
    emit: OnEvent = ignore,
) -> Iterator[Lab]:
    """A lab in `home`, after removing what killed behunts left there."""
    from behunt.drive.reap import reap  # noqa: PLC0415 - reap needs Lab's parts, not Lab

    place = Home(home).make()
    known = runners(place)
    if runner not in known:
        raise UsageError(f"there is no runner {runner}", f"runners: {', '.join(known)}")
    owner = Owner(place)
    try:
        store = OverlayStore(place, owner, on_disk=settings.on_disk)
        reap(place, store)
        with Results.open(results or place.results) as answers:
            yield Lab(place, owner, store, answers, known[runner], settings, emit)
    finally:
        spawner.stop()
        owner.close()
