"""Boot environments go: checked, renamed, and only then destroyed, dataset by dataset."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from behunt.errors import BehuntError, UsageError
from behunt.storage.home import InUseError
from behunt.storage.zfs import attaching
from behunt.storage.zfs.bootfs import bootfs
from behunt.storage.zfs.faults import GoneError
from behunt.storage.zfs.names import INSTALLED, Passing
from behunt.storage.zfs.place import HOLD, Place, refuse_strangers
from behunt.storage.zfs.trees import Tree, tree_of
from behunt.storage.zfs.users import named_users

_LISTED = 3  # snapshots that a message names


def remove(place: Place, name: str, *, force: bool) -> None:
    tree = place.tree(name, snapshots=True)
    if tree is None:
        place.refuse_stranger(name)
        return
    refuse_strangers(tree)
    _refuse_taken(tree, force=force)
    _refuse_active(place, tree, force=force)
    _refuse_used(place, tree)
    suffix = place.suffix(Passing.OLD)
    doomed = place.passing(name, suffix)
    attaching.unmount(place, tree.dataset)
    with contextlib.suppress(GoneError):  # another behunt was faster
        place.door.rename(tree.dataset, doomed)
        _destroyed_unless_used(place, doomed, tree.dataset)


def _destroyed_unless_used(place: Place, doomed: str, dataset: str) -> None:
    tree = _tree(place, doomed)
    if tree is None:
        return
    try:
        # Somebody may have cloned it since; nobody finds it from now on.
        _refuse_used(place, tree)
    except InUseError:
        place.door.rename(doomed, dataset)
        raise
    wipe(place, doomed)


def wipe(place: Place, dataset: str) -> None:
    """Destroy what is in passing, with all snapshots of it; nothing if it is gone.

    UsageError if something in it is not ours, InUseError if it is in use and stays so.
    """
    attaching.unmount(place, dataset)
    tree = _tree(place, dataset)
    if tree is None:
        return
    refuse_strangers(tree)
    if held := tree.tagged(INSTALLED):
        place.door.release(held, HOLD)
    doomed = [name for one in reversed(tree.names) for name in (*_snapshots(tree, one), one)]
    with named_users(place.door.host, dataset):
        attaching.patiently(lambda: place.door.destroy(doomed))
    if suffix := tree.suffix:
        attaching.remove_directory(place, place.directory(suffix))


@contextlib.contextmanager
def wiped_on_error(place: Place, dataset: str) -> Iterator[None]:
    """Destroy `dataset`, which was just made, if what follows fails."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(BehuntError):  # the first error is the one to tell
            wipe(place, dataset)
        raise


def _tree(place: Place, dataset: str) -> Tree | None:
    return tree_of(dataset, place.door.datasets(dataset, snapshots=True))


def _snapshots(tree: Tree, dataset: str) -> list[str]:
    return [s.name for s in tree.snapshots if s.name.startswith(f"{dataset}@")]


def _refuse_taken(tree: Tree, *, force: bool) -> None:
    if tree.taken and not force:
        more = ", …" if len(tree.taken) > _LISTED else ""
        raise UsageError(
            f"{tree.name} has snapshots: {', '.join(tree.taken[:_LISTED])}{more}",
            f"behunt be destroy --force {tree.dataset} destroys them with it",
        )


def _refuse_active(place: Place, tree: Tree, *, force: bool) -> None:
    """What the pool boots from, and what the user has mounted."""
    if bootfs(place) in tree.names:
        raise UsageError(
            f"the pool {place.pool} boots from {tree.dataset}",
            "activate another boot environment first",
        )
    refuse_mounted(place, tree, force=force)


def refuse_mounted(place: Place, tree: Tree, *, force: bool = False) -> None:
    """UsageError for the running system's root, InUseError for what is mounted elsewhere."""
    found = attaching.mounts(place, tree.dataset)
    if any(mount.directory == "/" for mount in found):
        raise UsageError(f"{tree.dataset} is the root of the running system", "boot another first")
    if found and not force:
        raise InUseError(
            f"the boot environment {tree.name} is in use: mounted at {found[0].directory}",
            f"behunt be umount {tree.dataset}",
        )


def _refuse_used(place: Place, tree: Tree) -> None:
    """InUseError if a clone of it, or a hold of somebody else's, needs one of its snapshots."""
    own = {snapshot.name for snapshot in tree.snapshots}
    if not own:
        return
    for other in place.door.datasets(place.pool):
        if other.properties["origin"] in own:
            raise InUseError(
                f"the boot environment {tree.name} is in use: {other.name} is a clone of it",
                f"wait for it to end, or destroy the clone first: {other.name}",
            )
    for snapshot in tree.snapshots:
        ours = snapshot.name in tree.tagged(INSTALLED)
        if int(snapshot.properties["userrefs"]) > int(ours):
            raise InUseError(
                f"the boot environment {tree.name} is in use: {snapshot.name} is held",
                f"`zfs holds {snapshot.name}` tells by whom",
            )
