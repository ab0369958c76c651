"""Debian releases, really installed: from the mirror, from an archive, and on bad days."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from behunt import catalogue
from behunt.drive.filling import install_log
from behunt.drive.installing import check, ensure, install_all, name_of
from behunt.drive.lab import InterruptedTrialError, Lab, Settings, opened
from behunt.errors import InstallError, UsageError
from behunt.events import Event, InstallEnded, InstallProgress, Note
from behunt.families import debian
from behunt.hosts.confined import Confined
from behunt.install import INSTALLERS
from behunt.install.protocol import Order
from behunt.model import BootEnv, Package, Release
from behunt.runners.namespace import sandbox_of
from behunt.runners.protocol import Setup
from behunt.storage.home import Home

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]


def release_called(name: str, **changes: Any) -> Release:
    return replace(catalogue.find(catalogue.load("debian"), name, os="debian"), **changes)


@contextlib.contextmanager
def lab_in(home: Path, events: list[Event] | None = None, **settings: Any) -> Iterator[Lab]:
    emit = (events if events is not None else []).append
    with opened(home, "namespace", settings=Settings(**settings), emit=emit) as lab:
        yield lab


def how(events: Sequence[Event]) -> list[str]:
    return [event.how for event in events if isinstance(event, InstallEnded)]


def nothing_is_left(home: Home) -> None:
    assert list(home.boot_environments.iterdir()) == []
    assert list(home.archives.glob("*.partial")) == []


# Fresh installations


@dataclass
class Fresh:
    home: Path
    releases: list[Release]
    bootenvs: list[BootEnv]
    events: list[Event]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """Two releases, installed at once, in a home that knows no archives."""
    home = tmp_path_factory.mktemp("fresh") / "home"
    releases = [release_called("11"), release_called("12")]
    events: list[Event] = []
    with lab_in(home, events) as lab:
        bootenvs = install_all(lab, releases, jobs=2)
    return Fresh(home, releases, bootenvs, events)


def test_two_releases_are_installed_at_once(fresh: Fresh) -> None:
    assert how(fresh.events) == ["mmdebstrap", "mmdebstrap"]
    assert [b.name for b in fresh.bootenvs] == ["debian-11-amd64", "debian-12-amd64"]
    assert all(bootenv.sealed for bootenv in fresh.bootenvs)
    versions = [(b.path / "etc/debian_version").read_text()[:3] for b in fresh.bootenvs]
    assert versions == ["11.", "12."]
    assert mounts_below(fresh.home) == []


def mounts_below(path: Path) -> list[str]:
    rows = Path("/proc/self/mounts").read_text().splitlines()
    return [row for row in rows if str(path) in row]


def test_the_build_is_what_dpkg_says_inside(fresh: Fresh, tmp_path: Path) -> None:
    query = ["dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture}\\n"]
    with lab_in(fresh.home) as lab:
        for bootenv in fresh.bootenvs:
            with (
                lab.store.clone(bootenv) as clone,
                Confined(sandbox_of(clone, Setup(tmp_path, "x", "nobody"))) as inside,
            ):
                rows = inside.run(query, check=True).out.splitlines()
            packages = lab.store.build(bootenv).packages
            assert {Package(*row.split(" ")) for row in rows} == set(packages)
            assert {"bash", "dpkg", "libc6"} <= {package.name for package in packages}


def test_the_build_names_what_vouches_for_it(fresh: Fresh) -> None:
    with lab_in(fresh.home) as lab:
        for release, bootenv in zip(fresh.releases, fresh.bootenvs, strict=True):
            build = lab.store.build(bootenv)
            origin = INSTALLERS["mmdebstrap"].resolve(Order(release))
            assert build.origins == ((f"{origin.url} {release.codename}", origin.digest),)
            assert f"signed-by={release.trait('keyring')}" in build.recipe
            assert lab.results.build(bootenv.identity) == build


def test_the_installed_root_trusts_its_keyring_only(fresh: Fresh) -> None:
    for bootenv in fresh.bootenvs:
        sources = (bootenv.path / "etc/apt/sources.list").read_text()
        assert "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg" in sources
        assert "trusted=yes" not in sources


def test_what_the_installer_said_is_kept(fresh: Fresh) -> None:
    with lab_in(fresh.home) as lab:
        log = install_log(lab, name_of(fresh.releases[0])).read_text()
    assert "I: running apt-get update..." in log
    lines = [e.text for e in fresh.events if isinstance(e, InstallProgress)]
    assert log.splitlines()[0] in lines


def test_an_archive_makes_the_same_again_and_soon(
    fresh: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [tree(bootenv.path) for bootenv in fresh.bootenvs]
    events: list[Event] = []
    with lab_in(fresh.home, events) as lab:
        for bootenv in fresh.bootenvs:
            lab.store.destroy(bootenv)
        again = [ensure(lab, release) for release in fresh.releases]
    assert how(events) == ["archive", "archive"]
    assert [b.identity for b in again] == [b.identity for b in fresh.bootenvs]
    assert [tree(bootenv.path) for bootenv in again] == before
    with capsys.disabled():
        for event in events:
            if isinstance(event, InstallEnded):
                print(f"\n{event.release} from its archive: {event.seconds:.2f} s", end="")


def tree(root: Path) -> dict[str, tuple[int, ...]]:
    found = {}
    for path in root.rglob("*"):
        s = path.lstat()
        links = s.st_nlink if not path.is_dir() else 0
        found[str(path.relative_to(root))] = (s.st_mode, s.st_uid, s.st_gid, links, s.st_rdev)
    return found


def test_the_archive_serves_when_the_mirror_is_gone(fresh: Fresh, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/installed").symlink_to(fresh.home / "cache/installed")
    events: list[Event] = []
    gone = release_called("12", sources=("http://127.0.0.1:1/debian",))
    with lab_in(tmp_path, events) as lab:
        assert ensure(lab, gone).identity == fresh.bootenvs[1].identity
    assert how(events) == ["archive"]
    notes = [event for event in events if isinstance(event, Note)]
    assert "using the archive" in notes[0].text
    assert notes[0].warning


def test_the_same_release_is_installed_once_by_many(home: Home) -> None:
    events: list[Event] = []
    release = release_called("12")
    with (
        lab_in(home.path, events) as one,
        lab_in(home.path, events) as two,
        ThreadPoolExecutor(4) as pool,
    ):
        found = list(pool.map(lambda lab: ensure(lab, release), [one, two, one, two]))
    assert len(how(events)) == 1
    assert len(set(found)) == 1


def test_unstable_is_installed_although_its_release_file_may_have_expired(home: Home) -> None:
    events: list[Event] = []
    sid = release_called("sid")
    with lab_in(home.path, events) as lab:
        build = lab.store.build(ensure(lab, sid))
    origin = INSTALLERS["mmdebstrap"].resolve(Order(sid))
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any("expired on" in note for note in build.notes) == origin.expired
    assert [f"{sid.id}: {note}" for note in build.notes] == notes


def test_packages_are_part_of_the_name_and_the_identity(home: Home) -> None:
    release = release_called("12")
    with lab_in(home.path) as lab:
        plain = ensure(lab, release)
    with lab_in(home.path, packages=("hello", "hello")) as lab:
        more = ensure(lab, release)
        names = {package.name for package in lab.store.build(more).packages}
    assert (plain.name, more.name) == ("debian-12-amd64", "debian-12-amd64+hello")
    assert "hello" in names
    assert plain.identity != more.identity
    assert (more.path / "usr/bin/hello").is_file()


def test_a_long_list_of_packages_still_makes_a_name() -> None:
    release = release_called("12")
    many = [f"package-number-{number}" for number in range(40)]
    assert len(name_of(release, many)) < 60
    assert name_of(release, many) == name_of(release, many[::-1]) != name_of(release, many[1:])


# What cannot be installed


def refused(home: Home, release: Release, **settings: Any) -> InstallError:
    """The error of an installation that must not work, which leaves nothing."""
    with lab_in(home.path, **settings) as lab:
        with pytest.raises(InstallError) as caught:
            ensure(lab, release)
        nothing_is_left(lab.home)
        return caught.value


def test_a_package_that_is_not_there(home: Home) -> None:
    error = refused(home, release_called("12"), packages=("no-such-package-as-this",))
    assert "Unable to locate package no-such-package-as-this" in error.message
    assert "leave it out of --package" in error.hint


@pytest.mark.parametrize("name", ["../x", "a,b", "-y", "libc6:i386", "bash=5", "Bash", "", "?all"])
def test_what_is_no_packages_name_is_refused_before_anything_is_done(home: Home, name: str) -> None:
    with (
        lab_in(home.path, packages=(name,)) as lab,
        pytest.raises(UsageError, match="cannot be the name of a Debian package"),
    ):
        check(lab, [release_called("12")])


# Signatures


@pytest.fixture
def wrong_keyring(tmp_path: Path) -> Path:
    """A keyring with a fresh key that nobody has signed anything with."""
    return make_key(tmp_path / "gnupg", tmp_path / "wrong.gpg")


def make_key(gnupg: Path, keyring: Path) -> Path:
    gnupg.mkdir(mode=0o700)
    env = {**os.environ, "GNUPGHOME": str(gnupg)}
    name = "nobody@example.org"
    make = ["gpg", "--batch", "--passphrase", "", "--quick-gen-key", name, "ed25519"]
    subprocess.run(make, check=True, env=env, capture_output=True)
    subprocess.run(["gpg", "--export", "-o", keyring, name], check=True, env=env)
    subprocess.run(["gpgconf", "--kill", "all"], check=True, env=env)
    return keyring


@pytest.mark.parametrize("name", ["11", "12", "sid"])
def test_a_key_that_the_machine_trusts_is_not_enough(
    home: Home, wrong_keyring: Path, name: str
) -> None:
    """apt of the machine trusts the right key; the installation must trust the named one only."""
    error = refused(home, release_called(name), keyring=str(wrong_keyring))
    assert "GPG error" in error.message
    assert "NO_PUBKEY" in error.message
    assert "signature" in error.hint


def test_what_is_installed_does_not_vouch_for_another_key(home: Home, wrong_keyring: Path) -> None:
    release = release_called("12")
    with lab_in(home.path) as lab:
        trusted = ensure(lab, release)
    assert "NO_PUBKEY" in refused(home, release, keyring=str(wrong_keyring)).message
    with lab_in(home.path) as lab:
        assert ensure(lab, release).identity == trusted.identity


def test_a_keyring_of_its_name_is_found_in_a_directory(
    home: Home, wrong_keyring: Path, tmp_path: Path
) -> None:
    named = tmp_path / "keyrings"
    named.mkdir()
    release = release_called("12")
    order = Order(release, keyring=str(named))
    assert f"{named}/debian-archive-keyring.gpg is missing" in INSTALLERS["mmdebstrap"].missing(
        order
    )
    shutil.copy(wrong_keyring, named / "debian-archive-keyring.gpg")
    assert "NO_PUBKEY" in refused(home, release, keyring=str(named)).message


def test_a_keyring_that_is_not_there(home: Home, tmp_path: Path) -> None:
    error = refused(home, release_called("12"), keyring=str(tmp_path / "no.gpg"))
    assert "no.gpg is missing" in error.message


@dataclass
class Mirror:
    """A small web server; `asked` are the paths that were wanted of it."""

    directory: Path
    url: str
    asked: list[str]

    def file(self, path: str, content: bytes) -> None:
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


class Serving(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args: Any, asked: list[str], **kwargs: Any) -> None:
        self.asked = asked
        super().__init__(*args, **kwargs)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        del format, args
        self.asked.append(self.path)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    directory = tmp_path / "mirror"
    directory.mkdir()
    asked: list[str] = []
    handler = functools.partial(Serving, directory=str(directory), asked=asked)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Mirror(directory, f"http://127.0.0.1:{server.server_port}", asked)
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def bookworm() -> bytes:
    """The true InRelease of Debian 12."""
    url = INSTALLERS["mmdebstrap"].resolve(Order(release_called("12"))).url
    with urllib.request.urlopen(f"{url}/dists/bookworm/InRelease") as answer:
        content: bytes = answer.read()
        return content


def at(mirror: Mirror) -> Release:
    """Debian 12 where only `mirror` has it; an installation that no archive can spare."""
    return release_called("12", sources=(f"{mirror.url}/debian",))


def test_a_release_file_that_was_changed(home: Home, mirror: Mirror, bookworm: bytes) -> None:
    assert b"Suite: oldstable" in bookworm or b"Suite: stable" in bookworm
    mirror.file("debian/dists/bookworm/InRelease", bookworm.replace(b"Suite: ", b"Suite: not", 1))
    error = refused(home, at(mirror), packages=("hello",))
    assert "signature" in error.message + error.hint
    assert "BADSIG" in error.message


def test_a_release_file_without_a_signature(home: Home, mirror: Mirror, bookworm: bytes) -> None:
    text = bookworm.split(b"\n\n", 1)[1].split(b"-----BEGIN PGP SIGNATURE")[0]
    mirror.file("debian/dists/bookworm/Release", text)
    error = refused(home, at(mirror), packages=("hello",))
    assert "not signed" in error.message
    assert "signature" in error.hint
    assert "/debian/dists/bookworm/Release" in mirror.asked


def test_a_release_file_signed_by_somebody_else(
    home: Home, mirror: Mirror, bookworm: bytes, tmp_path: Path
) -> None:
    make_key(tmp_path / "gnupg", tmp_path / "theirs.gpg")
    text = bookworm.split(b"\n\n", 1)[1].split(b"-----BEGIN PGP SIGNATURE")[0]
    env = {**os.environ, "GNUPGHOME": str(tmp_path / "gnupg")}
    sign = ["gpg", "--batch", "--clearsign"]
    signed = subprocess.run(sign, input=text, check=True, env=env, capture_output=True).stdout
    subprocess.run(["gpgconf", "--kill", "all"], check=True, env=env)
    mirror.file("debian/dists/bookworm/InRelease", signed)
    error = refused(home, at(mirror), packages=("hello",))
    assert "NO_PUBKEY" in error.message


# Mirrors


def test_an_expired_release_file_is_noted(mirror: Mirror) -> None:
    order = Order(at(mirror))
    path = "debian/dists/bookworm/InRelease"
    content = b"Suite: x\nValid-Until: Sat, 01 Feb 2020 10:00:00 UTC\n"
    mirror.file(path, content)
    origin = INSTALLERS["mmdebstrap"].resolve(order)
    assert origin.expired
    assert origin.digest == hashlib.sha256(content).hexdigest()
    assert "expired on 2020-02-01" in origin.notes[0]
    mirror.file(path, b"Suite: x\nValid-Until: Sat, 01 Feb 2120 10:00:00 UTC\n")
    assert not INSTALLERS["mmdebstrap"].resolve(order).expired


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_every_source_that_was_tried_is_named(home: Home, mirror: Mirror) -> None:
    closed = f"http://127.0.0.1:{closed_port()}/debian"
    unknown = "http://mirror.invalid/debian"
    release = release_called("12", sources=(f"{mirror.url}/debian", closed, unknown))
    error = refused(home, release, packages=("hello", "bash-doc"))
    answers = error.message.split("; ")
    assert f"{mirror.url}/debian/dists/bookworm/InRelease answered 404" in answers[0]
    for url, reason in ((closed, "Connection refused"), (unknown, "")):
        told = [answer for answer in answers if answer.startswith(url)]
        assert told
        assert all("could not be read" in answer and reason in answer for answer in told)
    assert "--mirror" in error.hint


def test_a_mirror_of_the_users_is_tried_first(mirror: Mirror) -> None:
    mirror.file("mine/dists/bookworm/InRelease", b"Suite: mine\n")
    mirror.file("theirs/dists/bookworm/InRelease", b"Suite: theirs\n")
    release = release_called("12", sources=(f"{mirror.url}/theirs",))
    origin = INSTALLERS["mmdebstrap"].resolve(Order(release, mirror=f"{mirror.url}/mine/"))
    assert origin.url == f"{mirror.url}/mine"
    assert INSTALLERS["mmdebstrap"].resolve(Order(release)).url == f"{mirror.url}/theirs"


class Proxying(Serving):
    """Answers for every machine there is."""

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix("http://elsewhere.invalid"))


def test_the_proxy_of_the_machines_apt_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "debian/dists/bookworm").mkdir(parents=True)
    (tmp_path / "debian/dists/bookworm/InRelease").write_text("Suite: x\n")
    asked: list[str] = []
    handler = functools.partial(Proxying, directory=str(tmp_path), asked=asked)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        conf = f'Acquire::http::Proxy "http://127.0.0.1:{server.server_port}";\n'
        (tmp_path / "apt.conf").write_text(conf)
        monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
        release = release_called("12", sources=("http://elsewhere.invalid/debian",))
        origin = INSTALLERS["mmdebstrap"].resolve(Order(release))
        server.shutdown()
        thread.join()
    assert origin.url == "http://elsewhere.invalid/debian"
    assert asked == ["http://elsewhere.invalid/debian/dists/bookworm/InRelease"]


def test_every_row_of_the_catalogue_that_is_for_mmdebstrap_can_be_ordered() -> None:
    rows = [r for r in catalogue.load("debian").releases if r.trait("installer") == "mmdebstrap"]
    assert {"3.0", "7", "11", "12", "13", "14", "sid"} <= {row.version for row in rows}
    for row in rows:
        assert row.trait("suite"), row.id
        assert row.trait("components").startswith("main"), row.id
        assert all(url.startswith("http://") for url in row.sources), row.id
        assert row.sources, row.id
        assert INSTALLERS["mmdebstrap"].missing(Order(row)) == "", row.id
    live = [row.version for row in rows if debian.DEFAULT_MIRROR in row.sources]
    assert live == ["11", "12", "13", "14", "sid"]


# Bad days


CHILD = """
import sys
sys.path[:0] = [{root!r}, {here!r}]
from pathlib import Path
from test_mmdebstrap import lab_in, release_called
from behunt.drive.installing import ensure
from behunt.errors import BehuntError
class Told(list):
    def append(self, event):
        print(type(event).__name__, getattr(event, "text", ""), flush=True)
