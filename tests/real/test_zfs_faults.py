"""A pool's bad days: each is told in one clear error, and nothing is lost once it is over.

Collected only where BEHUNT_TEST_POOL says that there is an OpenZFS: the pools are made of files.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from behunt.hosts.local import LocalHost
from behunt.model import BootEnv, Build
from behunt.storage.home import Home, Owner
from behunt.storage.zfs.commands import Commands
from behunt.storage.zfs.core import Core
from behunt.storage.zfs.door import Door
from behunt.storage.zfs.faults import PoolError, ReadOnlyError
from behunt.storage.zfs.store import ZfsStore
from behunt.storage.zfs.watched import Watched

pytestmark = pytest.mark.real

DOORS: dict[str, Callable[[], Door]] = {
    "libzfs_core": lambda: Core(Commands(LocalHost())),
    "commands": lambda: Commands(LocalHost()),
}


@dataclass(frozen=True)
class Pool:
    """`name`, on the file `directory`/p in a small file system; `root` is encrypted."""

    name: str
    directory: Path

    @property
    def root(self) -> str:
        return f"{self.name}/b"

    def sh(self, script: str, *, check: bool = True) -> str:
        """With the pool as $p, its root as $b and its directory as $d."""
        values = {"p": self.name, "b": self.root, "d": str(self.directory)}
        done = subprocess.run(
            ["timeout", "--signal=KILL", "60", "sh", "-ec", script],
            env={"PATH": "/usr/sbin:/usr/bin", **values},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{script}: {done.stderr}"
        return done.stdout


@contextlib.contextmanager
def made(directory: Path) -> Iterator[Pool]:
    """A pool, on a disk that can be filled from outside."""
    pool = Pool(f"bad{secrets.token_hex(3)}", directory)
    pool.sh("mount -t tmpfs -o size=60m none $d; truncate -s 80M $d/p; head -c 32 /dev/zero >$d/k")
    try:
        pool.sh(f"{_CREATE}; {_CREATE_ROOT}")
        yield pool
    finally:
        pool.sh("! zpool list $p >&2 || zpool destroy -f $p; umount $d")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with made(tmp_path_factory.mktemp("pool")) as pool:
        yield pool


@dataclass(frozen=True)
class Day:
    """How it begins and ends (sh), what is then said, and which verbs are hindered."""

    begin: str
    end: str
    says: str
    hint: str
    hinders: str
    error: type[PoolError] = PoolError


_CREATE = "zpool create -o failmode=wait -O mountpoint=none $p $d/p; zfs create $p/hog"
_CREATE_ROOT = "zfs create -o encryption=on -o keyformat=raw -o keylocation=file://$d/k $b"
_FILL = "zpool sync $p; zfs set reservation=$(zfs get -Hp -o value available $p/hog) $p/hog"
_IMPORT = "zpool import -l -d $d"
DAYS = {
    "full": Day(
        _FILL,
        "zfs set reservation=none $p/hog",
        "is full, or a quota on it",
        "behunt be prune",
        "create copy snapshot",
    ),
    "exported": Day(
        "zpool export $p",
        f"{_IMPORT} $p",
        "the pool {p} is not there",
        "zpool import {p}",
        "list create",
    ),
    "imported read-only": Day(
        f"zpool export $p; {_IMPORT} -o readonly=on $p",
        f"zpool export $p; {_IMPORT} $p",
        "the pool {p} is read-only",
        "zpool export {p} && zpool import {p}",
        "create snapshot rename remove",
    ),
    "read-only": Day(
        "zfs set readonly=on $b",
        "zfs inherit readonly $b",
        "is mounted read-only",
        "zfs inherit readonly",
        "create clone",
        ReadOnlyError,
    ),
    "locked": Day(
        "zfs unload-key $b",
        "zfs load-key $b",
        "an encryption key of the pool {p} is not loaded",
        "zfs load-key -r {p}",
        "create clone",
    ),
}


@dataclass
class Site:
    """A behunt with a store on the pool."""

    home: Home
    door: Door
    root: str
    owner: Owner
    store: ZfsStore
    old: BootEnv | None = None

    @classmethod
    def on(cls, pool: Pool, door: Door, home: Home, name: str) -> Site:
        owner, root = Owner(home), f"{pool.root}/{name}"
        watched = Watched(door, root)
        return cls(home, watched, root, owner, ZfsStore(home, owner, watched, root))

    def install(self, name: str) -> None:
        bootenv = self.store.create(name, "demo-1")
        (bootenv.path / "file").write_text(name)
        sealed = self.store.seal(bootenv, Build("by a test"))
        if name == "old":
            self.old = sealed

    def started_anew(self) -> None:
        """The process ends, and behunt is started again."""
        self.owner.close()
        self.owner = Owner(self.home)
        self.store = ZfsStore(self.home, self.owner, self.door, self.root)
        self.store.reap()

    def read(self) -> str:
        """What is in a clone of `old`."""
        with self.store.clone(self.old) as clone:
            return (Path(clone.root) / "file").read_text()

    def do(self, verb: str) -> None:
        verbs: dict[str, Callable[[], object]] = {
            "create": lambda: self.install("new"),
            "copy": lambda: self.store.copy("old", "other"),
            "clone": self.read,
            "snapshot": lambda: self.store.snapshot("old", "mine"),
            "rename": lambda: self.store.rename("old", "older"),
            "remove": lambda: self.store.remove("spare"),
            "list": self.store.bootenvs,
        }
        verbs[verb]()


@pytest.fixture(scope="module", params=DOORS)
def site(
    request: pytest.FixtureRequest, pool: Pool, tmp_path_factory: pytest.TempPathFactory
) -> Site:
    """With two installed boot environments, `old` and `spare`."""
    door = DOORS[request.param]()
    site = Site.on(pool, door, Home(tmp_path_factory.mktemp("home")).make(), request.param)
    site.install("old")
    site.install("spare")
    return site


@pytest.mark.parametrize("name", DAYS)
def test_one_clear_error_and_nothing_lost(name: str, pool: Pool, site: Site) -> None:
    day = DAYS[name]
    pool.sh(day.begin)
    try:
        # mount(8) asks for a mount that can be written, which goes before the property
        overruled = name == "read-only" and site.root.endswith("/commands")
        for verb in () if overruled else day.hinders.split():
            with pytest.raises(day.error) as caught:
                site.do(verb)
            assert day.says.format(p=pool.name) in caught.value.message
            assert day.hint.format(p=pool.name) in caught.value.hint
    finally:
        pool.sh(day.end)
    site.started_anew()
    rows = site.store.rows()
    assert [(row.name, row.state, row.mountpoint, row.snapshots) for row in rows] == [
        (name, "installed", "", ("installed",)) for name in ("old", "spare")
    ]
    assert site.read() == "old"


# -- the disk is gone


@pytest.fixture(params=DOORS)
def failing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Pool, Site]]:
    (tmp_path / "disk").mkdir()
    with made(tmp_path / "disk") as pool:
        home = Home(tmp_path / "home").make()
        site = Site.on(pool, DOORS[request.param](), home, request.param)
        site.install("old")
        yield pool, site


# What is written first finds out, and waits in the kernel for the disk.
LOSE = "zpool sync $p; ! head -c 60M /dev/zero >$d/full 2>&1"
MEND = "rm $d/full; zpool clear $p; zpool sync $p"


def test_a_pool_that_is_suspended_under_a_call(failing: tuple[Pool, Site]) -> None:
    pool, site = failing
    pool.sh(LOSE)
    try:
        for verb in ("snapshot", "list", "create", "clone"):
            with pytest.raises(PoolError, match=f"the pool {pool.name} is suspended") as caught:
                site.do(verb)
            assert f"zpool clear {pool.name}" in caught.value.hint
    finally:
        pool.sh(MEND)
    site.started_anew()
    assert [(row.name, row.state) for row in site.store.rows()] == [("old", "installed")]
    assert site.read() == "old"


def test_a_pool_that_is_suspended_under_a_run(failing: tuple[Pool, Site]) -> None:
    pool, site = failing
    assert site.old
    with pytest.raises(PoolError, match="is suspended"), site.store.clone(site.old):  # noqa: PT012 - on leaving
        pool.sh(LOSE)
        pool.sh("zpool sync $p & sleep 1; exit 0")
    pool.sh(MEND)
    site.started_anew()
    assert [(row.name, row.state) for row in site.store.rows()] == [("old", "installed")]
    assert site.read() == "old"
