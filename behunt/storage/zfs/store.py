"""Boot environments as datasets below one root: the store of a host that has ZFS.

A boot environment is a dataset with children, marked by user properties (marks.py). One being
made, a run's clone and one being destroyed are its siblings, under names that tell whose they
are (names.py). A rename is what makes each whole, or gone, at once: so what has a proper name
is as it was left, and the rest is finished or undone by `reap`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from behunt.errors import UsageError
from behunt.model import BootEnv, Build
from behunt.storage.home import Home, Owner, exclusive, registry, shared
from behunt.storage.protocol import Clone
from behunt.storage.zfs import cloning, filling, making, reaping, removing, sharing, verbs
from behunt.storage.zfs.builds import whole_build
from behunt.storage.zfs.door import Door
from behunt.storage.zfs.layouts import FLAT, check_layout
from behunt.storage.zfs.marks import State
from behunt.storage.zfs.names import is_name
from behunt.storage.zfs.place import Place
from behunt.storage.zfs.rows import Row, rows
from behunt.storage.zfs.trees import Tree


class ZfsStore:
    """The Store below the dataset `root`, on the host of `door`.

    `layout` is that of what `create` makes (layouts.LAYOUTS); empty for a single dataset.
    Paths of boot environments are on the host of `door`. UsageError if `root` is no name of a
    dataset, or `layout` none of a layout.
    """

    name = "zfs"

    def __init__(
        self, home: Home, owner: Owner, door: Door, root: str, *, layout: str = ""
    ) -> None:
        self.home = home
        self.owner = owner
        self.layout = check_layout(layout or FLAT)
        self.place = Place(home, owner, door, root)

    # The Store protocol: what hunts use.

    def create(self, name: str, release: str) -> BootEnv:
        """An empty one, mounted at its `path` on the host of `door`, to install into."""
        return making.create(self.place, name, self.layout, release)

    def seal(self, bootenv: BootEnv, build: Build) -> BootEnv:
        return making.seal(self.place, bootenv, build)

    def find(self, name: str) -> BootEnv | None:
        tree = self.place.tree(name) if is_name(name) else None
        return self.place.bootenv(tree) if tree and tree.state is State.INSTALLED else None

    def bootenvs(self) -> list[BootEnv]:
        found = self.place.trees()
        return [self.place.bootenv(tree) for tree in found if tree.state is State.INSTALLED]

    def build(self, bootenv: BootEnv) -> Build:
        tree = self.place.tree(bootenv.name)
        if tree is None or tree.state is not State.INSTALLED:
            raise UsageError(f"there is no boot environment {bootenv.name}", "see `behunt be list`")
        return whole_build(self.place.door.host, tree.dataset)

    @contextmanager
    def clone(self, bootenv: BootEnv) -> Iterator[Clone]:
        """A clone of all its datasets, mounted at `root` on the host of `door`."""
        with shared(self.home, _lock(bootenv.name)):
            tree = self.place.tree(bootenv.name, snapshots=True)
            if tree is None or self._sealed(tree) != bootenv:
                raise cloning.gone(bootenv.name)
            with cloning.cloned(self.place, tree) as (suffix, root):
                name = f"{bootenv.name}.{suffix.token}.{suffix.number}"
                yield Clone(name, bootenv, root=str(root), stage=str(self.home.stage))

    def _sealed(self, tree: Tree) -> BootEnv | None:
        return self.place.bootenv(tree) if tree.state is State.INSTALLED else None

    @contextmanager
    def shared(self, clone: Clone, value: str) -> Iterator[tuple[str, ...]]:
        """Set `sharenfs` of the clone, so that it is exported where it is mounted; `off` again.

        Yields what lies nested in it: directories below its root, each exported by itself.
        UsageError for what is no run's clone, which would stay shared, or be written to.
        """
        with sharing.shared(self.place, clone, value) as nested:
            yield nested

    def destroy(self, bootenv: BootEnv, *, force: bool = False) -> None:
        """Remove it, sealed or not; what was claimed by `fill` is empty again.

        UsageError if something in it is not ours: datasets that somebody made below it, or,
        without `force`, snapshots that somebody took of it.
        """
        if not bootenv.sealed:
            making.abandon(self.place, bootenv)
            return
        self.remove(bootenv.name, force=force)

    def reap(self) -> list[str]:
        """Destroy or undo what killed processes of this home left; names of datasets."""
        with registry(self.home):
            return reaping.reap(self.place)

    # The operator's verbs: `behunt be`. All take the name of a boot environment below `root`, in
    # whatever state, and raise UsageError if there is none, or if it is not ours.

    def get(self, name: str) -> BootEnv | None:
        """The one called `name`, `sealed` only if it is installed; None if there is none.

        UsageError if what has the name is not ours.
        """
        tree = self.place.tree(name) if is_name(name) else None
        if tree is None:
            if is_name(name):
                self.place.refuse_stranger(name)
            return None
        path = Path(self.place.at(name))
        return self._sealed(tree) or BootEnv(name, tree.release, path, layout=tree.layout)

    def make_empty(self, name: str, layout: str = "", release: str = "") -> str:
        """Make one for the user to fill; it stays. Returns its dataset.

        UsageError if `name` exists, or is no name for one; or if there is no such layout.
        """
        return making.make_empty(self.place, name, check_layout(layout or FLAT), release)

    def fill(self, name: str, release: str) -> BootEnv:
        """Claim an empty one to install `release` into: an unsealed one, mounted at its `path`.

        Children are made, or removed, to be those of that release. `seal` makes it whole,
        `destroy` empties it again. InUseError while another fills it, or it is mounted;
        UsageError if it holds something already.
        """
        return filling.fill(self.place, name, release)

    def remove(self, name: str, *, force: bool = False) -> None:
        """Destroy the boot environment called `name`, whatever its state; nothing if none is."""
        with exclusive(self.home, _lock(name)):
            removing.remove(self.place, name, force=force)

    def mount(self, name: str, at: str = "") -> PurePosixPath:
        """Mount it with its children at `at`, or below behunt's own directory. Returns where.

        `at` must be absolute, and empty or missing. UsageError if it is mounted already.
        """
        return verbs.mount(self.place, name, at)

    def umount(self, name: str) -> None:
        """Unmount it wherever it is mounted, children first; nothing if it is not mounted.

        UsageError if it is the running system's root, or something is mounted in it that is not
        ours.
        """
        verbs.umount(self.place, name)

    def snapshot(self, name: str, tag: str) -> str:
        """Of all its datasets at once. Returns `dataset@tag`. UsageError if `tag` is taken."""
        return verbs.snapshot(self.place, name, tag)

    def copy(self, source: str, to: str) -> str:
        """A lasting clone of `name` or `name@tag`, called `to`. Returns its dataset.

        That of an installed one, as it was sealed, is installed as well, with the same Build;
        any other is kept as it is. UsageError if `to` exists, or the snapshot does not.
        """
        return cloning.copy(self.place, source, to)

    def rename(self, name: str, to: str) -> str:
        """Give it the name `to`. Returns its dataset. InUseError while it is mounted."""
        return verbs.rename(self.place, name, to)

    def activate(self, name: str) -> str:
        """Have the pool boot from it, as bectl(8) does.

        Returns what to know before a reboot, a sentence, or nothing.
        """
        return verbs.activate(self.place, name)

    def rows(self) -> list[Row]:
        """All of them, by name, with what `be list` tells; also those being made or destroyed."""
        return rows(self.place)

    def dataset(self, name: str) -> str:
        """The dataset of the boot environment called `name`. UsageError if that is no name."""
        return self.place.dataset(name)

    def path(self, name: str) -> Path:
        """Where `name` is mounted now; UsageError if it is not."""
        return verbs.path(self.place, name)


def _lock(name: str) -> str:
    return f"be.{name}"
