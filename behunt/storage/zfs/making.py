"""Boot environments come into being: made under a name in passing, whole once they are renamed."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from behunt.errors import UsageError
from behunt.model import BootEnv, Build
from behunt.storage.zfs import attaching, builds, filling, removing
from behunt.storage.zfs.clock import now
from behunt.storage.zfs.faults import TakenError
from behunt.storage.zfs.layouts import Layout, layout_of, properties_of
from behunt.storage.zfs.marks import LAYOUT, NO_AUTO_SNAPSHOT, RELEASE, STATE, State
from behunt.storage.zfs.names import (
    EMPTY,
    INSTALLED,
    Passing,
    Suffix,
    check_length,
    check_name,
    suffix_in,
)
from behunt.storage.zfs.place import HOLD, Place, exists, refuse_strangers
from behunt.storage.zfs.trees import tree_of


def create(place: Place, name: str, layout: str, release: str) -> BootEnv:
    parts = layout_of(layout, release)
    suffix = place.suffix(Passing.NEW)
    dataset = _made(place, name, suffix, parts, {STATE: State.NEW, RELEASE: release})
    at = place.directory(suffix)
    with removing.wiped_on_error(place, dataset):
        attaching.mount_new(place, dataset, parts, at)
    return BootEnv(name, release, Path(at), layout=layout, created=now())


def make_empty(place: Place, name: str, layout: str, release: str) -> str:
    parts = layout_of(layout, release)
    suffix = place.suffix(Passing.NEW)
    dataset = _made(place, name, suffix, parts, {STATE: State.EMPTY, RELEASE: release})
    at = place.directory(suffix)
    with removing.wiped_on_error(place, dataset):
        if any(part.mode for part in parts.parts):
            attaching.mount_new(place, dataset, parts, at)
            attaching.unmount(place, dataset)
            attaching.remove_directory(place, at)
        return named(place, dataset, name)


def named(place: Place, dataset: str, name: str) -> str:
    """Give what is finished its name: from now on it is there. UsageError if that is taken."""
    final = place.dataset(name)
    try:
        place.door.rename(dataset, final)
    except TakenError as error:
        raise exists(name) from error
    return final


def _made(place: Place, name: str, suffix: Suffix, layout: Layout, marks: dict[str, str]) -> str:
    """All datasets of one that will be called `name`. Returns the top one."""
    check_new(place, name, layout)
    place.ensure_root()
    dataset = place.passing(name, suffix)
    top = {**top_properties(place), LAYOUT: layout.name, **marks}
    parts = [
        (f"{dataset}/{part.name}", {**place.mark, **properties_of(part)}) for part in layout.parts
    ]
    place.door.create([(dataset, {key: value for key, value in top.items() if value}), *parts])
    return dataset


def check_new(place: Place, name: str, layout: Layout) -> None:
    """Raise UsageError unless a boot environment can be made that is called `name`."""
    check_length(place.root, check_name(name), layout.deepest)
    place.refuse_taken(name)


def top_properties(place: Place) -> dict[str, str]:
    """Of each top dataset of ours: as bectl(8) and beadm(8) know boot environments."""
    return {**place.mark, **NO_AUTO_SNAPSHOT, "canmount": "noauto", "mountpoint": "/"}


def seal(place: Place, bootenv: BootEnv, build: Build) -> BootEnv:
    suffix = _suffix_of(bootenv)
    dataset = place.passing(bootenv.name, suffix)
    layout = layout_of(bootenv.layout, bootenv.release)
    at = PurePosixPath(bootenv.path)
    attaching.write_fstab(place, place.dataset(bootenv.name), layout, at)
    attaching.unmount(place, dataset)
    attaching.remove_directory(place, at)
    below, taken = _snapshotted(place, dataset)
    marks = {RELEASE: bootenv.release, LAYOUT: bootenv.layout}
    told = builds.properties(build, bootenv.created, taken)
    place.door.set([dataset], told | {key: value for key, value in marks.items() if value})
    place.door.set([dataset], {STATE: State.INSTALLED})
    final = named(place, dataset, bootenv.name)
    if suffix.kind is Passing.FILL:
        place.door.destroy([f"{attaching.joined(final, part)}@{EMPTY}" for part in below])
    return BootEnv(
        bootenv.name,
        bootenv.release,
        Path(place.at(bootenv.name)),
        sealed=True,
        identity=build.identity(),
        layout=bootenv.layout,
        created=bootenv.created,
        bytes=taken,
    )


def _snapshotted(place: Place, dataset: str) -> tuple[list[str], int]:
    """Take the snapshot of all of `dataset`, and hold it.

    What it has, as names below it, and the bytes that it takes.
    """
    before = tree_of(dataset, place.door.datasets(dataset))
    if before is None:
        raise UsageError(f"{dataset} is not there any more", "install it again")
    refuse_strangers(before)
    snapshots = [f"{name}@{INSTALLED}" for name in before.names]
    place.door.snapshot(snapshots)
    place.door.hold(snapshots, HOLD)
    # Only now: what was just written is counted once its transaction group is on the disk.
    top, *_ = place.door.datasets(dataset)
    return [before.below(one) for one in before.datasets], int(top.properties["used"])


def abandon(place: Place, bootenv: BootEnv) -> None:
    """Destroy what is not sealed, or empty what `fill` has claimed; nothing if it is gone."""
    suffix = _suffix_of(bootenv)
    dataset = place.passing(bootenv.name, suffix)
    if suffix.kind is Passing.NEW:
        removing.wipe(place, dataset)
    elif tree := tree_of(dataset, place.door.datasets(dataset, snapshots=True)):
        filling.undo(place, tree)


def _suffix_of(bootenv: BootEnv) -> Suffix:
    suffix = suffix_in(bootenv.path.name)
    if suffix is None:
        raise UsageError(f"{bootenv.name} was not made by this store", "see `behunt be list`")
    return suffix
