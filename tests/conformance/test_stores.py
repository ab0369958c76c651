"""What every Store must do, each kind in stores.py."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stores import BUILD, KINDS, Kind, Other, content, install, other_behunt, sh

from behunt.errors import HostError, UsageError
from behunt.model import BootEnv, Build
from behunt.storage.home import Home, InUseError, Owner
from behunt.storage.protocol import Store

pytestmark = pytest.mark.real


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


@pytest.fixture
def owner(home: Home) -> Iterator[Owner]:
    owner = Owner(home)
    yield owner
    owner.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    with KINDS[request.param]() as kind:
        yield kind


@pytest.fixture
def store(kind: Kind, home: Home, owner: Owner) -> Store:
    return kind.store(home, owner)


@pytest.fixture
def sealed(kind: Kind, store: Store) -> BootEnv:
    return install(kind, store, "tiny-1")


@pytest.fixture
def other(kind: Kind, home: Home) -> Other:
    return other_behunt(kind, home)


def heard(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


def test_what_is_not_sealed_is_not_there(kind: Kind, store: Store) -> None:
    bootenv = store.create("tiny-1", "tiny-1")
    assert list(kind.seen(bootenv.path).iterdir()) == []
    assert not bootenv.sealed
    assert store.find("tiny-1") is None
    assert store.bootenvs() == []


def test_what_is_sealed_is_found(kind: Kind, store: Store, home: Home, tmp_path: Path) -> None:
    second, first = install(kind, store, "tiny-2"), install(kind, store, "tiny-1")
    assert store.bootenvs() == [first, second]
    newcomer = Owner(home)
    assert kind.store(home, newcomer).find("tiny-2") == second
    newcomer.close()
    assert second.sealed
    assert second.release == "tiny-2"
    assert second.identity == BUILD.identity()
    assert second.bytes > 1 << 20
    assert content(kind, store, second, tmp_path / "x").startswith("tiny-2")


def test_what_was_installed_is_told(store: Store, sealed: BootEnv) -> None:
    assert store.build(sealed) == BUILD
    store.destroy(sealed)
    with pytest.raises(UsageError, match="there is no boot environment tiny-1"):
        store.build(sealed)


def test_a_name_is_given_once(store: Store, sealed: BootEnv) -> None:
    with pytest.raises(UsageError, match="tiny-1 exists"):
        store.create(sealed.name, sealed.release)


def test_the_second_to_seal_a_name_is_refused(
    kind: Kind, store: Store, home: Home, sealed: BootEnv
) -> None:
    store.destroy(sealed)
    rival_owner = Owner(home)
    rival = kind.store(home, rival_owner)
    late = rival.create("tiny-1", "tiny-1")
    first = install(kind, store, "tiny-1")
    with pytest.raises(UsageError, match="tiny-1 exists"):
        rival.seal(late, BUILD)
    assert store.find("tiny-1") == first
    rival_owner.close()
    store.reap()
    store.destroy(first)
    store.reap()
    assert kind.kept(home) == []  # the one that came too late does not come back


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/x", "a/b", ".x", "-x", "a\n", "a\nb", "a b", "a\0b", "ä", "x" * 300],
)
def test_a_hostile_name_is_refused(kind: Kind, store: Store, home: Home, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a boot environment"):
        store.create(name, "tiny-1")
    assert store.find(name) is None
    assert kind.kept(home) == []


def test_nothing_inside_a_root_is_taken_for_a_boot_environment(store: Store, home: Home) -> None:
    bootenv = store.create("tiny-1", "tiny-1")
    sealed = store.seal(bootenv, BUILD)
    about = next(home.boot_environments.glob("tiny-1/*.json"), None)
    if about is not None:
        (sealed.path / "evil").mkdir()
        (sealed.path / "evil" / about.name).write_bytes(about.read_bytes())
    assert store.find("tiny-1/root/evil") is None


@pytest.mark.parametrize("name", ["a", "debian-12-amd64+g++", "x" * 200, "9.3_p1~rc2@x"])
def test_names_of_releases_are_good_names(kind: Kind, store: Store, name: str) -> None:
    sealed = install(kind, store, name)
    assert store.find(name) == sealed
    with store.clone(sealed):
        pass
    store.destroy(sealed)


def test_a_clone_begins_as_what_was_sealed(
    kind: Kind, store: Store, sealed: BootEnv, tmp_path: Path
) -> None:
    with store.clone(sealed) as clone, kind.inside(clone, tmp_path / "x") as host:
        assert clone.bootenv == sealed
        assert sh(host, "cat /etc/release") == "tiny-1"


def test_changes_stay_in_their_clone_and_vanish_with_it(
    kind: Kind, store: Store, sealed: BootEnv, home: Home, tmp_path: Path
) -> None:
    before, kept = content(kind, store, sealed, tmp_path / "x"), kind.kept(home)
    with store.clone(sealed) as one, store.clone(sealed) as two:
        assert one.name != two.name
        with (
            kind.inside(one, tmp_path / "one") as first,
            kind.inside(two, tmp_path / "two") as second,
        ):
            sh(first, "echo new >/etc/release; rm /bin/vi; mkdir /made; ln -s / /made/l")
            assert sh(first, "cat /etc/release") == "new\n"
            assert sh(second, "cat /etc/release; ls -d /made 2>/dev/null || true") == "tiny-1"
    with store.clone(sealed) as clone, kind.inside(clone, tmp_path / "x") as host:
        assert sh(host, "cat /etc/release; ls -d /made 2>/dev/null || true") == "tiny-1"
    assert content(kind, store, sealed, tmp_path / "x") == before
    assert kind.kept(home) == kept
    assert kind.clones(home) == []


def test_many_clones_at_once(kind: Kind, store: Store, sealed: BootEnv, tmp_path: Path) -> None:
    def written_and_read(number: int) -> str:
        with store.clone(sealed) as clone, kind.inside(clone, tmp_path / str(number)) as host:
            return sh(host, f"echo {number} >>/etc/release; cat /etc/release")

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(written_and_read, range(12)))
    assert said == [f"tiny-1{number}\n" for number in range(12)]


def test_what_is_destroyed_is_gone(kind: Kind, store: Store, sealed: BootEnv, home: Home) -> None:
    store.destroy(sealed)
    assert store.find("tiny-1") is None
    assert kind.kept(home) == []
    store.destroy(sealed)
    assert install(kind, store, "tiny-1").sealed


def test_what_is_not_sealed_can_be_destroyed(kind: Kind, store: Store, home: Home) -> None:
    bootenv = store.create("tiny-1", "tiny-1")
    (kind.seen(bootenv.path) / "half").write_text("done")
    store.destroy(bootenv)
    assert kind.kept(home) == []


def test_a_boot_environment_in_use_by_another_behunt_is_not_destroyed(
    store: Store, sealed: BootEnv, other: Other
) -> None:
    body = (
        "with store.clone(store.find('tiny-1')):\n    say('cloned'); input()\nsay('left'); input()"
    )
    with other(body) as process:
        heard(process, "cloned")
        with pytest.raises(InUseError, match="tiny-1 is in use"):
            store.destroy(sealed)
        assert store.find("tiny-1") == sealed
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        heard(process, "left")
        store.destroy(sealed)
    assert store.find("tiny-1") is None


def test_nor_is_one_that_this_behunt_uses(store: Store, sealed: BootEnv) -> None:
    with store.clone(sealed), pytest.raises(InUseError):
        store.destroy(sealed)
    store.destroy(sealed)


def test_what_was_destroyed_or_replaced_meanwhile_is_not_cloned(
    kind: Kind, store: Store, sealed: BootEnv
) -> None:
    store.destroy(sealed)
    with pytest.raises(HostError, match="destroyed meanwhile"), store.clone(sealed):
        pass
    install(kind, store, "tiny-1", Build("another"))
    with pytest.raises(HostError, match="destroyed meanwhile"), store.clone(sealed):
        pass


def test_a_killed_installation_is_never_found_and_is_reaped(
    kind: Kind, store: Store, home: Home, other: Other
) -> None:
    body = """
