"""Small FreeBSD releases of every era, whole and damaged, unpacked from a mirror's tree."""

from __future__ import annotations

import re
import shutil
import stat
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import release_sets

from behunt.catalogue import find, load
from behunt.errors import InstallError
from behunt.install import SETS
from behunt.install.protocol import Order
from behunt.model import Build, Release

pytestmark = pytest.mark.real


def release(version: str) -> Release:
    """As the catalogue has it, but without anything on the network."""
    found = find(load("freebsd"), version, arch="i386")
    return replace(found, sources=())


def made(tmp_path: Path, version: str) -> Path:
    """A directory on a mirror that has `version`."""
    directory = tmp_path / f"pub/FreeBSD/releases/i386/{version}-RELEASE"
    directory.mkdir(parents=True)
    return release_sets.freebsd(directory, version)


class Site:
    """Where one test installs."""

    def __init__(self, tmp_path: Path) -> None:
        self.mirror = tmp_path / "pub"
        self.root = tmp_path / "root"
        self.root.mkdir()
        self.said: list[str] = []

    def install(self, version: str, **order: object) -> Build:
        what = Order(release(version), mirror=str(self.mirror), **order)  # type: ignore[arg-type]
        assert SETS.missing(what) == ""
        return SETS.install(what, SETS.resolve(what), self.root, self.said.append)

    def refuses(self, version: str, **order: object) -> str:
        """Why, and that not a byte was written."""
        with pytest.raises(InstallError) as caught:
            self.install(version, **order)
        assert caught.value.hint
        written = [path for path in self.root.iterdir() if path.name != ".behunt"]
        assert written == []
        return caught.value.message


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize(
    ("version", "kernel"),
    [
        ("2.2.8", "kernel"),
        ("4.11", "kernel"),
        ("5.3", "boot/kernel/kernel"),
        ("6.0", "boot/kernel/kernel"),
        ("8.4", "boot/kernel/kernel"),
        ("9.3", "boot/kernel/kernel"),
        ("11.1", "boot/kernel/kernel"),
    ],
)
def test_every_era(site: Site, tmp_path: Path, version: str, kernel: str) -> None:
    made(tmp_path, version)
    build = site.install(version)
    root = site.root
    assert f"FreeBSD {version}-RELEASE".encode() in (root / kernel).read_bytes()
    assert not (root / ".behunt").exists()
    assert not (root / "boot/GENERIC").exists()
    assert not (root / "usr/share/doc").exists()
    assert stat.S_IMODE((root / "bin/su").stat().st_mode) == 0o4555
    assert (root / "usr/bin/chfn").samefile(root / "usr/bin/chpass")
    assert (root / "usr/tmp").readlink() == Path("/var/tmp")
    assert (root / "lib/a file").read_text() == "with a blank in its name\n"
    assert build.recipe == SETS.recipe(Order(release(version)))
    assert build.notes[0].startswith("unverified source")
    assert str(tmp_path) not in build.recipe


def test_file_flags_are_told_and_do_not_stay_behind(site: Site, tmp_path: Path) -> None:
    """An immutable file in an overlay store could never be removed."""
    made(tmp_path, "11.1")
    build = site.install("11.1")
    assert build.notes[-1] == "file flags such as schg are not kept here: 3, named in the log"
    assert "not set here: ./bin/su flags=schg" in site.said
    (site.root / "bin/su").unlink()


def test_device_nodes_of_old_are_left_out(site: Site, tmp_path: Path) -> None:
    made(tmp_path, "4.11")
    build = site.install("4.11")
    assert (site.root / "dev").is_dir()
    assert not (site.root / "dev/null").exists()
    assert build.notes[-1] == "device nodes left out: 1"


@pytest.mark.parametrize("version", ["8.4", "11.1"])
def test_sets_may_be_named(site: Site, tmp_path: Path, version: str) -> None:
    made(tmp_path, version)
    build = site.install(version, sets=("doc", "base"))
    assert build.recipe == f"sets base doc of freebsd-{version}-i386"
    assert (site.root / "usr/share/doc/README").read_text() == "read me\n"
    assert not (site.root / "boot/kernel/kernel").exists()
    assert "boot/kernel/kernel does not say what it is" in site.said


def test_directories_may_be_there_already(site: Site, tmp_path: Path) -> None:
    """As the mount points of a nested boot environment are."""
    made(tmp_path, "11.1")
    (site.root / "usr/include").mkdir(parents=True)
    site.install("11.1")
    assert (site.root / "usr/include/sys/param.h").is_file()


