"""What every Door to ZFS must do. A new one is one more function in DOORS.

On a machine without a ZFS of its own the doors to a real pool are not tried: BEHUNT_ZFS_POOL
names one, of which these tests use a dataset of their own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
import zfs_fuse

from behunt.errors import HostError
from behunt.hosts.local import LocalHost
from behunt.storage.home import InUseError
from behunt.storage.zfs.commands import Commands
from behunt.storage.zfs.core import Core
from behunt.storage.zfs.door import Door, Mount
from behunt.storage.zfs.faults import GoneError, PoolError, TakenError

pytestmark = pytest.mark.real

POOL = os.environ.get("BEHUNT_TEST_POOL", "")
HOSTILE = 'it\'s $HOME; "`id`" \\n * ü {}'


@dataclass
class Place:
    """A door, an empty dataset to work below, and an empty directory to mount below."""

    door: Door
    root: str
    directory: str
    longest_value: int = 8000
    old: bool = False

    def at(self, name: str) -> str:
        return f"{self.root}/{name}"

    def directory_of(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def run(self, *argv: str) -> str:
        return self.door.host.run(list(argv), check=True).out

    def sh(self, script: str) -> str:
        return self.run("sh", "-c", f"cd {shlex.quote(self.directory)} && {script}")

    def names(self) -> list[str]:
        found = self.door.datasets(self.root, snapshots=True)
        return [one.name.removeprefix(self.root).lstrip("/") for one in found]

    def value(self, name: str, key: str) -> str:
        return self.run("zfs", "get", "-H", "-o", "value", key, self.at(name)).strip()

    def mount(self, *names: str, read_only: bool = False) -> None:
        mounts = [Mount(self.at(name), self.directory_of(name)) for name in names]
        self.door.mount(mounts, read_only=read_only)

    def mounted(self) -> list[str]:
        inside = [one for one in self.door.mounted() if one.dataset.startswith(f"{self.root}/")]
        assert all(one.directory.startswith(self.directory) for one in inside)
        return [one.dataset.removeprefix(f"{self.root}/") for one in inside]


@contextlib.contextmanager
def _on(door: Door, pool: str, directory: Path, **more: bool | int) -> Iterator[Place]:
    root = f"{pool}/doors-{secrets.token_hex(4)}"
    door.create([(root, {"mountpoint": "none", "canmount": "off"})])
    try:
        yield Place(door, root, str(directory), **more)  # type: ignore[arg-type]
    finally:
        door.umount([str(directory)])
        door.host.run(
            ["sh", "-c", 'zfs destroy -R "$1" || { sleep 1; zfs destroy -R "$1"; }', "sh", root]
        )


@contextlib.contextmanager
def _commands_fuse(directory: Path) -> Iterator[Place]:
    with (
        zfs_fuse.fuse_pool(directory.parent / "image") as host,
        _on(Commands(host), "bhpool", directory, longest_value=1000, old=True) as place,
    ):
        yield place


def _commands(directory: Path) -> AbstractContextManager[Place]:
    return _on(Commands(LocalHost()), POOL, directory)


def _core(directory: Path) -> AbstractContextManager[Place]:
    return _on(Core(Commands(LocalHost())), POOL, directory)


DOORS: dict[str, Callable[[Path], AbstractContextManager[Place]]] = (
    {"commands": _commands, "libzfs_core": _core} if POOL else {"zfs-fuse": _commands_fuse}
)


@pytest.fixture(params=DOORS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "mnt").mkdir()
    with DOORS[request.param](tmp_path / "mnt") as place:
        yield place


@pytest.fixture
def door(place: Place) -> Door:
    return place.door


def create(place: Place, *names: str) -> None:
    place.door.create([(place.at(name), {}) for name in names])


def snapshot(place: Place, *names: str) -> None:
    place.door.snapshot([place.at(name) for name in names])


def destroy(place: Place, *names: str) -> None:
    place.door.destroy([place.at(name) for name in names])


NESTED = ("be", "be/usr", "be/usr/home", "be/var")


@pytest.fixture
def nested(place: Place) -> Place:
    place.door.create([(place.at("be"), {"mountpoint": "/"})])
    create(place, *NESTED[1:])
    return place


# -- create, read, set


def test_what_is_not_there(place: Place, door: Door) -> None:
    assert door.datasets(place.at("be")) == []
    assert not door.exists(place.at("be"))
    assert not door.exists(place.at("be@installed"))


def test_what_is_created_is_there_and_not_mounted(place: Place, door: Door) -> None:
    marks = {"mountpoint": "/", "behunt:owner": HOSTILE, "behunt:state": "x" * place.longest_value}
    door.create([(place.at("be"), marks), (place.at("be/usr"), {"canmount": "off"})])
    top, child = door.datasets(place.at("be"))
    assert (top.name, child.name) == (place.at("be"), place.at("be/usr"))
    assert top.local("behunt:owner") == HOSTILE
    assert top.local("behunt:state") == marks["behunt:state"]
    assert top.local("behunt:build") == ""
    assert top.properties["behunt:build"] == "-"
    assert (top.local("canmount"), top.properties["mounted"]) == ("noauto", "no")
    assert int(top.properties["used"]) > 0
    assert int(top.properties["creation"]) > 1_700_000_000
    assert (child.properties["mountpoint"], child.local("mountpoint")) == ("/usr", "")
    assert (child.properties["behunt:owner"], child.local("behunt:owner")) == (HOSTILE, "")
    assert child.local("canmount") == "off"
    assert place.mounted() == []


def test_create_makes_all_or_none(place: Place) -> None:
    create(place, "taken")
    with pytest.raises(TakenError, match="taken"):
        create(place, "a", "a/b", "taken")
    with pytest.raises(GoneError, match="a/b"):
        create(place, "b", "a/b")
    assert place.names() == ["", "taken"]


def test_parents_come_first_and_snapshots_after_their_own(nested: Place) -> None:
    create(nested, "be-2")
    snapshot(nested, "be@b", "be/usr@b")
    assert nested.names() == ["", "be", "be@b", "be/usr", "be/usr@b", *NESTED[2:], "be-2"]
    found = nested.door.datasets(nested.at("be"))
    assert [one.name for one in found] == [nested.at(name) for name in NESTED]


def test_set(nested: Place, door: Door) -> None:
    door.set([nested.at("be"), nested.at("be/usr")], {"behunt:build": HOSTILE})
    door.set([nested.at("be")], {"canmount": "on", "mountpoint": "none"})
    top, usr, *_ = door.datasets(nested.at("be"))
    assert top.local("behunt:build") == usr.local("behunt:build") == HOSTILE
    assert (top.local("canmount"), top.local("mountpoint")) == ("on", "none")
    with pytest.raises(GoneError):
        door.set([nested.at("nosuch")], {"behunt:build": "x"})


def test_bootfs(nested: Place, door: Door) -> None:
    pool = nested.root.split("/")[0]
    door.set_bootfs(nested.at("be"))
    assert nested.at("be") in nested.run("zpool", "get", "bootfs", pool)
    nested.run("zpool", "set", "bootfs=", pool)


# -- snapshots and clones


def test_snapshot_and_clone_of_a_nested_one(nested: Place, door: Door) -> None:
    nested.mount(*NESTED)
    nested.sh("echo one >be/usr/home/file")
    snapshot(nested, *(f"{name}@installed" for name in NESTED))
    nested.sh("echo two >be/usr/home/file")
    assert door.exists(nested.at("be/usr@installed"))
    copies = [name.replace("be", "run", 1) for name in NESTED]
    marks = [{"mountpoint": "/", "behunt:owner": HOSTILE, "setuid": "off"}, {}, {}, {}]
    door.clone(
        [
            (nested.at(f"{name}@installed"), nested.at(copy), mark)
            for name, copy, mark in zip(NESTED, copies, marks, strict=True)
        ]
    )
    nested.mount(*copies)
    assert nested.sh("cat run/usr/home/file; echo three >run/usr/home/file") == "one\n"
    assert nested.sh("cat be/usr/home/file") == "two\n"
    found = door.datasets(nested.at("run"))
    assert [one.properties["origin"] for one in found] == [
        nested.at(f"{name}@installed") for name in NESTED
    ]
    assert found[0].local("behunt:owner") == HOSTILE
    assert nested.value("run", "setuid") == "off"
    assert {one.local("canmount") for one in found} == {"noauto"}


def test_snapshots_are_all_or_none(nested: Place) -> None:
    snapshot(nested, "be/usr@a")
    with pytest.raises(TakenError):
        snapshot(nested, "be@a", "be/usr@a")
    with pytest.raises(GoneError):
        snapshot(nested, "be@a", "nosuch@a")
    assert nested.names() == ["", "be", "be/usr", "be/usr@a", *NESTED[2:]]


def test_clones_are_all_or_none(nested: Place, door: Door) -> None:
    snapshot(nested, "be@a")
    before = nested.names()
    for source, target in (("be@nosuch", "c/usr"), ("be@a", "be")):
        with pytest.raises((GoneError, TakenError)):
            door.clone(
                [
                    (nested.at("be@a"), nested.at("c"), {}),
                    (nested.at(source), nested.at(target), {}),
                ]
            )
    assert nested.names() == before


def test_rollback(nested: Place, door: Door) -> None:
    nested.mount("be", "be/usr")
    nested.sh("echo one >be/file; echo one >be/usr/file")
    snapshot(nested, "be@a", "be/usr@a")
    nested.sh("echo two >be/file; rm be/usr/file")
    door.umount([nested.directory_of("be")])
    door.rollback([nested.at("be@a"), nested.at("be/usr@a")])
    nested.mount("be", "be/usr")
    assert nested.sh("cat be/file be/usr/file") == "one\none\n"


def test_promote(nested: Place, door: Door) -> None:
    snapshot(nested, "be/var@a")
    door.clone([(nested.at("be/var@a"), nested.at("copy"), {})])
    door.promote(nested.at("copy"))
    (copy,) = door.datasets(nested.at("copy"))
    assert copy.properties["origin"] == "-"
    destroy(nested, "be/var")
    with pytest.raises(HostError, match="not a clone"):
        door.promote(nested.at("copy"))


# -- holds, destroy, rename


def test_a_held_snapshot_stays_until_it_is_released(nested: Place, door: Door) -> None:
    snapshots = [nested.at("be@a"), nested.at("be/usr@a")]
    door.snapshot(snapshots)
    door.hold(snapshots[:1], "behunt")
    door.hold(snapshots, "behunt")
    with pytest.raises(InUseError):
        door.destroy(snapshots)
    held = [one.properties["userrefs"] for one in door.datasets(nested.root, snapshots=True)]
    assert held.count("1") == 2
    door.release(snapshots, "behunt")
    door.release(snapshots, "behunt")
    door.destroy(snapshots)
    assert nested.names() == ["", *NESTED]
    with pytest.raises(GoneError):
        door.hold(snapshots, "behunt")


def test_destroy_takes_exactly_what_it_is_told(nested: Place) -> None:
    snapshot(nested, "be@a", "be/usr@a")
    with pytest.raises(InUseError, match="be"):
        destroy(nested, "be/usr/home", "be/var", "be")
    with pytest.raises(InUseError):
        destroy(nested, "be/usr")
    assert {"be", "be@a", "be/usr", "be/usr@a"} <= set(nested.names())
    everything = ("be/usr@a", "be@a", "be/var", "be/usr/home", "be/usr", "be")
    destroy(nested, *everything)
    assert nested.names() == [""]
    destroy(nested, *everything)


def test_no_directory_of_the_host_goes_along(place: Place, door: Door) -> None:
    """A dataset of a boot environment inherits /var/tmp, which may be there, and empty."""
    there = Path(place.directory_of("host/var/tmp"))
    place.sh("mkdir -p host/var/tmp")
    door.create(
        [
            (place.at("be"), {"mountpoint": place.directory_of("host")}),
            *((place.at(name), {}) for name in ("be/var", "be/var/tmp")),
        ]
    )
    with pytest.raises(TakenError):
        door.create([(place.at(name), {}) for name in ("other", "other/tmp", "be/var/tmp")])
    destroy(place, "be/var/tmp", "be/var", "be")
    assert there.is_dir()


def test_what_has_clones_is_not_destroyed(nested: Place, door: Door) -> None:
    snapshot(nested, "be@a")
    door.clone([(nested.at("be@a"), nested.at("copy"), {})])
    with pytest.raises(InUseError, match="clone"):
        destroy(nested, "be@a")
    destroy(nested, "copy", "be@a")
    assert nested.names() == ["", *NESTED]


def test_what_is_mounted_is_neither_destroyed_nor_renamed(nested: Place, door: Door) -> None:
    nested.mount("be", "be/var")
    for doomed in (["be/var"], ["be/usr/home", "be/usr", "be/var"]):
        with pytest.raises(InUseError, match="mounted"):
            destroy(nested, *doomed)
    with pytest.raises(InUseError, match="mounted"):
        door.rename(nested.at("be"), nested.at("other"))
    assert nested.names() == ["", *NESTED]
    assert nested.mounted() == ["be", "be/var"]


def test_rename_takes_all_below_along(nested: Place, door: Door) -> None:
    snapshot(nested, "be/usr@a")
    door.rename(nested.at("be"), nested.at("other"))
    assert nested.names() == [
        "",
        "other",
        "other/usr",
        "other/usr@a",
        "other/usr/home",
        "other/var",
    ]
    create(nested, "be")
    with pytest.raises(TakenError):
        door.rename(nested.at("other"), nested.at("be"))
    with pytest.raises(GoneError):
        door.rename(nested.at("nosuch"), nested.at("x"))
    with pytest.raises(GoneError):
        door.rename(nested.at("other"), nested.at("nosuch/x"))


# -- mounts


def test_mounted_in_order_anywhere(nested: Place, door: Door) -> None:
    nested.mount(*NESTED)
    assert nested.mounted() == list(NESTED)
    nested.sh("touch be/usr/home/here")
    assert nested.value("be", "mountpoint") == "/"
    assert nested.value("be/usr", "mountpoint") == "/usr"
    door.umount([nested.directory_of("be")])
    assert nested.mounted() == []
    assert nested.sh("ls be") == ""
    door.umount([nested.directory_of("be"), nested.directory_of("nosuch")])


def test_mounts_are_all_or_none(nested: Place) -> None:
    with pytest.raises(GoneError):
        nested.mount("be", "be/usr", "nosuch")
    assert nested.mounted() == []
    nested.mount("be/usr")
    with pytest.raises(GoneError):
        nested.mount("be/var", "nosuch")
    assert nested.mounted() == ["be/usr"]


@pytest.mark.parametrize("way", ["ln -s / be/usr", "ln -s /tmp be/usr", "echo x >be/usr"])
def test_nothing_is_mounted_through_a_link(nested: Place, door: Door, way: str) -> None:
    nested.mount("be")
    nested.sh(way)
    door.umount([nested.directory_of("be")])
    for names in (("be", "be/usr"), ("be", "be/usr/home")):
        with pytest.raises(HostError, match="not a directory"):
            nested.mount(*names)
        assert nested.mounted() == []


@pytest.mark.parametrize("directory", ["relative", "/tmp/../etc"])
def test_a_directory_is_absolute(nested: Place, door: Door, directory: str) -> None:
    with pytest.raises(HostError, match="cannot mount on"):
        door.mount([Mount(nested.at("be"), directory)])


def test_no_device_works_in_what_is_mounted(nested: Place) -> None:
    nested.mount("be")
    nested.sh("mknod be/null c 1 3")
    with pytest.raises(HostError, match=r"[Pp]ermission denied"):
        nested.sh("echo x >be/null")


def test_read_only(nested: Place, door: Door) -> None:
    nested.mount("be", "be/usr")
    nested.sh("echo x >be/usr/file")
    door.umount([nested.directory_of("be")])
    nested.mount("be", "be/usr", read_only=True)
    assert nested.sh("cat be/usr/file") == "x\n"
    for file in ("be/file", "be/usr/file"):
        with pytest.raises(HostError, match="Read-only"):
            nested.sh(f"echo y >{file}")


def test_umount_takes_what_is_mounted_below(nested: Place, door: Door) -> None:
    nested.mount("be", "be/usr")
    nested.sh("mkdir be/dev 'be/a b'; mount -t tmpfs none be/dev; mount -t tmpfs none 'be/a b'")
    door.umount([nested.directory_of("be")])
    assert nested.mounted() == []
    assert nested.directory not in nested.run("cat", "/proc/self/mounts").replace(r"\040", " ")


def test_what_lets_go_in_time_is_waited_for(nested: Place, door: Door) -> None:
    nested.mount("be")
    stay = door.host.wrap(["sh", "-c", 'cd "$1" && echo in && exec cat', "sh"])
    with subprocess.Popen(
        [*stay, nested.directory_of("be")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        threading.Timer(0.3, process.kill).start()
        door.umount([nested.directory_of("be")])
    assert nested.mounted() == []


# -- pools that cannot


@pytest.fixture
def other(place: Place, tmp_path: Path) -> Iterator[str]:
    """A small pool of the test's own, for it to break."""
    name = f"other{secrets.token_hex(4)}"
    image = tmp_path / "other"
    with image.open("wb") as file:
        file.truncate(80 << 20)
    place.run("zpool", "create", "-m", "none", name, str(image))
    yield name
    place.door.host.run(["zpool", "destroy", "-f", name])