with lab_in(Path({home!r}), Told()) as lab:
    try:
        ensure(lab, release_called("12"))
    except BehuntError as error:
        print("error:", error.message)
        print("hint:", error.hint)
        print("left:", [p.name for p in lab.home.boot_environments.iterdir()])
        print("archives:", [p.name for p in lab.home.archives.iterdir()])
"""


def child(home: Path) -> list[str]:
    code = CHILD.format(root=str(ROOT), here=str(ROOT / "tests/real"), home=str(home))
    return [sys.executable, "-c", code]


def test_a_full_disk(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").make()
    mount = f'mount -t tmpfs -o size=60m tmpfs {home.boot_environments} && exec "$@"'
    argv = ["unshare", "-m", "sh", "-c", mount, "sh", *child(home.path)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    assert said["error"].startswith("mmdebstrap could not install debian-12-amd64")
    assert "No space left" in done.stdout
    assert "make room" in said["hint"]
    assert (said["left"], said["archives"]) == ("[]", "[]")


def processes_about(path: Path) -> list[str]:
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(path).encode() in cmdline.read_bytes():
                found.append(cmdline.parent.name)
    return found


def gone(what: Callable[[], Sequence[object]], seconds: float = 20) -> bool:
    """Whether `what` becomes empty: the kernel ends the orphans of a killed process by itself."""
    end = time.monotonic() + seconds
    while what() and time.monotonic() < end:
        time.sleep(0.05)
    return not what()


@pytest.mark.parametrize("moment", ["running apt-get update", "installing essential packages"])
def test_sigkill_leaves_no_process_and_no_mount(tmp_path: Path, moment: str) -> None:
    home = Home(tmp_path / "home").make()
    with subprocess.Popen(child(home.path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(moment in line for line in process.stdout)
        assert processes_about(home.path)
        process.kill()
    assert gone(lambda: processes_about(home.path))
    assert mounts_below(home.path) == []
    assert len(list(home.boot_environments.iterdir())) == 1
    with lab_in(home.path):
        nothing_is_left(home)


@pytest.mark.timeout(120)
def test_an_installation_can_be_interrupted(tmp_path: Path) -> None:
    stopping: list[threading.Thread] = []

    class StopAtUpdate(list[Event]):
        def append(self, event: Event) -> None:
            text = event.text if isinstance(event, InstallProgress) else ""
            if "running apt-get update" in text and not stopping:
                stopping.append(threading.Thread(target=lab.stop))
                stopping[0].start()

    with lab_in(tmp_path / "home", StopAtUpdate()) as lab:
        with pytest.raises(InterruptedTrialError):
            ensure(lab, release_called("12"))
        stopping[0].join()
        nothing_is_left(lab.home)
    assert gone(lambda: processes_about(tmp_path))
