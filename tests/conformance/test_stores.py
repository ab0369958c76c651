"""What every Store must do. A new one is one more function in STORES."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tiny_root import tiny_root

from behunt.errors import HostError, UsageError
from behunt.hosts.confined import Confined
from behunt.model import BootEnv, Build, Package
from behunt.runners.namespace import sandbox_of
from behunt.runners.protocol import Setup
from behunt.storage.home import Home, InUseError, Owner
from behunt.storage.overlay import OverlayStore
from behunt.storage.protocol import Clone, Store

pytestmark = pytest.mark.real

STORES: dict[str, Callable[[Home, Owner], Store]] = {
    "overlay in memory": OverlayStore,
    "overlay on disk": lambda home, owner: OverlayStore(home, owner, on_disk=True),
}
BUILD = Build(
    "made by a test",
    (("http://there/debian sid", "ab" * 32),),
    (Package("libc6", "2.36-9+deb12u10", "amd64"), Package("tzdata", "2025b")),
    ("its Release file has expired",),
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").make()


@pytest.fixture
def owner(home: Home) -> Iterator[Owner]:
    owner = Owner(home)
    yield owner
    owner.close()


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str, home: Home, owner: Owner) -> Store:
    return STORES[kind](home, owner)


@pytest.fixture
def sealed(store: Store) -> BootEnv:
    return install(store, "tiny-1")


def install(store: Store, name: str, build: Build = BUILD) -> BootEnv:
    bootenv = store.create(name, name)
    tiny_root(bootenv.path)
    (bootenv.path / "etc/release").write_text(name)
    return store.seal(bootenv, build)


@contextlib.contextmanager
def inside(clone: Clone, exchange: Path) -> Iterator[Confined]:
    exchange.mkdir(exist_ok=True)
    with Confined(sandbox_of(clone, Setup(exchange, "tiny", "nobody"))) as entered:
        yield entered


def sh(host: Confined, script: str) -> str:
    return host.run(["sh", "-c", script], check=True).out


Other = Callable[[str], contextlib.AbstractContextManager["subprocess.Popen[str]"]]


@pytest.fixture
def other(kind: str, home: Home) -> Other:
    """Another behunt in the same home, with the same kind of store, doing `body`."""

    @contextlib.contextmanager
    def started(body: str) -> Iterator[subprocess.Popen[str]]:
        here = Path(__file__).resolve()
        code = f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(here.parents[n]) for n in (0, 1, 2)]!r}
from test_stores import STORES, install, BUILD, inside
from behunt.storage.home import Home, Owner
home = Home(Path({str(home.path)!r})).make()
owner = Owner(home)
store = STORES[{kind!r}](home, owner)
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


def heard(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


def test_what_is_not_sealed_is_not_there(store: Store) -> None:
    bootenv = store.create("tiny-1", "tiny-1")
    assert list(bootenv.path.iterdir()) == []
    assert not bootenv.sealed
    assert store.find("tiny-1") is None
    assert store.bootenvs() == []


def test_what_is_sealed_is_found(store: Store, kind: str, home: Home) -> None:
    second, first = install(store, "tiny-2"), install(store, "tiny-1")
    assert store.bootenvs() == [first, second]
    newcomer = Owner(home)
    assert STORES[kind](home, newcomer).find("tiny-2") == second
    newcomer.close()
    assert second.sealed
    assert second.release == "tiny-2"
    assert second.identity == BUILD.identity()
    assert second.bytes > 1 << 20
    assert (second.path / "etc/release").read_text() == "tiny-2"


def test_what_was_installed_is_told(store: Store, sealed: BootEnv) -> None:
    assert store.build(sealed) == BUILD
    store.destroy(sealed)
    with pytest.raises(UsageError, match="there is no boot environment tiny-1"):
        store.build(sealed)


def test_a_name_is_given_once(store: Store, sealed: BootEnv) -> None:
    with pytest.raises(UsageError, match="tiny-1 exists"):
        store.create(sealed.name, sealed.release)


def test_the_second_to_seal_a_name_is_refused(
    store: Store, kind: str, home: Home, sealed: BootEnv
) -> None:
    store.destroy(sealed)
    rival_owner = Owner(home)
    rival = STORES[kind](home, rival_owner)
    late = rival.create("tiny-1", "tiny-1")
    first = install(store, "tiny-1")
    with pytest.raises(UsageError, match="tiny-1 exists"):
        rival.seal(late, BUILD)
    assert store.find("tiny-1") == first
    rival_owner.close()


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/x", "a/b", ".x", "-x", "a\n", "a\nb", "a b", "a\0b", "ä", "x" * 300],
)
def test_a_hostile_name_is_refused(store: Store, home: Home, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a boot environment"):
        store.create(name, "tiny-1")
    assert store.find(name) is None
    assert list(home.boot_environments.iterdir()) == []


def test_nothing_inside_a_root_is_taken_for_a_boot_environment(store: Store, home: Home) -> None:
    bootenv = store.create("tiny-1", "tiny-1")
    sealed = store.seal(bootenv, BUILD)
    about = next(home.boot_environments.glob("tiny-1/*.json"), None)
    if about is not None:
        (sealed.path / "evil").mkdir()
        (sealed.path / "evil" / about.name).write_bytes(about.read_bytes())
    assert store.find("tiny-1/root/evil") is None


@pytest.mark.parametrize("name", ["a", "debian-12-amd64+g++", "x" * 200, "9.3_p1~rc2@x"])
def test_names_of_releases_are_good_names(store: Store, name: str) -> None:
    sealed = install(store, name)
    with store.clone(sealed):
        pass
    store.destroy(sealed)


def test_a_clone_begins_as_what_was_sealed(store: Store, sealed: BootEnv, tmp_path: Path) -> None:
    with store.clone(sealed) as clone, inside(clone, tmp_path / "x") as host:
        assert clone.bootenv == sealed
        assert sh(host, "cat /etc/release") == "tiny-1"


def test_changes_stay_in_their_clone_and_vanish_with_it(
    store: Store, sealed: BootEnv, home: Home, tmp_path: Path
) -> None:
    before = snapshot(sealed.path)
    with store.clone(sealed) as one, store.clone(sealed) as two:
        assert one.name != two.name
        with inside(one, tmp_path / "one") as first, inside(two, tmp_path / "two") as second:
            sh(first, "echo new >/etc/release; rm /bin/vi; mkdir /made; ln -s / /made/l")
            assert sh(first, "cat /etc/release") == "new\n"
            assert sh(second, "cat /etc/release; ls -d /made 2>/dev/null || true") == "tiny-1"
    with store.clone(sealed) as clone, inside(clone, tmp_path / "x") as host:
        assert sh(host, "cat /etc/release; ls -d /made 2>/dev/null || true") == "tiny-1"
    assert snapshot(sealed.path) == before
    assert list(home.clones.iterdir()) == []


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    rows = [(path, path.lstat()) for path in root.rglob("*")]
    return {str(path): (s.st_mode, s.st_size, s.st_mtime_ns) for path, s in rows}


def test_many_clones_at_once(store: Store, sealed: BootEnv, tmp_path: Path) -> None:
    def written_and_read(number: int) -> str:
        with store.clone(sealed) as clone, inside(clone, tmp_path / str(number)) as host:
            return sh(host, f"echo {number} >>/etc/release; cat /etc/release")

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(written_and_read, range(12)))
    assert said == [f"tiny-1{number}\n" for number in range(12)]


def test_what_is_destroyed_is_gone(store: Store, sealed: BootEnv, home: Home) -> None:
    store.destroy(sealed)
    assert store.find("tiny-1") is None
    assert list(home.boot_environments.iterdir()) == []
    store.destroy(sealed)
    assert install(store, "tiny-1").sealed


def test_what_is_not_sealed_can_be_destroyed(store: Store, home: Home) -> None:
    bootenv = store.create("tiny-1", "tiny-1")
    (bootenv.path / "half").write_text("done")
    store.destroy(bootenv)
    assert list(home.boot_environments.iterdir()) == []


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
    store: Store, sealed: BootEnv
) -> None:
    store.destroy(sealed)
    with pytest.raises(HostError, match="destroyed meanwhile"), store.clone(sealed):
        pass
    install(store, "tiny-1", Build("another"))
    with pytest.raises(HostError, match="destroyed meanwhile"), store.clone(sealed):
        pass


def test_a_killed_installation_is_never_found_and_is_reaped(
    store: Store, home: Home, other: Other
) -> None:
    body = "(store.create('tiny-1', 'tiny-1').path / 'half').write_text('x'); say('half'); input()"
    with other(body) as process:
        heard(process, "half")
        assert store.reap() == []  # it lives
        process.kill()
    assert store.find("tiny-1") is None
    assert len(store.reap()) == 1
    assert list(home.boot_environments.iterdir()) == []
    assert install(store, "tiny-1").sealed


def test_a_killed_clone_is_reaped_and_frees_its_boot_environment(
    store: Store, sealed: BootEnv, home: Home, other: Other, tmp_path: Path
) -> None:
    body = f"""
