"""The kinds of Store, and in what they may differ. A new one is one more entry in KINDS."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

import pytest
from tiny_root import tiny_root
from zfs_fuse import fuse_pool, is_here, seen

from behunt.hosts.confined import Confined
from behunt.hosts.local import LocalHost, Prefixed, chroot
from behunt.hosts.protocol import Host
from behunt.model import BootEnv, Build, Package
from behunt.runners.namespace import sandbox_of
from behunt.runners.protocol import Setup
from behunt.storage.home import Home, Owner
from behunt.storage.overlay import OverlayStore
from behunt.storage.protocol import Clone, Store
from behunt.storage.zfs.commands import Commands
from behunt.storage.zfs.door import Door
from behunt.storage.zfs.store import ZfsStore

REAL_POOL = os.environ.get("BEHUNT_TEST_POOL", "")  # of a machine that has OpenZFS
_POOL = "bhpool"  # of zfs-fuse
_numbers = itertools.count()


BUILD = Build(
    "made by a test",
    (("http://there/debian sid", "ab" * 32),),
    (Package("libc6", "2.36-9+deb12u10", "amd64"), Package("tzdata", "2025b")),
    ("its Release file has expired",),
)


class Kind(Protocol):
    """One kind of store. Its repr makes the same one in another process."""

    def store(self, home: Home, owner: Owner) -> Store: ...

    def seen(self, path: Path) -> Path:
        """Where this process sees a path that the store tells."""
        ...

    def inside(self, clone: Clone, exchange: Path) -> AbstractContextManager[Host]:
        """A Host whose root is the clone."""
        ...

    def kept(self, home: Home) -> list[str]:
        """All that stores of this kind keep: boot environments, clones, and what they left."""
        ...

    def clones(self, home: Home) -> list[str]:
        """What clones lie in, as `reap` names it; nothing of those in memory."""
        ...

    def strangers(self, home: Home) -> list[str]:
        """Put beside a store's own what somebody else could; what `kept` calls it."""
        ...


@contextlib.contextmanager
def in_namespaces(clone: Clone, exchange: Path) -> Iterator[Host]:
    exchange.mkdir(exist_ok=True)
    with Confined(sandbox_of(clone, Setup(exchange, "tiny", "nobody"))) as entered:
        yield entered


@dataclass(frozen=True)
class Overlay:
    on_disk: bool

    def store(self, home: Home, owner: Owner) -> Store:
        return OverlayStore(home, owner, on_disk=self.on_disk)

    def seen(self, path: Path) -> Path:
        return path

    def inside(self, clone: Clone, exchange: Path) -> AbstractContextManager[Host]:
        return in_namespaces(clone, exchange)

    def kept(self, home: Home) -> list[str]:
        return [*map(str, sorted(home.boot_environments.iterdir())), *self.clones(home)]

    def clones(self, home: Home) -> list[str]:
        return sorted(map(str, home.clones.iterdir()))

    def strangers(self, home: Home) -> list[str]:
        made = [
            home.boot_environments / ".snapshots",
            home.boot_environments / "mine",
            home.clones / "notes.2024",
            home.clones / ".keep",
        ]
        for path in made:
            path.mkdir()
        return [str(path) for path in made]


@dataclass(frozen=True)
class Zfs:
    """Datasets below `root`. `prefix` leads to the host of the pool, where that is not this one."""

    root: str
    prefix: tuple[str, ...] = ()
    core: bool = False
    layout: str = "flat"

    @property
    def host(self) -> Host:
        return Prefixed(LocalHost(), self.prefix, "zfs-fuse") if self.prefix else LocalHost()

    @property
    def door(self) -> Door:
        if not self.core:
            return Commands(self.host)
        from behunt.storage.zfs.core import Core  # noqa: PLC0415 - where libzfs_core is

        return Core(Commands(self.host))

    def zfs(self, *words: str) -> str:
        return self.host.run(["zfs", *words], check=True).out

    def store(self, home: Home, owner: Owner) -> ZfsStore:
        return ZfsStore(home, owner, self.door, self.root, layout=self.layout)

    def seen(self, path: Path) -> Path:
        return seen(self.host, str(path)) if self.prefix else path

    def inside(self, clone: Clone, exchange: Path) -> AbstractContextManager[Host]:
        if self.prefix:  # its mounts cannot be bound into namespaces of this process
            return contextlib.nullcontext(chroot(self.host, PurePosixPath(clone.root)))
        return in_namespaces(clone, exchange)

    def kept(self, home: Home) -> list[str]:
        told = self.host.run(["zfs", "list", "-H", "-o", "name", "-r", self.root]).out.split()
        below = (name.removeprefix(f"{self.root}/") for name in told if name != self.root)
        owner = Owner(home)
        mounts = self.seen(Path(self.store(home, owner).place.mounts))
        owner.close()
        return [*sorted(n for n in below if "/" not in n), *map(str, sorted(mounts.iterdir()))]

    def clones(self, home: Home) -> list[str]:
        del home
        names = self.zfs("list", "-H", "-o", "name", "-r", self.root).split()
        return sorted(n for n in names if ":run." in n and n.count("/") == self.root.count("/") + 1)

    def strangers(self, home: Home) -> list[str]:
        # They inherit the marks of the root, which is behunt's.
        made = ["mine", f"mine:run.{home.id}.1x000000.0", "mine:new.ffffff.1x000000.0"]
        for name in made:
            self.zfs("create", "-o", "canmount=off", f"{self.root}/{name}")
        return made


