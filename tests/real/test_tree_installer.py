"""Releases of a user's own catalogue: installed from a directory or a tarball, however hostile."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_root import tiny_root

from behunt import catalogue
from behunt.drive.installing import check, ensure, have
from behunt.drive.lab import Lab, Settings, opened
from behunt.drive.trial import answer
from behunt.errors import CatalogueError, InstallError, UsageError
from behunt.events import Event, InstallEnded
from behunt.install import INSTALLERS, installer_for
from behunt.model import BootEnv, Outcome, Release
from behunt.suites.asking import command

pytestmark = pytest.mark.real


class Own:
    """A user's catalogue, in a directory of his."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()

    def release(self, row: str, version: str = "1") -> Release:
        text = f'os = "demo"\n[[release]]\nversion = "{version}"\n{row}\n'
        (self.directory / "demo.toml").write_text(text)
        known = catalogue.load("demo", extra=[self.directory / "demo.toml"])
        return catalogue.find(known, version)

    def tarball(self, name: str = "root.tar", *options: str) -> Path:
        if not (self.directory / "root").exists():
            tiny_root(self.directory / "root")
        path = self.directory / name
        argv = ["tar", "-C", self.directory / "root", *options, "-cf", path, "."]
        subprocess.run(argv, check=True)
        return path


@pytest.fixture
def own(tmp_path: Path) -> Own:
    return Own(tmp_path / "own")


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def lab(tmp_path: Path, events: list[Event]) -> Iterator[Lab]:
    settings = Settings(retries=0)
    with opened(tmp_path / "home", "namespace", settings=settings, emit=events.append) as lab:
        yield lab


def said(lab: Lab, release: Release, *argv: str) -> str:
    trial = answer(lab, release, command(argv)).trial
    assert trial.outcome is Outcome.PASSED, trial.reason
    return Path(trial.log).read_text()


def how(events: list[Event]) -> list[str]:
    return [event.how for event in events if isinstance(event, InstallEnded)]


def test_a_users_release_with_a_source_is_for_the_tree_installer(own: Own) -> None:
    tiny_root(own.directory / "root")
    assert installer_for(own.release('source = "root"')) is INSTALLERS["tree"]
    with pytest.raises(InstallError, match="demo-1-amd64 has no source"):
        installer_for(own.release("", "1"))


def test_a_directory_is_copied(own: Own, lab: Lab, events: list[Event]) -> None:
    root = tiny_root(own.directory / "root")
    (root / "etc/word").write_text("from a directory\n")
    (root / "bin/rootly").write_bytes(b"")
    (root / "bin/rootly").chmod(0o4755)
    os.chown(root / "etc/word", 33, 44)
    os.link(root / "etc/word", root / "etc/same")
    release = own.release('source = "root"')
    assert said(lab, release, "cat", "/etc/word") == "from a directory\n"
    bootenv = ensure(lab, release)
    assert bootenv.identity
    assert bootenv.path.joinpath("bin/rootly").stat().st_mode & 0o7777 == 0o4755
    word = bootenv.path.joinpath("etc/word").stat()
    assert (word.st_uid, word.st_gid, word.st_nlink) == (33, 44, 2)
    assert bootenv.path.joinpath("bin/sh").is_symlink()
    assert how(events) == ["tree"]
    assert list(lab.home.archives.iterdir()) == []  # the source is at hand


@pytest.mark.parametrize(
    ("name", "option"),
    [("r.tar", ""), ("r.tar.gz", "-z"), ("r.tar.xz", "-J"), ("r.tzst", "--zstd")],
)
def test_a_tarball_is_unpacked(own: Own, lab: Lab, name: str, option: str) -> None:
    path = own.tarball(name, *([option] if option else []))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    release = own.release(f'source = "{name}"\nsha256 = "{digest}"')
    assert said(lab, release, "echo", "hello") == "hello\n"
    build = lab.store.build(ensure(lab, release))
    assert build.origins == ((str(path), digest),)


def test_a_digest_that_does_not_fit_is_an_error(own: Own, lab: Lab) -> None:
    own.tarball()
    release = own.release(f'source = "root.tar"\nsha256 = "{"0" * 64}"')
    with pytest.raises(InstallError, match=f"its SHA-256 is [0-9a-f]{{64}}, not {'0' * 64}"):
        ensure(lab, release)
    nothing_is_left(lab)


