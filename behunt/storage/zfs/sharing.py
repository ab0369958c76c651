"""A run's clone that ZFS itself has exported: the property `sharenfs`, of that clone alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from behunt.errors import UsageError
from behunt.hosts.nfs_cache import forget
from behunt.storage.protocol import Clone
from behunt.storage.zfs.names import Passing, parted
from behunt.storage.zfs.place import Place
from behunt.storage.zfs.trees import Tree, last

SHARENFS = "sharenfs"


@contextlib.contextmanager
def shared(place: Place, clone: Clone, value: str) -> Iterator[tuple[str, ...]]:
    """See ZfsStore.shared."""
    root = PurePosixPath(clone.root)
    mounted = {m.dataset: PurePosixPath(m.directory) for m in place.door.mounted()}
    inside = {name: at for name, at in mounted.items() if at.is_relative_to(root)}
    top = next((name for name, at in inside.items() if at == root), "")
    _, suffix = parted(last(top))
    if suffix is None or suffix.kind is not Passing.RUN:
        raise UsageError(
            f"{clone.bootenv.name} is not installed, and has no clone to share",
            "only clones of what `behunt be install` has sealed are shared",
        )
    try:
        place.door.set([top], {SHARENFS: value})
        yield tuple(str(at.relative_to(root)) for name, at in inside.items() if name != top)
    finally:
        _end(place, top, clone.root)


def withdraw(place: Place, tree: Tree) -> None:
    """End what a killed behunt shared, before it is unmounted and destroyed.

    libzfs_core destroys a dataset and leaves its export; and what is exported is busy.
    """
    if tree.top.local(SHARENFS) not in {"", "off"}:
        _end(place, tree.dataset, tree.top.properties["mountpoint"])


def _end(place: Place, dataset: str, directory: str) -> None:
    place.door.set([dataset], {SHARENFS: "off"})
    forget(place.door.host, directory)
