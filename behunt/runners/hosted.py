"""What the runners share that boot machines on another host, from a disk that is made there."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeAlias

from behunt.hosts.protocol import Sink
from behunt.runners.jail_args import jail_name
from behunt.runners.protocol import Inside, Setup
from behunt.runners.remote import Remote
from behunt.runners.vm.guest import Guest
from behunt.runners.vm.job import System
from behunt.runners.vm.started import Started
from behunt.storage.home import Home
from behunt.storage.protocol import Clone

Starting: TypeAlias = Callable[[Path, Path, Sink | None], AbstractContextManager[Started]]

_ROOM = 256 << 20  # bytes of the exchange disk; sparse, and compressed on its way back
_numbers = itertools.count()


@dataclass(frozen=True)
class Hosted(Remote):
    """`home` is in the names of all that is made on the host.

    Machines have no network but their own loopback, and no limits.
    """

    home: Home = field(kw_only=True)
    system: ClassVar[System]

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"root", "isolation", "own_kernel", "loopback"})

    def starting(self, clone: Clone, name: str) -> Starting:
        """What starts the machine `name` of a clone that was prepared, as Guest has it."""
        raise NotImplementedError

    def named(self, owner: str) -> str:
        """A name that nobody else has, and that tells whose it is."""
        return jail_name(self.home.id, owner, next(_numbers))

    @contextlib.contextmanager
    def enter(self, clone: Clone | None, setup: Setup) -> Iterator[Inside]:
        if clone is None:
            raise ValueError(f"the runner {self.name} needs a clone")
        self._check_limits(setup.limits)
        start = self.starting(clone, self.named(setup.owner))
        guest = Guest(self.system, start, setup.exchange, setup.hostname, _ROOM, name=self.name)
        yield Inside(
            guest,
            guest,
            kernel=lambda: guest.kernel,
            exhausted=lambda: guest.lost or ("the clone's disk is full" if guest.full else ""),
        )