def test_a_pool_that_is_exported(place: Place, door: Door, other: str) -> None:
    if place.old:
        pytest.skip("zfs-fuse does not answer for an exported pool")
    door.create([(f"{other}/a", {"mountpoint": "/"})])
    place.run("zpool", "export", other)
    does: list[Callable[[], object]] = [
        lambda: door.datasets(f"{other}/a"),
        lambda: door.exists(f"{other}/a"),
        lambda: door.create([(f"{other}/b", {})]),
        lambda: door.snapshot([f"{other}/a@a"]),
        lambda: door.clone([(f"{other}/a@a", f"{other}/b", {})]),
        lambda: door.destroy([f"{other}/a"]),
        lambda: door.rename(f"{other}/a", f"{other}/b"),
        lambda: door.hold([f"{other}/a@a"], "behunt"),
        lambda: door.release([f"{other}/a@a"], "behunt"),
        lambda: door.set([f"{other}/a"], {"behunt:build": "x"}),
        lambda: door.mount([Mount(f"{other}/a", place.directory_of("a"))]),
    ]
    for do in does:
        with pytest.raises(PoolError, match=f"pool {other} is not there"):
            do()
    place.run("zpool", "import", "-N", "-d", str(Path(place.directory).parent), other)
    assert door.exists(f"{other}/a")