made = kind.seen(store.create('tiny-1', 'tiny-1').path)
(made / 'half').write_text('x'); say('half'); input()
"""
    with other(body) as process:
        heard(process, "half")
        assert store.reap() == []  # it lives
        process.kill()
    assert store.find("tiny-1") is None
    assert len(store.reap()) == 1
    assert kind.kept(home) == []
    assert install(kind, store, "tiny-1").sealed


def test_a_killed_clone_is_reaped_and_frees_its_boot_environment(
    kind: Kind, store: Store, sealed: BootEnv, home: Home, other: Other
) -> None:
    body = """
at = home.path / 'x'
with store.clone(store.find('tiny-1')) as clone, kind.inside(clone, at) as host:
    host.run(['sh', '-c', 'mkdir /made; echo >/made/x'], check=True)
    say('cloned'); input()
"""
    with other(body) as process:
        heard(process, "cloned")
        there = kind.clones(home)
        assert store.reap() == []
        assert kind.clones(home) == there
        process.kill()
    assert store.reap() == there
    assert kind.clones(home) == []
    store.destroy(sealed)
    assert kind.kept(home) == []


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_at_any_moment_leaves_a_whole_one_or_none(
    kind: Kind, store: Store, home: Home, other: Other, seed: int
) -> None:
    body = """
