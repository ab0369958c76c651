"""What keeps boot environments."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from behunt.model import BootEnv, Build


@dataclass(frozen=True, slots=True)
class Clone:
    """A throw-away copy of a sealed boot environment.

    An overlay clone is entered through its layers: `lower` (top first) and, where it is kept on
    disk, `upper` and `work`; without those its changes live in memory. A clone that the store
    mounts itself has only `root`. `stage` is an empty directory to mount on. `name` is no other
    clone's, and holds its owner's token (home.token_in).
    """

    name: str
    bootenv: BootEnv
    lower: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    root: str = ""
    stage: str = ""


class Store(Protocol):
    """Keeps boot environments: made empty, filled by an installer, sealed, cloned, destroyed.

    A boot environment that is not sealed belongs to the process that creates it, and is gone
    when that process dies. A sealed one never changes: runs see clones.
    """

    @property
    def name(self) -> str: ...

    def create(self, name: str, release: str) -> BootEnv:
        """An empty one to install into. UsageError if `name` exists, or is no name for one."""
        ...

    def seal(self, bootenv: BootEnv, build: Build) -> BootEnv:
        """Keep it, as it is, under its name, with what was installed.

        It is there whole or not at all. UsageError if the name was taken meanwhile.
        """
        ...

    def find(self, name: str) -> BootEnv | None:
        """The sealed one called `name`."""
        ...

    def bootenvs(self) -> list[BootEnv]:
        """All sealed ones, by name."""
        ...

    def build(self, bootenv: BootEnv) -> Build:
        """What was installed into a sealed one."""
        ...

    def clone(self, bootenv: BootEnv) -> AbstractContextManager[Clone]:
        """A clone for one run, destroyed on leaving. HostError if `bootenv` is no longer there."""
        ...

    def destroy(self, bootenv: BootEnv) -> None:
        """Remove it, sealed or not. InUseError while a clone of it is in use."""
        ...

    def reap(self) -> list[str]:
        """Remove what killed processes left; what was removed, for the log."""
        ...