at = Path({str(tmp_path / "x")!r})
with store.clone(store.find('tiny-1')) as clone, inside(clone, at) as host:
    host.run(['sh', '-c', 'mkdir /made; echo >/made/x'], check=True)
    say('cloned'); input()
"""
    with other(body) as process:
        heard(process, "cloned")
        there = list(home.clones.iterdir())
        assert store.reap() == []
        assert list(home.clones.iterdir()) == there
        process.kill()
    assert store.reap() == [str(path) for path in there]
    assert list(home.clones.iterdir()) == []
    store.destroy(sealed)


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_at_any_moment_leaves_a_whole_one_or_none(
    store: Store, other: Other, seed: int
) -> None:
    body = """
while True:
    install(store, 'tiny-1'); say('sealed')
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
        assert (found.path / "etc/release").read_text() == "tiny-1"
        store.destroy(found)
    assert install(store, "tiny-1").sealed


def test_what_is_not_ours_is_not_reaped(store: Store, sealed: BootEnv, home: Home) -> None:
    foreign = [
        home.boot_environments / ".snapshots",
        home.boot_environments / "mine",
        home.clones / "notes.2024",
        home.clones / ".keep",
    ]
    for path in foreign:
        path.mkdir()
    assert store.reap() == []
    assert all(path.is_dir() for path in foreign)
    assert store.bootenvs() == [sealed]


