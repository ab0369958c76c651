"""What only a store of datasets has: nested ones, an operator's verbs, and what is not ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stores import BUILD, POOLS, REAL_POOL, Other, Zfs, install, other_behunt, sh
from tiny_root import tiny_root

from behunt.errors import HostError, UsageError
from behunt.model import BootEnv, Build
from behunt.storage.home import Home, InUseError, Owner
from behunt.storage.zfs.store import ZfsStore

pytestmark = pytest.mark.real

NEW, OLD = "freebsd-13.2-amd64", "freebsd-11.1-amd64"
PARTS = [
    "tmp",
    "usr",
    "usr/home",
    "usr/ports",
    "usr/src",
    "var",
    "var/audit",
    "var/crash",
    "var/log",
    "var/mail",
    "var/tmp",
]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


@pytest.fixture
def owner(home: Home) -> Iterator[Owner]:
    owner = Owner(home)
    yield owner
    owner.close()


@pytest.fixture(params=POOLS)
def kind(request: pytest.FixtureRequest) -> Iterator[Zfs]:
    """Its boot environments have the layout of FreeBSD."""
    with POOLS[request.param]("freebsd") as kind:
        yield kind


@pytest.fixture
def store(kind: Zfs, home: Home, owner: Owner) -> ZfsStore:
    return kind.store(home, owner)


@pytest.fixture
def flat(kind: Zfs, home: Home, owner: Owner) -> ZfsStore:
    """The same, for what does not depend on children."""
    return ZfsStore(home, owner, kind.door, kind.root)


@pytest.fixture
def other(kind: Zfs, home: Home) -> Other:
    return other_behunt(kind, home)


def sealed(kind: Zfs, store: ZfsStore, name: str = "test", release: str = NEW) -> BootEnv:
    """One with something in each of its datasets."""
    bootenv = store.create(name, release)
    root = tiny_root(kind.seen(bootenv.path))
    for part in ("", *PARTS):
        (root / part / "here").write_text(part)
    return store.seal(bootenv, BUILD)


def listed(kind: Zfs, *properties: str) -> dict[str, list[str]]:
    """Of every dataset below the root, by its name there."""
    told = kind.zfs("list", "-H", "-o", ",".join(("name", *properties)), "-r", kind.root)
    rows = (line.split("\t") for line in told.splitlines())
    return {row[0].removeprefix(f"{kind.root}/"): row[1:] for row in rows if row[0] != kind.root}


def below(kind: Zfs, name: str) -> list[str]:
    return [mount.directory for mount in kind.door.mounted() if mount.dataset.startswith(name)]


def run_of(kind: Zfs) -> str:
    """The only clone of a run that there is."""
    return next(name for name in listed(kind) if ":run." in name)


# Nested boot environments


def test_one_has_the_datasets_of_its_release_in_the_shape_that_bectl_knows(
    kind: Zfs, store: ZfsStore
) -> None:
    sealed(kind, store)
    found = listed(kind, "mountpoint", "canmount", "mounted")
    assert found.pop("test") == ["/", "noauto", "no"]
    assert found == {
        f"test/{part}": [f"/{part}", "off" if part in {"usr", "var"} else "noauto", "no"]
        for part in PARTS
    }
    sources = kind.zfs("get", "-H", "-o", "source", "mountpoint", f"{kind.root}/test/usr/src")
    assert sources.startswith("inherited from")


def test_all_are_mounted_while_it_is_filled_and_in_clones(
    kind: Zfs, store: ZfsStore, tmp_path: Path
) -> None:
    bootenv = store.create("test", NEW)
    directories = below(kind, f"{kind.root}/test:new")
    assert directories == [
        str(bootenv.path),
        *(f"{bootenv.path}/{part}" for part in PARTS if part not in {"usr", "var"}),
    ]
    assert all(
        kind.seen(bootenv.path / d).stat().st_mode & 0o7777 == 0o1777 for d in ("tmp", "var/tmp")
    )
    store.destroy(bootenv)
    bootenv = sealed(kind, store)
    assert below(kind, kind.root) == []
    with store.clone(bootenv) as clone, kind.inside(clone, tmp_path / "x") as host:
        assert len(below(kind, f"{kind.root}/test:run")) == 10
        for part in ("", *PARTS):
            assert sh(host, f"cat /{part}/here") == part
        sh(host, "echo >/usr/src/here; echo >/var/log/more")
        assert listed(kind, "exec")[f"{run_of(kind)}/var/log"] == ["off"]
    assert below(kind, kind.root) == []
    with store.clone(bootenv) as clone, kind.inside(clone, tmp_path / "x") as host:
        assert sh(host, "cat /usr/src/here; ls /var/log") == "usr/srchere\n"
    assert kind.clones(store.home) == []


def test_what_else_is_mounted_in_a_clone_goes_with_it(kind: Zfs, store: ZfsStore) -> None:
    bootenv = sealed(kind, store)
    with store.clone(bootenv) as clone:
        kind.host.run(["mount", "-t", "tmpfs", "none", f"{clone.root}/var/log"], check=True)
    assert kind.clones(store.home) == []


def test_an_old_release_lists_its_datasets_in_fstab_under_their_names(
    kind: Zfs, store: ZfsStore
) -> None:
    bootenv = store.create("old", OLD)
    (kind.seen(bootenv.path) / "etc").mkdir()
    (kind.seen(bootenv.path) / "etc/fstab").write_text("proc /proc procfs rw 0 0\n")
    store.seal(bootenv, BUILD)
    assert fstab(kind, store, "old")[0] == "proc /proc procfs rw 0 0"
    assert f"{kind.root}/old/usr/src\t/usr/src\tzfs\trw,late\t0\t0" in fstab(kind, store, "old")
    store.copy("old", "copied")
    store.rename("old", "older")
    for name in ("copied", "older"):
        devices = {line.split()[0] for line in fstab(kind, store, name) if "rw,late" in line}
        assert devices == {f"{kind.root}/{name}/{p}" for p in PARTS if p not in {"usr", "var"}}


def fstab(kind: Zfs, store: ZfsStore, name: str) -> list[str]:
    root = store.mount(name)
    text = kind.seen(Path(root) / "etc/fstab").read_text()
    store.umount(name)
    return text.splitlines()


def test_a_hostile_fstab_is_not_followed(kind: Zfs, store: ZfsStore, tmp_path: Path) -> None:
    outside = tmp_path / "fstab"
    outside.write_text("untouched")
    bootenv = store.create("old", OLD)
    (kind.seen(bootenv.path) / "etc").symlink_to(tmp_path)
    store.seal(bootenv, BUILD)
    assert outside.read_text() == "untouched"


def test_a_large_build_is_kept_whole(kind: Zfs, store: ZfsStore) -> None:
    from behunt.model import Package  # noqa: PLC0415

    packages = tuple(
        Package(f"lib{n:x}-{n * 7919 % 1000003:x}", f"{n}.{n % 97}-{n % 13}", "amd64")
        for n in range(400)
    )
    build = Build("mmdebstrap …", (("http://там/debian sid", "ab" * 32),), packages, ("a note",))
    bootenv = store.seal(store.create("test", NEW), build)
    assert store.build(bootenv) == build
    kind.zfs("set", "behunt:build.1=x", f"{kind.root}/test")
    with pytest.raises(HostError, match="damaged"):
        store.build(bootenv)


# What is not ours


def test_the_root_is_made_below_what_is_there(kind: Zfs, flat: ZfsStore) -> None:
    assert flat.find("test") is None
    assert flat.bootenvs() == flat.rows() == []
    install(kind, flat, "test")
    told = kind.zfs("get", "-H", "-o", "value", "mountpoint", kind.root)
    assert told.strip() == "none"


@pytest.mark.parametrize(
    "root", ["", "-r", "a b", "tank/", "tank//x", "tank@x", "1tank", "a/../b", "ä"]
)
def test_a_root_that_is_no_dataset_is_refused(
    kind: Zfs, home: Home, owner: Owner, root: str
) -> None:
    with pytest.raises(UsageError, match="cannot be the dataset of a store"):
        ZfsStore(home, owner, kind.door, root)


def test_a_root_below_nothing_is_told(kind: Zfs, home: Home, owner: Owner) -> None:
    told = {"nosuch/x": "pool nosuch", f"{kind.root}/x/y": f"dataset {kind.root}/x"}
    for root, lacking in told.items():
        with pytest.raises(HostError, match=f"there is no {lacking}|the {lacking} is not there"):
            ZfsStore(home, owner, kind.door, root).create("test", NEW)


def test_a_dataset_that_somebody_else_made_is_left_alone(kind: Zfs, flat: ZfsStore) -> None:
    install(kind, flat, "mine")
    kind.zfs("create", "-o", "canmount=off", f"{kind.root}/theirs")
    assert [bootenv.name for bootenv in flat.bootenvs()] == ["mine"]
    refused: list[Callable[[], object]] = [
        lambda: flat.create("theirs", "x"),
        lambda: flat.make_empty("theirs"),
        lambda: flat.fill("theirs", "x"),
        lambda: flat.remove("theirs", force=True),
        lambda: flat.mount("theirs"),
        lambda: flat.umount("theirs"),
        lambda: flat.snapshot("theirs", "x"),
        lambda: flat.rename("theirs", "x"),
        lambda: flat.rename("mine", "theirs"),
        lambda: flat.copy("theirs", "x"),
        lambda: flat.copy("mine", "theirs"),
        lambda: flat.activate("theirs"),
    ]
    for act in refused:
        with pytest.raises(UsageError, match="theirs is not behunt's"):
            act()
    assert set(listed(kind)) == {"mine", "theirs"}


def test_a_stranger_within_keeps_the_whole_from_going(kind: Zfs, store: ZfsStore) -> None:
    bootenv = sealed(kind, store)
    stranger = f"{kind.root}/test/usr/mine"
    kind.zfs("create", "-o", "canmount=noauto", stranger)
    for act in (
        lambda: store.destroy(bootenv, force=True),
        lambda: store.rename("test", "x"),
        lambda: store.activate("test"),
    ):
        with pytest.raises(UsageError, match=f"{stranger}, which is not behunt's"):
            act()
    assert store.find("test") == bootenv
    with store.clone(bootenv):  # it is no part of what was sealed
        assert not any("mine" in directory for directory in below(kind, kind.root))
    where = store.mount("test")
    assert f"{where}/usr/mine" not in below(kind, kind.root)
    store.umount("test")
    kind.zfs("destroy", stranger)
    store.destroy(bootenv)


def test_a_stranger_mounted_within_is_not_unmounted(kind: Zfs, store: ZfsStore) -> None:
    sealed(kind, store)
    store.make_empty("guest")
    where = store.mount("test")
    store.mount("guest", f"{where}/usr/guest")
    with pytest.raises(UsageError, match=r"guest.* is mounted in it"):
        store.umount("test")
    store.umount("guest")
    store.umount("test")
    assert below(kind, kind.root) == []


def test_snapshots_that_a_user_took_go_only_when_told(kind: Zfs, store: ZfsStore) -> None:
    bootenv = sealed(kind, store)
    kind.zfs("snapshot", f"{kind.root}/test/var/log@before")
    with pytest.raises(UsageError, match=r"test has snapshots: .*/var/log@before"):
        store.destroy(bootenv)
    assert store.find("test") == bootenv
    store.destroy(bootenv, force=True)
    assert listed(kind) == {}


def test_what_somebody_holds_or_cloned_stays(kind: Zfs, store: ZfsStore) -> None:
    bootenv = sealed(kind, store)
    snapshot = f"{kind.root}/test/var/log@installed"
    kind.zfs("hold", "mine", snapshot)
    with pytest.raises(InUseError, match=r"test is in use: .* is held"):
        store.destroy(bootenv, force=True)
    kind.zfs("release", "mine", snapshot)
    pool = kind.root.partition("/")[0]
    clone = f"{pool}/theirs-{kind.root.rpartition('/')[2]}"
    kind.zfs("clone", "-o", "mountpoint=none", snapshot, clone)
    with pytest.raises(InUseError, match=f"test is in use: {clone} is a clone"):
        store.destroy(bootenv, force=True)
    assert store.find("test") == bootenv
    with store.clone(bootenv):
        pass
    kind.zfs("destroy", clone)
    store.destroy(bootenv)
    assert listed(kind) == {}


def test_the_sealed_snapshot_is_held(kind: Zfs, store: ZfsStore) -> None:
    sealed(kind, store)
    done = kind.host.run(["zfs", "destroy", f"{kind.root}/test/usr/src@installed"])
    assert done.code != 0
    assert f"{kind.root}/test/usr/src@installed" in kind.zfs("list", "-H", "-t", "snapshot")


# Two behunts on one pool


def test_two_homes_share_what_is_sealed_and_nothing_else(
    kind: Zfs, flat: ZfsStore, tmp_path: Path
) -> None:
    second = Home(tmp_path / "second").make()
    second_owner = Owner(second)
    theirs = ZfsStore(second, second_owner, kind.door, kind.root)
    assert theirs.place.id != flat.place.id
    late = theirs.create("tiny-1", "tiny-1")
    mine = install(kind, flat, "tiny-1")
    with pytest.raises(UsageError, match="tiny-1 exists"):
        theirs.seal(late, BUILD)
    seen = theirs.find("tiny-1")
    assert seen is not None
    assert theirs.build(seen) == BUILD
    with flat.clone(mine), pytest.raises(InUseError, match="tiny-1 is in use"):
        theirs.destroy(seen)
    with theirs.clone(seen):
        second_owner.close()  # to this home it looks dead; but it is none of its own
        assert flat.reap() == []
    assert Owner(second).home.id == second.id
    newcomer = Owner(second)
    again = ZfsStore(second, newcomer, kind.door, kind.root)
    assert len(again.reap()) == 1  # what came too late
    again.destroy(seen)
    newcomer.close()
    assert flat.find("tiny-1") is None
    assert listed(kind) == {}


# A behunt that is killed

# What is done, and the states in which the boot environment `test` may then be.
DONE: dict[str, tuple[str, set[str]]] = {
    "install": ("install(kind, store, 'test')", {"", "installed"}),
    "destroy": ("store.remove('test')", {"installed", ""}),
    "clone": ("with store.clone(store.find('test')): pass", {"installed"}),
    "make": ("store.make_empty('test')", {"", "empty"}),
    "fill": (
        "b = store.fill('test', 'x'); (kind.seen(b.path) / 'half').touch(); store.seal(b, BUILD)",
        {"empty", "installed"},
    ),
    "give back": (
        "b = store.fill('test', 'x'); (kind.seen(b.path) / 'half').touch(); store.destroy(b)",
        {"empty"},
    ),
    "copy": ("store.copy('origin', 'test')", {"", "installed"}),
}
MORTAL = """
import os, signal
from behunt.storage.zfs.store import ZfsStore
class Mortal:
    # The door of `kind`, through which one passes {steps} times.
    left = {steps}
    def __getattr__(self, name):
        found = getattr(kind.door, name)
        if not callable(found):
            return found
        def passed(*args, **kwargs):
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            return found(*args, **kwargs)
        return passed
