"""What `be list` tells of each boot environment."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from behunt.storage.zfs.bootfs import bootfs
from behunt.storage.zfs.names import EMPTY, Passing
from behunt.storage.zfs.place import Place
from behunt.storage.zfs.trees import Tree, tag_of

_IN_PASSING = {
    Passing.NEW: "being made",
    Passing.FILL: "being installed",
    Passing.RUN: "run",
    Passing.OLD: "being destroyed",
}


@dataclass(frozen=True, slots=True)
class Row:
    """`active` is as in bectl(8): N the running system's, R what the next boot takes."""

    name: str
    dataset: str
    release: str  # Release.id, or nothing
    layout: str
    state: str
    active: str
    mountpoint: str  # where it is mounted now; empty if it is not
    bytes: int
    created: str  # ISO 8601, UTC
    snapshots: tuple[str, ...]  # their names, after the @


def rows(place: Place) -> list[Row]:
    trees = place.trees(snapshots=True, every=True)
    if not trees:
        return []
    boots = bootfs(place)
    mounted: dict[str, str] = {}
    for mount in place.door.mounted():
        mounted.setdefault(mount.dataset, mount.directory)
    return [_row(tree, mounted.get(tree.dataset, ""), boots) for tree in trees]


def _row(tree: Tree, mountpoint: str, boots: str) -> Row:
    created = dt.datetime.fromtimestamp(int(tree.top.properties["creation"]), dt.UTC)
    tags = dict.fromkeys(tag_of(snapshot.name) for snapshot in tree.snapshots)
    state = _IN_PASSING[tree.suffix.kind] if tree.suffix else str(tree.state or "")
    return Row(
        tree.name,
        tree.dataset,
        tree.release,
        tree.layout,
        state,
        ("N" if mountpoint == "/" else "") + ("R" if tree.dataset == boots else ""),
        mountpoint,
        int(tree.top.properties["used"]),
        created.isoformat(timespec="seconds"),
        tuple(tag for tag in tags if tag != EMPTY),
    )
