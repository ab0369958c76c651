"""Clones of boot environments: a run's, gone when it ends, and lasting ones."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from behunt.errors import HostError, UsageError
from behunt.storage.home import InUseError
from behunt.storage.zfs import attaching, builds, making, removing
from behunt.storage.zfs.faults import GoneError
from behunt.storage.zfs.layouts import FLAT, layout_of, properties_of
from behunt.storage.zfs.marks import LAYOUT, RELEASE, STATE, State
from behunt.storage.zfs.names import INSTALLED, Passing, Suffix, is_name
from behunt.storage.zfs.place import Place
from behunt.storage.zfs.trees import Tree


@contextlib.contextmanager
def cloned(place: Place, tree: Tree) -> Iterator[tuple[Suffix, PurePosixPath]]:
    """A run's clone of a sealed one, mounted: whose it is, and where. Destroyed on leaving."""
    suffix = place.suffix(Passing.RUN)
    target, at = place.passing(tree.name, suffix), place.directory(suffix)
    bases = _sealed(tree)
    made = _clone(place, tree, bases, target, {STATE: State.RUN, "mountpoint": str(at)})
    parts = [part for part in tree.mountable() if attaching.joined(tree.dataset, part) in bases]
    try:
        attaching.mount(place, target, parts, at)
        yield suffix, at
    finally:
        attaching.leave(place, parts, at)
        _destroy(place, made)


def _destroy(place: Place, made: Sequence[str]) -> None:
    try:
        place.door.destroy(made[::-1])
    except InUseError:  # a moment longer, or somebody took a snapshot of it
        removing.wipe(place, made[0])


def gone(name: str) -> HostError:
    return HostError(f"the boot environment {name} was destroyed meanwhile", "run it again")


def copy(place: Place, source: str, to: str) -> str:
    """See ZfsStore.copy."""
    tree, tag = _source(place, source)
    making.check_new(place, to, layout_of(tree.layout or FLAT, tree.release))
    sealed = tree.state is State.INSTALLED and tag in {"", INSTALLED}
    bases = _sealed(tree) if sealed else _tagged(tree, tag) if tag else _snapshotted(place, tree)
    target = place.passing(to, place.suffix(Passing.NEW))
    _clone(place, tree, bases, target, {STATE: State.NEW})
    with removing.wiped_on_error(place, target):
        _complete(place, tree, target, to, sealed=sealed)
        return making.named(place, target, to)


def _source(place: Place, source: str) -> tuple[Tree, str]:
    """The boot environment and the snapshot that `source` names; a name may hold an @, too."""
    if is_name(source) and (tree := place.tree(source, snapshots=True)):
        return tree, ""
    name, at, tag = source.rpartition("@")
    if not at:
        name = source
    return place.known(name, snapshots=True), tag


def _sealed(tree: Tree) -> dict[str, str]:
    return _with_top(tree, tree.bases(), INSTALLED)


def _tagged(tree: Tree, tag: str) -> dict[str, str]:
    there = set(tree.tagged(tag))
    found = {name: f"{name}@{tag}" for name in tree.names if f"{name}@{tag}" in there}
    return _with_top(tree, found, tag)


def _with_top(tree: Tree, bases: dict[str, str], tag: str) -> dict[str, str]:
    if tree.dataset not in bases:
        raise UsageError(
            f"{tree.dataset} has no snapshot @{tag}",
            f"see `zfs list -r -t snapshot {tree.dataset}`",
        )
    return bases


def _snapshotted(place: Place, tree: Tree) -> dict[str, str]:
    """A snapshot of it as it is now, named by the time as bectl(8) does."""
    tag = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d-%H:%M:%S.%f")
    bases = {name: f"{name}@{tag}" for name in tree.names}
    place.door.snapshot(list(bases.values()))
    return bases


def _clone(
    place: Place, tree: Tree, bases: Mapping[str, str], target: str, marks: Mapping[str, str]
) -> list[str]:
    """Clone each of `bases` to its place below `target`. The names made, parents first.

    A clone has none of its origin's properties: they are those of the layout once more.
    """
    layout = layout_of(tree.layout or FLAT, tree.release)
    known = {RELEASE: tree.release, LAYOUT: tree.layout}
    top = {key: value for key, value in known.items() if value}
    clones = [(bases[tree.dataset], target, {**making.top_properties(place), **top, **marks})]
    for one in tree.parts:
        if one.name in bases:
            part = layout.part(tree.below(one))
            own = {**(properties_of(part) if part else {}), "canmount": one.properties["canmount"]}
            clones.append((bases[one.name], f"{target}/{tree.below(one)}", {**place.mark, **own}))
    try:
        place.door.clone(clones)
    except GoneError as error:
        raise gone(tree.name) from error
    return [name for _, name, _ in clones]


def _complete(place: Place, tree: Tree, target: str, to: str, *, sealed: bool) -> None:
    layout = layout_of(tree.layout or FLAT, tree.release)
    attaching.renew_fstab(place, target, place.dataset(to), layout)
    if sealed:
        place.door.set([target], builds.kept(place.door.host, tree.dataset))
    place.door.set([target], {STATE: State.INSTALLED if sealed else State.KEPT})
