"""Servers of NFS: each run's clone, read-write, to the lab's network, until the run ends."""

from __future__ import annotations

import contextlib
import errno
import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from behunt.hosts.confined import Confined
from behunt.hosts.sandbox import ALL_NAMESPACES, Sandbox
from behunt.netboot.exports import Served
from behunt.storage.protocol import Clone

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~@-]{0,199}")
_RELEASE = 10.0  # seconds in which a server lets go of what it serves no more


@dataclass(frozen=True, slots=True)
class Share:
    """A clone that is served: machines mount `server`:`path`.

    `host` is the inside of the clone, the same file system that they see: what `put` lays there
    they find, what they leave `get` fetches, and no link of theirs leads out of it. Its commands
    have no network and none of the privileges by which root reaches this machine.
    """

    host: Confined
    server: IPv4Address
    path: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One attempt to mount, as the server has seen it."""

    path: str
    client: IPv4Address
    granted: bool


class NfsServer(Protocol):
    """Serves NFS on one address, from `with` to the end of it; several runs at once."""

    @property
    def served(self) -> Served: ...

    def shared(self, clone: Clone, name: str, *, size: int = 0) -> AbstractContextManager[Share]:
        """Serve `clone` as `name` until it is left, when nobody gets at it any more.

        `size`: bytes that it may grow by, where its changes live in memory; 0 for half of that.
        Raises HostError, and ValueError for a name that is taken or no name for a directory.
        """
        ...

    def mounts(self) -> list[Asked]:
        """Who has asked to mount what since it began, in order."""
        ...


class Names:
    """The names and numbers of what a server serves. A number is never given again."""

    def __init__(self, first: int = 1) -> None:
        self._taken: set[str] = set()
        self._numbers = itertools.count(first)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def taken(self, name: str) -> Iterator[int]:
        with self._lock:
            if not _NAME.fullmatch(name) or name in self._taken:
                raise ValueError(f"{name!r} is taken, or no name for a share")
            self._taken.add(name)
            number = next(self._numbers)
        try:
            yield number
        finally:
            self._taken.remove(name)


def sandbox_of(clone: Clone, name: str, size: int) -> Sandbox:
    """The clone as `Share.host` is in it, and as a server gets it."""
    return Sandbox(
        ALL_NAMESPACES,
        lower=clone.lower,
        upper=clone.upper,
        work=clone.work,
        size=size,
        root=clone.root,
        stage=clone.stage,
        hostname=name,
        tame=True,
        exported=True,
    )


def patiently(detach: Callable[[], None]) -> bool:
    """Whether `detach` has unmounted it: a server has it open some moments longer."""
    until = time.monotonic() + _RELEASE
    while time.monotonic() < until:
        try:
            detach()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.02)
        else:
            return True
    return False