def test_a_pool_that_is_read_only(place: Place, door: Door, other: str) -> None:
    if place.old:
        pytest.skip("zfs-fuse cannot import a pool for reading only")
    door.create([(f"{other}/a", {"mountpoint": "/"})])
    door.snapshot([f"{other}/a@a"])
    place.run("zpool", "export", other)
    images = str(Path(place.directory).parent)
    place.run("zpool", "import", "-N", "-o", "readonly=on", "-d", images, other)
    does: list[Callable[[], object]] = [
        lambda: door.create([(f"{other}/b", {})]),
        lambda: door.snapshot([f"{other}/a@b"]),
        lambda: door.clone([(f"{other}/a@a", f"{other}/b", {})]),
        lambda: door.destroy([f"{other}/a@a"]),
        lambda: door.rename(f"{other}/a", f"{other}/b"),
        lambda: door.set([f"{other}/a"], {"behunt:build": "x"}),
    ]
    for do in does:
        with pytest.raises(PoolError, match=f"pool {other} is read-only"):
            do()


def test_a_pool_whose_key_is_not_loaded(
    place: Place, door: Door, other: str, tmp_path: Path
) -> None:
    if place.old:
        pytest.skip("zfs-fuse has no encryption")
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    encryption = ["-o", "encryption=on", "-o", "keyformat=raw", "-o", f"keylocation=file://{key}"]
    place.run("zfs", "create", "-u", *encryption, "-o", "mountpoint=/", f"{other}/a")
    place.run("zfs", "unload-key", f"{other}/a")
    does: list[Callable[[], object]] = [
        lambda: door.create([(f"{other}/a/b", {})]),
        lambda: door.mount([Mount(f"{other}/a", place.directory_of("a"))]),
    ]
    for do in does:
        with pytest.raises(PoolError, match="key of the pool"):
            do()