def test_a_source_that_is_not_there_is_an_error(own: Own, lab: Lab) -> None:
    with pytest.raises(CatalogueError, match=r"its source .*/root is not there"):
        own.release('source = "root"')
    path = own.tarball()
    release = own.release('source = "root.tar"')
    path.unlink()
    with pytest.raises(InstallError, match=r"the source of demo-1-amd64 is not there: .*root.tar"):
        ensure(lab, release)
    nothing_is_left(lab)


def nothing_is_left(lab: Lab) -> None:
    assert list(lab.home.boot_environments.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no tarball\n" * 1000, b"\x1f\x8b\x08broken"])
def test_what_is_no_tarball_is_an_error(own: Own, lab: Lab, content: bytes) -> None:
    (own.directory / "root.tar.gz").write_bytes(content)
    release = own.release('source = "root.tar.gz"')
    with pytest.raises(InstallError, match="cannot install demo-1-amd64 from"):
        ensure(lab, release)
    nothing_is_left(lab)


def test_packages_cannot_be_added_to_it(own: Own, tmp_path: Path) -> None:
    own.tarball()
    release = own.release('source = "root.tar"')
    with (
        opened(tmp_path / "home", "namespace", settings=Settings(packages=("curl",))) as lab,
        pytest.raises(UsageError, match="no packages can be added to demo-1-amd64"),
    ):
        check(lab, [release])


# The user's source is his: it changes


def test_a_changed_directory_is_installed_again_and_asked_again(
    own: Own, tmp_path: Path, events: list[Event]
) -> None:
    root = tiny_root(own.directory / "root")
    words = ["one", "two", "two"]
    identities = []
    for word in words:
        if not (root / "etc/word").exists() or (root / "etc/word").read_text() != word:
            (root / "etc/word").write_text(word)
        release = own.release('source = "root"')
        with opened(tmp_path / "home", "namespace", emit=events.append) as lab:
            assert said(lab, release, "cat", "/etc/word") == word
            identities.append(ensure(lab, release).identity)
    assert how(events) == ["tree", "tree"]
    assert identities[0] != identities[1] == identities[2]


def test_two_catalogues_may_call_different_trees_the_same(tmp_path: Path) -> None:
    for name in ("first", "second"):
        own = Own(tmp_path / name)
        root = tiny_root(own.directory / "root")
        (root / "etc/word").write_text(name)
        with opened(tmp_path / "home", "namespace") as lab:
            assert said(lab, own.release('source = "root"'), "cat", "/etc/word") == name


def test_a_source_that_has_gone_is_missed_although_it_was_installed(
    own: Own, tmp_path: Path
) -> None:
    path = own.tarball()
    release = own.release('source = "root.tar"')
    with opened(tmp_path / "home", "namespace") as lab:
        ensure(lab, release)
        path.unlink()
        assert have(lab, release)  # looked at once in the life of a lab
    with opened(tmp_path / "home", "namespace") as lab:
        assert have(lab, release) is None
        with pytest.raises(InstallError, match="is not there"):
            ensure(lab, release)


# A tarball is not to be trusted

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, content: bytes = b"evil\n", **fields: object) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def symlink(name: str, target: str) -> Member:
    return member(name, b"", type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> Member:
    return member(name, b"", type=tarfile.LNKTYPE, linkname=target)


Hostile = Callable[[Path], list[Member]]
UP = "../" * 30

HOSTILE: dict[str, Hostile] = {
    "absolute name": lambda out: [member(f"{out}/new"), member(f"{out}/sentinel")],
    "a name that climbs out": lambda out: [member(f"{UP}{out}/new"), member(f"a/{UP}{out}/new")],
    "through an absolute link": lambda out: [symlink("l", str(out)), member("l/new")],
    "through a link that climbs out": lambda out: [
        symlink("l", f"{UP}{out}"),
        member("l/new"),
        member("l/sentinel"),
    ],
    "through two links": lambda out: [
        symlink("a", ".."),
        symlink("b", f"a/{UP}{out}"),
        member("b/new"),
    ],
    "onto a link to a file": lambda out: [symlink("l", f"{out}/sentinel"), member("l")],
    "a directory over a link": lambda out: [
        symlink("l", str(out)),
        member("l", b"", type=tarfile.DIRTYPE, mode=0o777),
        member("l/new"),
    ],
    "a hard link out, then written": lambda out: [
        hard_link("h", f"{out}/sentinel"),
        member("h", b"evil\n"),
    ],
    "a hard link that climbs out": lambda out: [
        hard_link("h", f"{UP}{out}/sentinel"),
        member("h"),
    ],
    "a link out, a hard link through it": lambda out: [
        symlink("l", str(out)),
        hard_link("h", "l/sentinel"),
        member("h"),
    ],
    "the mode of what a link leads to": lambda out: [
        symlink("l", f"{out}/sentinel"),
        member("l/.", b"", type=tarfile.DIRTYPE, mode=0o4777),
    ],
    "an owner for what a link leads to": lambda out: [
        symlink("l", str(out)),
        member("l/", b"", type=tarfile.DIRTYPE, uid=12345, mode=0o4777),
    ],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_outside_the_root_is_touched(own: Own, lab: Lab, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "sentinel").write_text("untouched")
    before = look(outside)
    try:
        bootenv: BootEnv | None = ensure(lab, hostile_release(own, HOSTILE[name](outside)))
    except InstallError:
        bootenv = None
        nothing_is_left(lab)
    assert look(outside) == before
    if bootenv is not None:
        # What arrived there lies in the root; and looking at it from inside leads nowhere.
        assert (outside / "sentinel").stat().st_nlink == 1
        seen = answer(lab, ensure_release(own), command(["cat", f"{outside}/sentinel"])).trial
        assert b"untouched" not in Path(seen.log).read_bytes()


def hostile_release(own: Own, members: list[Member]) -> Release:
    path = own.tarball()
    with tarfile.open(path, "a") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return ensure_release(own)


def ensure_release(own: Own) -> Release:
    return own.release('source = "root.tar"')


def look(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    return {
        str(path): (s.st_mode, s.st_uid, s.st_nlink, path.read_bytes() if path.is_file() else b"")
        for path in (directory, *directory.rglob("*"))
        for s in [path.lstat()]
    }


def test_devices_and_set_uid_programs_are_harmless(own: Own, lab: Lab) -> None:
    """They belong to a root; inside they can be seen, and a device cannot be opened."""
    disk = os.stat("/").st_dev  # noqa: PTH116
    members = [
        member(
            "disk",
            b"",
            type=tarfile.BLKTYPE,
            devmajor=os.major(disk),
            devminor=os.minor(disk),
            mode=0o666,
        ),
        member("kmsg", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=11, mode=0o666),
        member("rootly", b"#!/bin/sh\n", mode=0o6755),
    ]
    release = hostile_release(own, members)
    bootenv = ensure(lab, release)
    assert stat.S_IMODE((bootenv.path / "rootly").stat().st_mode) == 0o6755
    for name in ("disk", "kmsg"):
        trial = answer(lab, release, command(["head", "-c", "1", f"/{name}"])).trial
        assert trial.outcome is Outcome.FAILED
        assert b"Permission denied" in Path(trial.log).read_bytes()
    # Nobody but root comes near the set-uid program from outside.
    assert stat.S_IMODE(lab.home.boot_environments.stat().st_mode) == 0o700


def test_a_tarball_that_is_a_bomb_leaves_nothing(own: Own, tmp_path: Path) -> None:
    """Larger than the disk: in a mount namespace of its own, where the home is a small tmpfs."""
    with tarfile.open(own.tarball("root.tar.gz", "-z"), "w:gz") as archive:
        info = tarfile.TarInfo("bomb")
        info.size = 64 << 20
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    own.release('source = "root.tar.gz"')
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import opened
from behunt.errors import InstallError
known = catalogue.load("demo", extra=[Path({str(own.directory)!r}) / "demo.toml"])
with opened(Path({str(tmp_path)!r}) / "home", "namespace") as lab:
    try:
        ensure(lab, catalogue.find(known, "1"))
    except InstallError as error:
        print(error.message, list(lab.home.boot_environments.iterdir()))
"""
    (tmp_path / "home").mkdir()
    mount = f'mount -t tmpfs -o size=16m tmpfs {tmp_path}/home && exec "$@"'
    argv = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", code]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cannot install demo-1-amd64" in done.stdout
    assert done.stdout.endswith("[]\n")
