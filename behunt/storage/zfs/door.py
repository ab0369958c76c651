"""What the store asks of ZFS, whoever does it: libzfs_core, or zfs(8) on any host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from behunt.hosts.protocol import Host

# What `datasets` reads of every dataset; a property that one has not is "-" and not its own.
PROPERTIES = (
    "type",
    "mountpoint",
    "canmount",
    "mounted",
    "origin",
    "used",
    "sharenfs",
    "userrefs",
    "creation",
    "behunt:state",
    "behunt:owner",
    "behunt:release",
    "behunt:layout",
    "behunt:build",
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file system, volume or snapshot. `own` are the properties set on itself, not inherited."""

    name: str
    properties: Mapping[str, str]
    own: frozenset[str] = frozenset()

    def local(self, name: str) -> str:
        """The value that was set on itself; empty if it has none."""
        return self.properties[name] if name in self.own else ""


@dataclass(frozen=True, slots=True)
class Mount:
    dataset: str
    directory: str


class Door(Protocol):
    """One way to work on the pools of one host. All names are whole dataset names.

    What cannot be done raises HostError with what ZFS said, in its words, and what to do about
    it; a dataset that is in use or has clones raises InUseError, one that is there already
    TakenError, and one that is not there GoneError (faults.py). Nothing here decides what may be
    destroyed: that is the store's to know.
    """

    @property
    def host(self) -> Host: ...

    def datasets(self, root: str, *, snapshots: bool = False) -> list[Dataset]:
        """`root` and all below it, parents first; empty if it is not there."""
        ...

    def exists(self, name: str) -> bool: ...

    def create(self, datasets: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        """Make file systems, parents first, none of them mounted. All of them, or none stays."""
        ...

    def snapshot(self, names: Sequence[str]) -> None:
        """Of one pool, in one transaction group: all or none."""
        ...

    def clone(self, clones: Sequence[tuple[str, str, Mapping[str, str]]]) -> None:
        """(snapshot, dataset, properties), parents first. All of them, or none stays."""
        ...

    def destroy(self, names: Sequence[str]) -> None:
        """Exactly these file systems and snapshots, in this order; one that is gone is done."""
        ...

    def rename(self, name: str, to: str) -> None:
        """With all below it. None of them may be mounted."""
        ...

    def rollback(self, snapshots: Sequence[str]) -> None:
        """Each file system to its snapshot, which is its newest."""
        ...

    def promote(self, name: str) -> None: ...

    def hold(self, snapshots: Sequence[str], tag: str) -> None: ...

    def release(self, snapshots: Sequence[str], tag: str) -> None:
        """A hold that is not there is released."""
        ...

    def set(self, names: Sequence[str], properties: Mapping[str, str]) -> None: ...

    def set_bootfs(self, name: str) -> None:
        """Have the pool boot from it (`zpool set bootfs`)."""
        ...

    def mount(self, mounts: Sequence[Mount], *, read_only: bool = False) -> None:
        """In this order, wherever their mountpoint property points; all or none.

        Directories are made where they are missing; one that is a link is refused. No device
        node works in them.
        """
        ...

    def umount(self, directories: Sequence[str]) -> None:
        """In this order, with what else is mounted below; one that is not mounted is done."""
        ...

    def mounted(self) -> list[Mount]:
        """What is mounted now on that host, of any pool."""
        ...
