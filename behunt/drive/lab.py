"""What every use-case works with: the home, a store, a runner, the results and who listens."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from behunt.drive.site import OVERLAY, host_of, leave, store_of
from behunt.errors import BehuntError, UsageError
from behunt.events import OnEvent, ignore
from behunt.hosts import spawner
from behunt.hosts.facts import Facts, facts
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.model import BootEnv, Verdict
from behunt.netboot.power.hand import Ask
from behunt.results.store import Results
from behunt.runners import SENDING, runners
from behunt.runners.metal import nobody
from behunt.runners.protocol import Runner
from behunt.storage.home import Home, Owner
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
    host: str = ""  # where boot environments are, as ssh(1) takes it; empty: here
    store: str = OVERLAY  # or zfs:POOL/DATASET
    layout: str = ""  # of a boot environment in datasets; empty: flat
    sets: tuple[str, ...] = ()  # distribution sets instead of the usual ones
    lab: str = ""  # the lab.toml of the runner metal
    machine: str = ""  # of that lab; empty: any


DEFAULTS = Settings()
_LEAVING = 5.0  # seconds
AGAIN = 0.2  # seconds until something that does not tell of itself is looked at again


@dataclass(frozen=True)
class Lab:
    """One running behunt. `stopping` is set once the user wants it to end.

    `host` is where the store is, and what is entered. `current` are boot environments that are
    known to be what is ordered.
    """

    home: Home
    owner: Owner
    host: Host
    store: Store
    results: Results
    runner: Runner
    settings: Settings = DEFAULTS
    emit: OnEvent = ignore
    stopping: threading.Event = field(default_factory=threading.Event)
    current: set[BootEnv] = field(default_factory=set)

    @cached_property
    def facts(self) -> Facts:
        """Of the host. Raises HostError."""
        return facts(self.host)

    @property
    def away(self) -> bool:
        """Whether the host is another machine than this one."""
        return not isinstance(self.host, LocalHost)

    def stop(self) -> None:
        """End all that runs. Trials under way raise InterruptedTrialError and leave no answer."""
        self.stopping.set()
        spawner.stop()

    def end(self, running: Collection[Future[Any]]) -> None:
        """End what runs in other threads, and wait for it."""
        # Again and again: one that was between two commands has started the spawner anew. What
        # is entered on another machine needs commands there to be left.
        pause = _LEAVING if self.away else AGAIN
        while running and wait(running, AGAIN).not_done:
            self.stop()
            wait(running, pause)


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
    ask: Ask = nobody,
) -> Iterator[Lab]:
    """A lab in `home`, after removing what killed behunts left there.

    `ask` has a person do something.
    """
    from behunt.drive.reap import reap  # noqa: PLC0415 - reap needs Lab's parts, not Lab

    place = Home(home).make()
    there = host_of(settings.host)
    known = runners(place, there, lab=settings.lab, machine=settings.machine, ask=ask)
    if runner not in known:
        raise UsageError(f"there is no runner {runner}", f"runners: {', '.join(known)}")
    host = LocalHost() if runner in SENDING else there
    owner = Owner(place)
    try:
        store = store_of(
            settings.store,
            host,
            place,
            owner,
            layout=settings.layout,
            on_disk=settings.on_disk,
        )
        reap(place, owner, there, store)
        with Results.open(results or place.results) as answers:
            yield Lab(place, owner, host, store, answers, known[runner], settings, emit)
    finally:
        leave(there)
        spawner.stop()
        owner.close()