def install(kind: Kind, store: Store, name: str, build: Build = BUILD) -> BootEnv:
    bootenv = store.create(name, name)
    root = tiny_root(kind.seen(bootenv.path))
    (root / "etc/release").write_text(name)
    return store.seal(bootenv, build)


def sh(host: Host, script: str) -> str:
    return host.run(["sh", "-c", script], check=True).out


def content(kind: Kind, store: Store, bootenv: BootEnv, exchange: Path) -> str:
    """All that a run finds in it: names, modes, sizes, times."""
    script = "find /bin /etc /root /tmp -xdev -exec stat -c '%n %f %s %Y' {} + | sort"
    with store.clone(bootenv) as clone, kind.inside(clone, exchange) as host:
        return sh(host, f"cat /etc/release; {script}")


Other = Callable[[str], AbstractContextManager["subprocess.Popen[str]"]]


def other_behunt(kind: Kind, home: Home) -> Other:
    """Another behunt in the same home, with the same kind of store, doing `body`."""

    @contextlib.contextmanager
    def started(body: str) -> Iterator[subprocess.Popen[str]]:
        here = Path(__file__).resolve()
        code = f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(here.parents[n]) for n in (0, 1, 2)]!r}
from stores import BUILD, Overlay, Zfs, install
from behunt.storage.home import Home, Owner
home = Home(Path({str(home.path)!r})).make()
owner = Owner(home)
kind = {kind!r}
store = kind.store(home, owner)
say = lambda text: print(text, flush=True)
{body}
"""
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    return started


@contextlib.contextmanager
def _overlay(*, on_disk: bool) -> Iterator[Kind]:
    yield Overlay(on_disk)


@contextlib.contextmanager
def fuse(layout: str) -> Iterator[Zfs]:
    """On a pool of zfs-fuse, by zfs(8)."""
    if not is_here():
        pytest.skip("zfs-fuse is not installed: make setup")
    root = f"{_POOL}/{next(_numbers)}"
    with _emptied(Zfs(root, _fuse_host().prefix, layout=layout)) as kind:
        yield kind


@contextlib.contextmanager
def real(*, core: bool, layout: str) -> Iterator[Zfs]:
    """On a pool of this machine, by libzfs_core or by zfs(8)."""
    with _emptied(Zfs(f"{REAL_POOL}/t{next(_numbers)}", core=core, layout=layout)) as kind:
        yield kind


@functools.cache
def _fuse_host() -> Prefixed:
    """One daemon and one pool for all tests; they end with this process."""
    opened = contextlib.ExitStack()
    atexit.register(opened.close)
    directory = opened.enter_context(tempfile.TemporaryDirectory())
    host = opened.enter_context(fuse_pool(Path(directory) / "pool", _POOL, 1 << 30))
    assert isinstance(host, Prefixed)
    return host


@contextlib.contextmanager
def _emptied(kind: Zfs) -> Iterator[Zfs]:
    """`kind`, whose root is gone afterwards with all that the test left in it."""
    try:
        yield kind
    finally:
        inside = [m.directory for m in kind.door.mounted() if m.dataset.startswith(f"{kind.root}/")]
        kind.door.umount(inside[::-1])
        listed = kind.host.run(
            ["zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "name", kind.root]
        )
        for snapshot in listed.out.split():
            kind.host.run(["zfs", "release", "behunt", snapshot])
        kind.host.run(["zfs", "destroy", "-R", kind.root])


_OVERLAY: dict[str, Callable[[], AbstractContextManager[Kind]]] = {
    "overlay in memory": lambda: _overlay(on_disk=False),
    "overlay on disk": lambda: _overlay(on_disk=True),
}
POOLS: dict[str, Callable[[str], AbstractContextManager[Zfs]]] = (
    {
        "commands": lambda layout: real(core=False, layout=layout),
        "libzfs_core": lambda layout: real(core=True, layout=layout),
    }
    if REAL_POOL
    else {"zfs-fuse": fuse}
)
KINDS: dict[str, Callable[[], AbstractContextManager[Kind]]] = _OVERLAY | {
    f"zfs by {name}": partial(pool, "flat") for name, pool in POOLS.items()
}
