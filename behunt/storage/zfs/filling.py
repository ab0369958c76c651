"""What a user made empty is claimed, filled and sealed, or empty again."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from behunt.errors import HostError, UsageError
from behunt.model import BootEnv
from behunt.storage.home import InUseError
from behunt.storage.zfs import attaching
from behunt.storage.zfs.clock import now
from behunt.storage.zfs.faults import GoneError, TakenError
from behunt.storage.zfs.layouts import FLAT, Layout, layout_of, properties_of
from behunt.storage.zfs.marks import STATE, State
from behunt.storage.zfs.names import EMPTY, INSTALLED, Passing
from behunt.storage.zfs.place import HOLD, Place
from behunt.storage.zfs.trees import Tree, tree_of


def fill(place: Place, name: str, release: str) -> BootEnv:
    """See ZfsStore.fill. Whoever renames it first has it; @empty is what to go back to."""
    tree = _claimable(place, name)
    layout = layout_of(tree.layout or FLAT, release)
    suffix = place.suffix(Passing.FILL)
    dataset, at = place.passing(name, suffix), place.directory(suffix)
    try:
        place.door.rename(tree.dataset, dataset)
    except GoneError as error:
        raise _filled_by_another(name) from error
    try:
        _prepare(place, dataset, layout, at)
    except BaseException:
        if found := _tree(place, dataset):
            undo(place, found)
        raise
    return BootEnv(name, release, Path(at), layout=layout.name, created=now())


def _claimable(place: Place, name: str) -> Tree:
    if place.tree(name) is None and any(
        tree.suffix and tree.suffix.kind is Passing.FILL and tree.name == name
        for tree in place.trees(every=True)
    ):
        raise _filled_by_another(name)
    tree = place.own(name)
    if tree.state is not State.EMPTY:
        holds = tree.release or "something"
        raise UsageError(
            f"the boot environment {name} is not empty: it holds {holds}",
            f"behunt be destroy {tree.dataset}, or name another",
        )
    if found := attaching.mounts(place, tree.dataset):
        raise InUseError(
            f"the boot environment {name} is in use: mounted at {found[0].directory}",
            f"behunt be umount {tree.dataset}",
        )
    return tree


def _filled_by_another(name: str) -> InUseError:
    return InUseError(
        f"the boot environment {name} is in use: another behunt installs into it",
        "wait for it to end",
    )


def _prepare(place: Place, dataset: str, layout: Layout, at: PurePosixPath) -> None:
    """Give what was claimed the parts of `layout`, and mount it."""
    tree = _expected(place, dataset)
    attaching.mount(place, dataset, tree.mountable(), at)
    _refuse_content(place, tree, at)
    if not _fits(tree, layout):
        attaching.leave(place, tree.mountable(), at)
        _bare(place, dataset, at)
        _adapt(place, tree, layout)
        attaching.mount_new(place, dataset, layout, at)
    names = [attaching.joined(dataset, name) for name in ("", *(p.name for p in layout.parts))]
    place.door.snapshot([f"{name}@{EMPTY}" for name in names])


def _fits(tree: Tree, layout: Layout) -> bool:
    there = {tree.below(one): one.properties["canmount"] for one in tree.parts}
    return there == {part.name: properties_of(part)["canmount"] for part in layout.parts}


def _bare(place: Place, dataset: str, at: PurePosixPath) -> None:
    """Remove the directories that its children were mounted on: others may be, from now on."""
    attaching.mount(place, dataset, [""], at)
    script = 'cd "$1" && find . -depth -type d ! -name . -exec rmdir {} \\;'
    place.door.host.run(["sh", "-c", script, "sh", str(at)], check=True)
    attaching.leave(place, [""], at)


def _refuse_content(place: Place, tree: Tree, at: PurePosixPath) -> None:
    """UsageError if there is more in it than directories: it may be the user's."""
    script = 'find "$1" ! -type d | head -n 1'
    found = place.door.host.run(["sh", "-c", script, "sh", str(at)], check=True).out.strip()
    if found:
        raise UsageError(
            f"the boot environment {tree.name} is not empty: it has /{found[len(str(at)) + 1 :]}",
            "remove what is in it, or name another",
        )


def _adapt(place: Place, tree: Tree, layout: Layout) -> None:
    """The children that `layout` wants, and no others: all of them are empty."""
    wanted = {part.name: properties_of(part) for part in layout.parts}
    there = {tree.below(one): one for one in tree.parts}
    surplus = [there[name].name for name in reversed(there) if name not in wanted]
    taken = [snapshot for snapshot in tree.taken if snapshot.partition("@")[0] in surplus]
    place.door.set([tree.dataset], {"mountpoint": "none"})  # no directory of the host goes along
    place.door.destroy([*taken, *surplus])
    place.door.set([tree.dataset], {"mountpoint": "/"})
    for name in wanted.keys() & there.keys():
        if there[name].properties["canmount"] != wanted[name]["canmount"]:
            place.door.set([there[name].name], wanted[name])
    missing = [
        (f"{tree.dataset}/{n}", {**place.mark, **wanted[n]}) for n in wanted if n not in there
    ]
    place.door.create(missing)


def undo(place: Place, tree: Tree) -> None:
    """Make what was claimed, and not sealed, empty again, and give it back its name."""
    attaching.unmount(place, tree.dataset)
    if suffix := tree.suffix:
        attaching.remove_directory(place, place.directory(suffix))
    sealed, before = tree.tagged(INSTALLED), tree.tagged(EMPTY)
    place.door.release(sealed, HOLD)
    place.door.destroy(sealed)
    attaching.patiently(lambda: place.door.rollback(before))
    place.door.set([tree.dataset], {STATE: State.EMPTY, "mountpoint": "/"})
    place.door.destroy(before)
    try:
        place.door.rename(tree.dataset, place.dataset(tree.name))
    except TakenError as error:
        raise HostError(
            f"{tree.dataset} cannot be called {tree.name} again: another has that name",
            f"zfs rename {tree.dataset} …",
        ) from error


def _expected(place: Place, dataset: str) -> Tree:
    tree = _tree(place, dataset)
    if tree is None:
        raise HostError(f"{dataset} is not there any more", "see `zpool history`")
    return tree


def _tree(place: Place, dataset: str) -> Tree | None:
    return tree_of(dataset, place.door.datasets(dataset, snapshots=True))
