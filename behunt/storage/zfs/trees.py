"""What a listing of datasets says: which boot environments there are, and what is whose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from behunt.storage.zfs.door import Dataset
from behunt.storage.zfs.marks import LAYOUT, RELEASE, State, is_ours, state_of
from behunt.storage.zfs.names import EMPTY, INSTALLED, Suffix, parted


@dataclass(frozen=True, slots=True)
class Tree:
    """A boot environment of ours, or one in passing: a dataset directly below the root.

    `parts` are our datasets below it, parents first, `strangers` all others there. `snapshots`
    are those of ours, empty unless they were asked for.
    """

    top: Dataset
    parts: tuple[Dataset, ...] = ()
    snapshots: tuple[Dataset, ...] = ()
    strangers: tuple[Dataset, ...] = ()

    @property
    def dataset(self) -> str:
        return self.top.name

    @property
    def name(self) -> str:
        """Of the boot environment; empty if somebody gave it one that is none."""
        return parted(last(self.dataset))[0]

    @property
    def suffix(self) -> Suffix | None:
        return parted(last(self.dataset))[1]

    @property
    def state(self) -> State | None:
        return state_of(self.top)

    @property
    def release(self) -> str:
        return self.top.local(RELEASE)

    @property
    def layout(self) -> str:
        return self.top.local(LAYOUT)

    @property
    def datasets(self) -> tuple[Dataset, ...]:
        return (self.top, *self.parts)

    @property
    def names(self) -> list[str]:
        """Of its datasets, parents first."""
        return [dataset.name for dataset in self.datasets]

    @property
    def taken(self) -> list[str]:
        """Snapshots that a user took."""
        return [s.name for s in self.snapshots if tag_of(s.name) not in {INSTALLED, EMPTY}]

    def tagged(self, tag: str) -> list[str]:
        return [s.name for s in self.snapshots if tag_of(s.name) == tag]

    def below(self, dataset: Dataset) -> str:
        """The name of a part within the boot environment; empty for the top."""
        return dataset.name[len(self.dataset) + 1 :]

    def mountable(self) -> list[str]:
        """Names within the boot environment of what is mounted with it, parents first."""
        return [self.below(d) for d in self.datasets if d.properties["canmount"] != "off"]

    def bases(self) -> dict[str, str]:
        """Dataset to the snapshot that a run's clone of it is made from.

        The snapshots of a clone that was promoted (`bectl activate` does it) are those of its
        origin: it has them from there, or its origin now has them from it.
        """
        own = set(self.tagged(INSTALLED))
        found = {}
        for dataset in self.datasets:
            snapshot, origin = f"{dataset.name}@{INSTALLED}", dataset.properties["origin"]
            if snapshot in own:
                found[dataset.name] = snapshot
            elif tag_of(origin) == INSTALLED:
                found[dataset.name] = origin
        return found


def last(dataset: str) -> str:
    """Its component below its parent."""
    return dataset.rpartition("/")[2]


def tag_of(snapshot: str) -> str:
    return snapshot.partition("@")[2]


def trees_in(root: str, datasets: Iterable[Dataset]) -> Iterator[Tree]:
    """The boot environments of ours among the `datasets` below `root`, by name."""
    groups: dict[str, list[Dataset]] = {}
    for dataset in datasets:
        if dataset.name.startswith(f"{root}/"):
            component = dataset.name[len(root) + 1 :].partition("@")[0].partition("/")[0]
            groups.setdefault(component, []).append(dataset)
    for component in sorted(groups):
        if tree := tree_of(f"{root}/{component}", groups[component]):
            yield tree


def tree_of(dataset: str, listed: Iterable[Dataset]) -> Tree | None:
    """What is `listed` at and below `dataset`; None if that is not there, or not ours."""
    by_name = {one.name: one for one in listed}
    top = by_name.pop(dataset, None)
    if top is None or not is_ours(top):
        return None
    parts = {name: one for name, one in by_name.items() if "@" not in name and is_ours(one)}
    ours = {dataset, *parts}
    snapshots = {n: one for n, one in by_name.items() if "@" in n and n.partition("@")[0] in ours}
    strangers = [one for n, one in by_name.items() if n not in parts and n not in snapshots]
    return Tree(top, tuple(parts.values()), tuple(snapshots.values()), tuple(strangers))