store = ZfsStore(home, owner, Mortal(), kind.root)
{body}
say('done')
"""


@pytest.mark.parametrize("done", DONE)
def test_a_kill_at_each_step_leaves_all_or_nothing(
    kind: Zfs, flat: ZfsStore, home: Home, other: Other, done: str
) -> None:
    body, states = DONE[done]
    met = set()
    for steps in range(60):
        prepare(kind, flat, done)
        with other(MORTAL.format(steps=steps, body=body)) as process:
            assert process.stdout is not None
            said = process.stdout.read()
        flat.reap()
        assert [name for name in kind.kept(home) if ":" in name or "/" in name] == []
        state = next((row.state for row in flat.rows() if row.name == "test"), "")
        assert state in states
        met.add(state)
        if state == "installed":
            found = flat.find("test")
            assert found is not None
            assert flat.build(found) == BUILD
            with flat.clone(found):
                pass
            assert kind.zfs("list", "-H", "-r", "-t", "snapshot", kind.root).count("@empty") == 0
        if state == "empty":
            flat.destroy(flat.fill("test", "x"))  # so it is empty
        if said:
            break
    assert said == "done\n"
    assert met == states or done in {"clone", "give back"}


def prepare(kind: Zfs, store: ZfsStore, done: str) -> None:
    there = store.get("test")
    if done in {"destroy", "clone"} and there is None:
        install(kind, store, "test")
    if done == "copy" and store.find("origin") is None:
        install(kind, store, "origin")
    if done in {"install", "make", "copy"}:
        store.remove("test")
    if done in {"fill", "give back"}:
        store.remove("test")
        store.make_empty("test")


# The operator's verbs


def test_an_empty_one_is_filled_and_sealed(kind: Zfs, store: ZfsStore, home: Home) -> None:
    dataset = store.make_empty("test", "freebsd")
    assert dataset == f"{kind.root}/test"
    assert store.find("test") is None
    assert [row.state for row in store.rows()] == ["empty"]
    with pytest.raises(UsageError, match="test exists"):
        store.create("test", NEW)
    before = set(listed(kind))
    old = "freebsd-15.0-amd64"
    bootenv = store.fill("test", old)
    assert [row.state for row in store.rows()] == ["being installed"]
    assert (bootenv.name, bootenv.release, bootenv.layout) == ("test", old, "freebsd")
    with pytest.raises(InUseError, match="test is in use"):
        store.fill("test", NEW)
    tiny_root(kind.seen(bootenv.path))
    (kind.seen(bootenv.path) / "home/here").touch()
    found = store.seal(bootenv, BUILD)
    assert store.find("test") == found
    assert set(listed(kind)) - before == {"test/home"} - before
    assert kind.zfs("list", "-H", "-t", "snapshot", "-o", "name").count("@empty") == 0
    with pytest.raises(UsageError, match="test is not empty: it holds freebsd-15"):
        store.fill("test", NEW)
    store.destroy(found)
    assert kind.kept(home) == []


def test_children_become_those_of_the_release(kind: Zfs, store: ZfsStore) -> None:
    store.make_empty("test", "freebsd")
    store.seal(store.fill("test", "freebsd-9.3-amd64"), BUILD)
    found = listed(kind, "canmount")
    assert found["test/var"] == ["noauto"]
    assert "test/var/audit" not in found
    assert "test/usr/home" in found
    assert "test/home" not in found


def test_what_was_claimed_is_given_back_empty(kind: Zfs, store: ZfsStore, home: Home) -> None:
    store.make_empty("test", "freebsd", NEW)
    bootenv = store.fill("test", NEW)
    for part in ("", *PARTS):
        (kind.seen(bootenv.path) / part / "half").write_text("x")
    store.destroy(bootenv)
    assert [row.state for row in store.rows()] == ["empty"]
    where = Path(store.mount("test"))
    assert [path for path in kind.seen(where).rglob("*") if not path.is_dir()] == []
    store.umount("test")
    store.destroy(store.seal(store.fill("test", NEW), BUILD))
    assert kind.kept(home) == []


def test_what_a_user_put_into_an_empty_one_is_not_overwritten(kind: Zfs, flat: ZfsStore) -> None:
    flat.make_empty("files")
    where = Path(flat.mount("files"))
    (kind.seen(where) / "mine").write_text("mine")
    with pytest.raises(InUseError, match="files is in use: mounted at"):
        flat.fill("files", NEW)
    flat.umount("files")
    with pytest.raises(UsageError, match="files is not empty: it has /mine"):
        flat.fill("files", NEW)
    where = Path(flat.mount("files"))
    assert (kind.seen(where) / "mine").read_text() == "mine"
    flat.umount("files")


def test_one_is_mounted_where_the_user_wants_it(kind: Zfs, store: ZfsStore, tmp_path: Path) -> None:
    sealed(kind, store)
    at = tmp_path / "at"
    with pytest.raises(UsageError, match="is not mounted"):
        store.path("test")
    assert Path(store.mount("test", str(at))) == store.path("test") == at
    assert (kind.seen(at) / "var/log/here").read_text() == "var/log"
    with pytest.raises(UsageError, match=r"mounted at .* already"):
        store.mount("test")
    with pytest.raises(InUseError, match="mounted at"):
        store.rename("test", "x")
    found = store.find("test")
    assert found is not None
    with pytest.raises(InUseError, match="mounted at"):
        store.destroy(found)
    store.make_empty("another")
    with pytest.raises(UsageError, match=r"mounted at .* already"):
        store.mount("another", str(at))
    store.umount("test")
    store.umount("test")
    assert below(kind, kind.root) == []


@pytest.mark.parametrize("at", ["relative", "/a/../b", "/"])
def test_one_is_not_mounted_just_anywhere(kind: Zfs, flat: ZfsStore, at: str) -> None:
    flat.make_empty("test")
    with pytest.raises(UsageError):
        flat.mount("test", at)
    assert below(kind, kind.root) == []


def test_nor_over_what_is_there(kind: Zfs, flat: ZfsStore, tmp_path: Path) -> None:
    (tmp_path / "full/of").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "full")
    flat.make_empty("test")
    for name in ("full", "link"):
        with pytest.raises((UsageError, HostError)):
            flat.mount("test", str(tmp_path / name))
    assert below(kind, kind.root) == []


def test_a_copy_is_installed_as_well_and_outlives_being_promoted(
    kind: Zfs, store: ZfsStore, tmp_path: Path
) -> None:
    first = sealed(kind, store)
    store.copy("test", "copied")
    copied = store.find("copied")
    assert copied is not None
    assert (copied.identity, copied.bytes, copied.release) == (first.identity, first.bytes, NEW)
    assert store.build(copied) == BUILD
    with pytest.raises(InUseError, match="copied is a clone of it"):
        store.destroy(first)
    store.activate("copied")  # promotes it
    for bootenv in (first, copied):
        with store.clone(bootenv) as clone, kind.inside(clone, tmp_path / "x") as host:
            assert sh(host, "cat /usr/src/here") == "usr/src"
    with pytest.raises(UsageError, match="boots from"):
        store.destroy(copied)
    store.destroy(first)
    with store.clone(copied):
        pass
    store.copy("copied", "third")
    store.activate("third")
    store.destroy(copied)
    with store.clone(store.find("third") or copied):
        pass
    kind.host.run(["zpool", "set", "bootfs=", kind.root.partition("/")[0]], check=True)


def test_a_copy_of_a_snapshot_is_kept_as_it_was(kind: Zfs, store: ZfsStore) -> None:
    bootenv = sealed(kind, store)
    where = Path(store.mount("test"))
    (kind.seen(where) / "var/log/here").write_text("changed")
    store.umount("test")
    assert store.snapshot("test", "changed") == f"{kind.root}/test@changed"
    with pytest.raises(UsageError, match="has a snapshot changed already"):
        store.snapshot("test", "changed")
    store.copy("test@changed", "kept")
    with pytest.raises(UsageError, match="no snapshot @nosuch"):
        store.copy("test@nosuch", "x")
    store.copy("kept", "again")
    for name in ("kept", "again"):
        where = Path(store.mount(name))
        assert (kind.seen(where) / "var/log/here").read_text() == "changed"
        store.umount(name)
        assert store.find(name) is None
    assert [row.state for row in store.rows()] == ["kept", "kept", "installed"]
    assert store.find("test") == bootenv
    store.remove("again")
    store.remove("kept", force=True)
    store.destroy(bootenv, force=True)
    assert listed(kind) == {}


@pytest.mark.parametrize("tag", ["installed", "empty", "", "a b", "a@b", "a/b", "-r", "ä"])
def test_a_snapshot_has_a_name_of_its_own(kind: Zfs, flat: ZfsStore, tag: str) -> None:
    install(kind, flat, "test")
    with pytest.raises(UsageError):
        flat.snapshot("test", tag)


def test_one_is_renamed_with_all_it_has(kind: Zfs, store: ZfsStore) -> None:
    before = sealed(kind, store)
    sealed(kind, store, "another")
    with pytest.raises(UsageError, match="another exists"):
        store.rename("test", "another")
    with pytest.raises(UsageError, match="cannot name"):
        store.rename("test", "../x")
    assert store.rename("test", "c++@1") == f"{kind.root}/c:2b:2b:401"
    after = store.find("c++@1")
    assert after is not None
    assert store.find("test") is None
    assert (after.identity, after.created) == (before.identity, before.created)
    with store.clone(after):
        pass
    kind.zfs("rename", f"{kind.root}/another", f"{kind.root}/by-bectl")
    assert [bootenv.name for bootenv in store.bootenvs()] == ["by-bectl", "c++@1"]


def test_the_pool_boots_from_what_is_activated(kind: Zfs, flat: ZfsStore) -> None:
    pool = kind.root.partition("/")[0]
    first, second = (install(kind, flat, name) for name in ("first", "second"))
    flat.activate("first")
    assert flat.activate("second") == ""
    active = {row.name: row.active for row in flat.rows()}
    assert active == {"first": "", "second": "R"}
    kind.zfs("create", "-o", "mountpoint=none", f"{kind.root}-ROOT")
    kind.zfs("create", "-o", "canmount=on", "-o", "mountpoint=none", f"{kind.root}-ROOT/default")
    kind.host.run(["zpool", "set", f"bootfs={kind.root}-ROOT/default", pool], check=True)
    assert f"not below {kind.root}-ROOT" in flat.activate("first")
    told = kind.zfs("get", "-H", "-o", "value", "canmount", f"{kind.root}-ROOT/default")
    assert told == "noauto\n"
    with pytest.raises(UsageError, match="boots from"):
        flat.destroy(first)
    kind.host.run(["zpool", "set", "bootfs=", pool], check=True)
    kind.zfs("destroy", "-r", f"{kind.root}-ROOT")
    flat.destroy(first)
    flat.destroy(second)


def test_rows_tell_what_is_there(kind: Zfs, store: ZfsStore) -> None:
    bootenv = sealed(kind, store)
    store.make_empty("files", "flat")
    store.snapshot("test", "mine")
    at = store.mount("files")
    with store.clone(bootenv):
        files, test, run = store.rows()
    assert (test.name, test.dataset, test.release) == ("test", f"{kind.root}/test", NEW)
    assert (test.layout, test.state, test.active) == ("freebsd", "installed", "")
    assert (test.mountpoint, test.snapshots) == ("", ("installed", "mine"))
    assert test.bytes > 1 << 20
    assert test.created[:10] == bootenv.created[:10]
    assert (files.state, files.mountpoint, files.layout) == ("empty", str(at), "flat")
    assert (run.name, run.state) == ("test", "run")


def test_what_is_not_there_is_told(kind: Zfs, flat: ZfsStore) -> None:
    install(kind, flat, "test")
    for act in (
        lambda: flat.mount("nosuch"),
        lambda: flat.umount("nosuch"),
        lambda: flat.snapshot("nosuch", "x"),
        lambda: flat.copy("nosuch", "x"),
        lambda: flat.copy("nosuch@x", "x"),
        lambda: flat.rename("nosuch", "x"),
        lambda: flat.activate("nosuch"),
        lambda: flat.fill("nosuch", "x"),
    ):
        with pytest.raises(UsageError, match="there is no boot environment nosuch"):
            act()
    flat.remove("nosuch")


def test_a_name_that_is_too_long_for_zfs_is_refused_at_once(
    kind: Zfs, home: Home, owner: Owner
) -> None:
    deep = ZfsStore(home, owner, kind.door, f"{kind.root}/{'r' * 40}", layout="freebsd")
    with pytest.raises(UsageError, match="characters too long"):
        deep.create("x" * 200, NEW)


@pytest.mark.skipif(not REAL_POOL, reason="zfs-fuse has no volumes")
def test_a_volume_within_keeps_the_whole_from_going(kind: Zfs, flat: ZfsStore) -> None:
    bootenv = install(kind, flat, "test")
    kind.zfs("create", "-s", "-V", "1M", "-o", "volmode=none", f"{kind.root}/test/volume")
    with pytest.raises(UsageError, match="test/volume, which is not behunt's"):
        flat.destroy(bootenv, force=True)
    assert flat.find("test") == bootenv
    kind.zfs("destroy", f"{kind.root}/test/volume")
    flat.destroy(bootenv)
