"""What killed behunts of this home left: destroyed, or as it was before."""

from __future__ import annotations

import contextlib

from behunt.errors import UsageError
from behunt.storage.home import InUseError, is_alive
from behunt.storage.zfs import attaching, filling, removing, sharing
from behunt.storage.zfs.marks import State
from behunt.storage.zfs.names import EMPTY, Passing, Suffix, suffix_in
from behunt.storage.zfs.place import Place
from behunt.storage.zfs.trees import Tree


def reap(place: Place) -> list[str]:
    """The datasets that are gone, or empty again. Those of other homes are left alone."""
    reaped = []
    for tree in place.trees(snapshots=True, every=True):
        if _is_left(place, tree.suffix):
            # A stranger in it, or a process that uses it, keeps only this one from going.
            with contextlib.suppress(UsageError, InUseError):
                _undo(place, tree)
                reaped.append(tree.dataset)
        elif tree.suffix is None and tree.state is State.INSTALLED:
            place.door.destroy(tree.tagged(EMPTY))  # the last step of sealing what was filled
    _remove_directories(place)
    return reaped


def _undo(place: Place, tree: Tree) -> None:
    if tree.suffix and tree.suffix.kind is Passing.FILL:
        filling.undo(place, tree)
    else:
        sharing.withdraw(place, tree)
        removing.wipe(place, tree.dataset)


def _is_left(place: Place, suffix: Suffix | None) -> bool:
    return suffix is not None and suffix.home == place.id and not is_alive(place.home, suffix.token)


def _remove_directories(place: Place) -> None:
    """Where the reaped were mounted, and what was never mounted."""
    listed = place.door.host.run(["ls", str(place.mounts)]).out.split()
    for name in listed:
        if _is_left(place, suffix_in(name)):
            attaching.remove_directory(place, place.mounts / name)