while True:
    install(kind, store, 'tiny-1'); say('sealed')
    store.destroy(store.find('tiny-1')); say('destroyed')
"""
    chance = random.Random(seed)
    with other(body) as process:
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 5)):
            process.stdout.readline()
        for _ in range(chance.randrange(20_000)):
            pass  # somewhere in the middle of the next step
        process.send_signal(signal.SIGKILL)
    store.reap()
    found = store.find("tiny-1")
    if found is not None:
        assert store.build(found) == BUILD
        assert content(kind, store, found, home.path / "x").startswith("tiny-1")
        store.destroy(found)
    # A program that it was about to start may have its lock for a moment longer.
    deadline = time.monotonic() + 10
    while kind.kept(home) and time.monotonic() < deadline:
        store.reap()
    assert kind.kept(home) == []
    assert install(kind, store, "tiny-1").sealed


def test_what_is_not_ours_is_not_reaped(
    kind: Kind, store: Store, sealed: BootEnv, home: Home
) -> None:
    foreign = kind.strangers(home)
    assert store.reap() == []
    assert set(foreign) < set(kind.kept(home))
    assert store.bootenvs() == [sealed]


def test_a_hostile_tree_is_destroyed_and_nothing_else(
    kind: Kind, store: Store, home: Home, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep/sentinel").write_text("untouched")
    (outside / "linked").write_text("untouched")
    bootenv = store.create("tiny-1", "tiny-1")
    root = kind.seen(bootenv.path)
    (root / "out").symlink_to(outside)
    (root / "loop").symlink_to("loop")
    (root / "up").symlink_to("..")
    with contextlib.suppress(OSError):  # it may be another file system
        os.link(outside / "linked", root / "hard")
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(root / "fifo")
    (root / "locked").mkdir()
    (root / "locked/file").touch()
    (root / "locked").chmod(0)
    store.destroy(store.seal(bootenv, BUILD))
    assert kind.kept(home) == []
    assert (outside / "deep/sentinel").read_text() == "untouched"
    assert (outside / "linked").stat().st_nlink == 1


def test_what_a_test_nested_deeply_vanishes_with_its_clone(
    kind: Kind, store: Store, sealed: BootEnv, home: Home, tmp_path: Path
) -> None:
    # Deeper than Python's recursion limit.
    script = "i=0; while [ $i -lt 1050 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done"
    with store.clone(sealed) as clone, kind.inside(clone, tmp_path / "x") as host:
        host.run(["sh", "-c", f"cd /tmp; {script}"], check=True)
    assert kind.clones(home) == []