def test_a_hostile_tree_is_destroyed_and_nothing_else(
    store: Store, home: Home, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep/sentinel").write_text("untouched")
    (outside / "linked").write_text("untouched")
    bootenv = store.create("tiny-1", "tiny-1")
    root = bootenv.path
    (root / "out").symlink_to(outside)
    (root / "loop").symlink_to("loop")
    (root / "up").symlink_to("..")
    os.link(outside / "linked", root / "hard")
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(root / "fifo")
    (root / "locked").mkdir()
    (root / "locked/file").touch()
    (root / "locked").chmod(0)
    store.destroy(store.seal(bootenv, BUILD))
    assert list(home.boot_environments.iterdir()) == []
    assert (outside / "deep/sentinel").read_text() == "untouched"
    assert (outside / "linked").stat().st_nlink == 1


def test_what_a_test_nested_deeply_vanishes_with_its_clone(
    store: Store, sealed: BootEnv, home: Home, tmp_path: Path
) -> None:
    # Deeper than Python's recursion limit.
    script = "i=0; while [ $i -lt 1050 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done"
    with store.clone(sealed) as clone, inside(clone, tmp_path / "x") as host:
        host.run(["sh", "-c", f"cd /tmp; {script}"], check=True)
    assert list(home.clones.iterdir()) == []