def test_the_build_names_what_vouched(site: Site, tmp_path: Path) -> None:
    directory = made(tmp_path, "11.1")
    order = Order(release("11.1"), mirror=str(site.mirror))
    origin = SETS.resolve(order)
    build = SETS.install(order, origin, site.root, site.said.append)
    names = [url.removeprefix(f"{directory}/") for url, _ in build.origins]
    assert names == ["MANIFEST", "base", "kernel"]
    assert origin.digest in dict(build.origins).values()
    lines = (directory / "MANIFEST").read_text().splitlines()
    assert build.origins[1][1] == lines[0].split("\t")[1]


# ---- damaged


def grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def flipped(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (Path.unlink, "base/base.ab is damaged: it is missing"),
        (grown, r"base/base.ab is damaged: it has 4097 bytes, not 4096"),
        (cut, r"base/base.ab is damaged: it has 3996 bytes, not 4096"),
        (flipped, r"base/base.ab is damaged: its cksum is \d+, not \d+"),
    ],
)
def test_a_damaged_piece(site: Site, tmp_path: Path, damage: object, why: str) -> None:
    directory = made(tmp_path, "8.4")
    assert callable(damage)
    damage(directory / "base/base.ab")
    assert re.match(why, site.refuses("8.4"))


def test_a_piece_of_the_right_cksum_but_another_digest(site: Site, tmp_path: Path) -> None:
    base = made(tmp_path, "8.4") / "base"
    flipped(base / "base.ab")
    release_sets.inf(base, "base")
    told = (base / "CHECKSUM.SHA256").read_text()
    release_sets.vouch(base, ["sha256"])
    new = (base / "CHECKSUM.SHA256").read_text()
    kept = next(line for line in told.splitlines() if "(base.ab)" in line)
    (base / "CHECKSUM.SHA256").write_text(re.sub(r"SHA256 \(base.ab\) = \w+", kept, new))
    assert re.match("base/base.ab is damaged: its sha256 is", site.refuses("8.4"))


def test_a_number_of_pieces_that_is_wrong(site: Site, tmp_path: Path) -> None:
    base = made(tmp_path, "8.4") / "base"
    inf = (base / "base.inf").read_text()
    (base / "base.inf").write_text(inf.replace("Pieces =  3", "Pieces =  4"))
    assert "base/base.inf is damaged" in site.refuses("8.4")
    release_sets.vouch(base, ["md5", "sha256"])
    assert "its .inf says 4 pieces and lists 3" in site.refuses("8.4")


def test_a_description_that_was_changed(site: Site, tmp_path: Path) -> None:
    base = made(tmp_path, "8.4") / "base"
    text = (base / "base.mtree").read_text()
    (base / "base.mtree").write_text(text.replace("size=25", "size=26"))
    assert "base/base.mtree is damaged: base/CHECKSUM.SHA256 has another" in site.refuses("8.4")
    release_sets.vouch(base, ["md5", "sha256"])
    assert "is not what its .mtree describes: etc/motd has 25 bytes" in site.refuses("8.4")


def test_content_that_is_not_what_was_described(site: Site, tmp_path: Path) -> None:
    base = made(tmp_path, "8.4") / "base"
    text = (base / "base.mtree").read_text()
    wrong = re.sub(r"(motd .*md5=)\w+", rf"\g<1>{'0' * 32}", text)
    assert wrong != text
    (base / "base.mtree").write_text(wrong)
    release_sets.vouch(base, ["md5", "sha256"])
    with pytest.raises(InstallError, match=r"etc/motd of base is not what its .mtree describes"):
        site.install("8.4")


def test_a_count_of_members_that_is_wrong(site: Site, tmp_path: Path) -> None:
    directory = made(tmp_path, "11.1")
    archives = {name: directory / f"{name}.txz" for name in ("base", "kernel", "doc")}
    release_sets.manifest(directory, archives, counts={"kernel": 5})
    assert "the set kernel has 4 members, not the 5 that its manifest" in site.refuses("11.1")


@pytest.mark.parametrize("damage", [flipped, cut, grown, Path.unlink])
def test_a_damaged_archive(site: Site, tmp_path: Path, damage: object) -> None:
    directory = made(tmp_path, "11.1")
    assert callable(damage)
    damage(directory / "kernel.txz")
    assert "kernel.txz is damaged: it" in site.refuses("11.1")


