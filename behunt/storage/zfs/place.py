"""One dataset of a host that boot environments are below, as one behunt sees it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from behunt.errors import HostError, UsageError
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.model import BootEnv
from behunt.storage.home import Home, Owner
from behunt.storage.zfs.builds import summary_in
from behunt.storage.zfs.door import Door
from behunt.storage.zfs.faults import TakenError
from behunt.storage.zfs.marks import BUILD, NO_AUTO_SNAPSHOT, OWNER
from behunt.storage.zfs.names import Passing, Suffix, check_name, check_root, encoded
from behunt.storage.zfs.trees import Tree, tree_of, trees_in

HOLD = "behunt"  # the tag of our holds
_numbers = itertools.count()  # in the process: two stores in it may share an owner


@dataclass(frozen=True)
class Place:
    home: Home
    owner: Owner
    door: Door
    root: str

    def __post_init__(self) -> None:
        check_root(self.root)

    @cached_property
    def mark(self) -> dict[str, str]:
        """What makes a dataset ours."""
        return {OWNER: f"{self.id}:{self.owner.token}"}

    @cached_property
    def id(self) -> str:
        return self.home.id

    @cached_property
    def mounts(self) -> PurePosixPath:
        """The directory on the host of `door`, ours alone, where things are mounted."""
        host = self.door.host
        if isinstance(host, LocalHost):
            return PurePosixPath(self.home.mounts)
        return _made(host, self.id)

    @property
    def pool(self) -> str:
        return self.root.partition("/")[0]

    def dataset(self, name: str) -> str:
        return f"{self.root}/{encoded(check_name(name))}"

    def suffix(self, kind: Passing) -> Suffix:
        """One that nothing else has."""
        return Suffix(kind, self.id, self.owner.token, next(_numbers))

    def passing(self, name: str, suffix: Suffix) -> str:
        return f"{self.dataset(name)}:{suffix}"

    def directory(self, suffix: Suffix) -> PurePosixPath:
        """Where what is in passing is mounted."""
        return self.mounts / str(suffix)

    def at(self, name: str) -> PurePosixPath:
        """Where the boot environment `name` is mounted, if the user names no other directory."""
        return self.mounts / encoded(name)

    def tree(self, name: str, *, snapshots: bool = False) -> Tree | None:
        dataset = self.dataset(name)
        return tree_of(dataset, self.door.datasets(dataset, snapshots=snapshots))

    def trees(self, *, snapshots: bool = False, every: bool = False) -> list[Tree]:
        """Boot environments; with `every` also those in passing."""
        found = trees_in(self.root, self.door.datasets(self.root, snapshots=snapshots))
        return [tree for tree in found if tree.name and (every or tree.suffix is None)]

    def known(self, name: str, *, snapshots: bool = False) -> Tree:
        """The boot environment `name`. UsageError if it is not there."""
        tree = self.tree(name, snapshots=snapshots)
        if tree is None:
            self.refuse_stranger(name)
            raise UsageError(f"there is no boot environment {name}", "see `behunt be list`")
        return tree

    def own(self, name: str) -> Tree:
        """The same, with nothing in it that is not ours. Raises UsageError."""
        tree = self.known(name)
        refuse_strangers(tree)
        return tree

    def refuse_stranger(self, name: str) -> None:
        """UsageError if a dataset that is not ours has the name of `name`."""
        dataset = self.dataset(name)
        if self.door.exists(dataset):
            raise UsageError(
                f"{dataset} is not behunt's: it has no {OWNER} of its own",
                "choose another name; behunt leaves it alone",
            )

    def refuse_taken(self, name: str) -> None:
        """UsageError if there is a dataset with the name of `name`, whoever made it."""
        if self.tree(name):
            raise exists(name)
        self.refuse_stranger(name)

    def bootenv(self, tree: Tree) -> BootEnv:
        """As it was sealed."""
        summary = summary_in(tree.dataset, tree.top.local(BUILD))
        return BootEnv(
            tree.name,
            tree.release,
            Path(self.at(tree.name)),
            sealed=True,
            identity=summary.identity,
            layout=tree.layout,
            created=summary.created,
            bytes=summary.bytes,
        )

    def ensure_root(self) -> None:
        """Make the dataset `root`, if only that is missing. Raises HostError."""
        if self.door.exists(self.root):
            return
        parent = self.root.rpartition("/")[0]
        if not parent or not self.door.exists(parent):
            lacking = f"dataset {parent}" if "/" in parent else f"pool {self.pool}"
            raise HostError(
                f"there is no {lacking} on {self.door.host.name}",
                "see `zpool list` and `zpool import` there, or name another dataset",
            )
        made = {**self.mark, **NO_AUTO_SNAPSHOT, "mountpoint": "none", "canmount": "off"}
        try:
            self.door.create([(self.root, made)])
        except TakenError:  # by another behunt, meanwhile
            return


def exists(name: str) -> UsageError:
    return UsageError(f"the boot environment {name} exists", f"behunt be destroy {name} removes it")


def refuse_strangers(tree: Tree) -> None:
    if tree.strangers:
        stranger = tree.strangers[0].name
        raise UsageError(
            f"{stranger}, which is not behunt's, lies in {tree.dataset}",
            f"move it away first (`zfs rename {stranger} …`), or destroy it by hand",
        )


_MAKE = """
if [ "$(id -u)" = 0 ]; then base=/var/run/behunt; else base=$HOME/.behunt; fi
umask 077 && mkdir -p "$base/$1" && cd "$base/$1" && pwd -P
"""


def _made(host: Host, home: str) -> PurePosixPath:
    done = host.run(["sh", "-c", _MAKE, "sh", home], check=True)
    return PurePosixPath(done.out.strip())