def test_an_archive_that_ends_too_early(site: Site, tmp_path: Path) -> None:
    """And whoever cut it made its manifest, too."""
    directory = made(tmp_path, "11.1")
    counts = {"base": 21, "kernel": 4}
    cut(directory / "base.txz")
    archives = {name: directory / f"{name}.txz" for name in counts}
    release_sets.manifest(directory, archives, counts=counts)
    assert "the set base cannot be read: " in site.refuses("11.1")


def test_sets_of_another_release(site: Site, tmp_path: Path) -> None:
    made(tmp_path, "11.0").rename(tmp_path / "pub/FreeBSD/releases/i386/11.1-RELEASE")
    with pytest.raises(InstallError, match=r"not the sets of freebsd-11.1-i386.*11.0-RELEASE"):
        site.install("11.1")


def elf(machine: int) -> bytes:
    """The header of a 64-bit little-endian program."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0" + machine.to_bytes(2, "little") + bytes(44)


@pytest.mark.parametrize(
    ("shell", "why"),
    [
        (elf(3), ""),
        (elf(62), "its programs are for amd64"),
        (elf(183), "its programs are for arm64"),
        (elf(2), ""),
        (b"\x7fELF", ""),
        (b"#!/bin/csh -f and twenty bytes more\n", ""),
    ],
)
def test_sets_of_another_architecture(site: Site, tmp_path: Path, shell: bytes, why: str) -> None:
    """A directory that holds sets and nothing else does not say for which."""
    tree = release_sets.freebsd_world(tmp_path / "tree", "11.1")
    (tree / "bin/sh").write_bytes(shell)
    release_sets.manifest(site.mirror, {"base": release_sets.txz(site.mirror, "base", tree)})
    if why:
        with pytest.raises(InstallError, match=f"not the sets of freebsd-11.1-i386: {why}"):
            site.install("11.1", sets=("base",))
    else:
        site.install("11.1", sets=("base",))


def test_owners_are_numbers_whatever_their_names(site: Site) -> None:
    site.mirror.mkdir()
    with tarfile.open(site.mirror / "base.txz", "w:xz") as archive:
        for name, mode in (("ours", 0o644), ("bin/passwd", 0o4555)):
            member = tarfile.TarInfo(name)
            member.uid, member.gid, member.uname, member.gname = 4321, 1234, "daemon", "nobody"
            member.mode = mode
            archive.addfile(member)
    release_sets.manifest(site.mirror, {"base": site.mirror / "base.txz"})
    site.install("11.1", sets=("base",))
    for name, mode in (("ours", 0o644), ("bin/passwd", 0o4555)):
        found = (site.root / name).stat()
        assert (found.st_uid, found.st_gid) == (4321, 1234)
        assert stat.S_IMODE(found.st_mode) == mode


def test_a_kernel_that_was_left_behind_is_missed(site: Site, tmp_path: Path) -> None:
    shutil.rmtree(made(tmp_path, "8.4") / "kernels")
    build = site.install("8.4")
    assert "there is no set kernels/generic: what kernel there is, base has" in build.notes
    assert "boot/kernel/kernel does not say what it is" in site.said


def test_sets_that_say_nothing(site: Site, tmp_path: Path) -> None:
    directory = tmp_path / "pub"
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    base = release_sets.txz(directory, "base", tree)
    release_sets.manifest(directory, {"base": base})
    build = site.install("11.1", sets=("base",))
    assert build.notes[-1] == "nothing in it says that it is freebsd 11.1"


def test_sets_that_change_in_between(site: Site, tmp_path: Path) -> None:
    directory = made(tmp_path, "11.1")
    order = Order(release("11.1"), mirror=str(site.mirror))
    origin = SETS.resolve(order)
    (directory / "MANIFEST").write_text((directory / "MANIFEST").read_text() + "\n")
    with pytest.raises(InstallError):
        SETS.install(order, origin, site.root, site.said.append)


def test_what_is_pinned_must_match_but_in_a_directory_that_is_named(
    site: Site, tmp_path: Path
) -> None:
    """It may have a build of the user's own: that is only told."""
    made(tmp_path, "11.1")
    pinned = replace(release("11.1"), pinned=(("base.txz", "0" * 64),))
    found = SETS.resolve(Order(pinned, mirror=str(site.mirror)))
    (note,) = found.notes
    assert note.startswith("not as it was published: base.txz is not that of freebsd-11.1-i386")
    with pytest.raises(InstallError, match=r"the catalogue has another SHA-256"):
        SETS.resolve(Order(replace(pinned, sources=(found.url,))))
