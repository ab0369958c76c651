"""Archives made to attack, with the right digests: refused before anything is written."""

from __future__ import annotations

import copy
import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
import release_sets

from behunt.catalogue import find, load
from behunt.errors import InstallError
from behunt.hosts.local import LocalHost
from behunt.install import SETS
from behunt.install.protocol import Order
from behunt.install.sets import tools

pytestmark = pytest.mark.real

CANARY = "nobody may write here"


def entry(name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", mode: int = 0o644,
          content: bytes = b"", **more: object) -> tuple[tarfile.TarInfo, bytes]:  # fmt: skip
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = kind, link, mode, len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def device(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=1)


Entries = list[tuple[tarfile.TarInfo, bytes]]

ATTACKS: dict[str, tuple[Entries, str]] = {
    "absolute name": ([entry("/OUTSIDE/canary", content=b"x")], "absolute name"),
    "name with ..": ([entry("bin/../../outside/canary", content=b"x")], "`..`"),
    "through an absolute link": (
        [entry("etc", tarfile.SYMTYPE, link="/OUTSIDE"), entry("etc/canary", content=b"x")],
        "through etc",
    ),
    "through a relative link": (
        [entry("a/b", tarfile.SYMTYPE, link="../../outside"), entry("a/b/canary", content=b"x")],
        "through a/b",
    ),
    "through a link to a link": (
        [
            entry("up", tarfile.SYMTYPE, link=".."),
            entry("out", tarfile.SYMTYPE, link="up/outside"),
            entry("out/canary", content=b"x"),
        ],
        "through out",
    ),
    "a directory that becomes a link": (
        [
            entry("etc", tarfile.DIRTYPE, mode=0o755),
            entry("etc", tarfile.SYMTYPE, link="/OUTSIDE"),
            entry("etc/canary", content=b"x"),
        ],
        "replaces a directory by a link",
    ),
    "a link that is overwritten": (
        [entry("motd", tarfile.SYMTYPE, link="/OUTSIDE/canary"), entry("motd", content=b"x")],
        "replaces a link by a file",
    ),
    "absolute hard link": (
        [entry("canary", tarfile.LNKTYPE, link="/OUTSIDE/canary")],
        "absolute name",
    ),
    "hard link with ..": (
        [entry("canary", tarfile.LNKTYPE, link="../outside/canary")],
        "`..`",
    ),
    "hard link to a link": (
        [
            entry("s", tarfile.SYMTYPE, link="/OUTSIDE/canary"),
            entry("h", tarfile.LNKTYPE, link="s"),
        ],
        "no file before it",
    ),
    "hard link with content": (
        [entry("s", tarfile.SYMTYPE, link="/OUTSIDE/canary"),
         entry("h", tarfile.LNKTYPE, link="s", content=b"x")],
        "no file before it",
    ),
    "character device": ([device("dev/mem")], "a device"),
    "block device": ([entry("dev/sda", tarfile.BLKTYPE, devmajor=8, devminor=0)], "a device"),
    "fifo": ([entry("tmp/fifo", tarfile.FIFOTYPE)], "a fifo"),
    "set-uid for all to write": ([entry("bin/sh", mode=0o4777, content=b"x")], "everyone may"),
    "set-gid for all to write": ([entry("bin/sh", mode=0o2757, content=b"x")], "everyone may"),
    "set-uid directory": ([entry("home", tarfile.DIRTYPE, mode=0o4755)], "and no file"),
    "newline in a name": ([entry("bin/a\nb", content=b"x")], "control characters"),
    "escape in a name": ([entry("bin/\x1b[2Jx", content=b"x")], "control characters"),
    "arrow in a link's name": ([entry("a -> b", tarfile.SYMTYPE, link="c")], "an arrow"),
    "the root becomes a link": ([entry(".", tarfile.SYMTYPE, link="/OUTSIDE")], "by a link"),
    "behunt's own place": ([entry(".behunt/0-base.txz", content=b"x")], "behunt's own"),
    "an owner like a listing": (
        [entry("/OUTSIDE/canary", content=b"x", uname="root 0 0 Jan  1  1970 ok", gname="x\ny")],
        "absolute name",
    ),
}  # fmt: skip


class Victim:
    """A root beside a canary that no archive may touch."""

    def __init__(self, tmp_path: Path) -> None:
        self.outside = tmp_path / "outside"
        self.outside.mkdir()
        self.canary = self.outside / "canary"
        self.canary.write_text(CANARY)
        self.root = tmp_path / "root"
        self.root.mkdir()
        self.pub = tmp_path / "pub"
        self.pub.mkdir()

    def archive(self, name: str, entries: Entries) -> Path:
        path = self.pub / f"{name}.txz"
        with tarfile.open(path, "w:xz", format=tarfile.PAX_FORMAT) as tar:
            for original, content in entries:
                info = copy.copy(original)
                info.name = info.name.replace("/OUTSIDE", str(self.outside))
                info.linkname = info.linkname.replace("/OUTSIDE", str(self.outside))
                tar.addfile(info, io.BytesIO(content))
        return path

    def install(self, archives: dict[str, Path]) -> None:
        counts = {name: self.count(path) for name, path in archives.items()}
        release_sets.manifest(self.pub, archives, counts=counts)
        release = replace(find(load("freebsd"), "11.1", arch="i386"), sources=())
        order = Order(release, mirror=str(self.pub), sets=tuple(archives))
        SETS.install(order, SETS.resolve(order), self.root, print)

    @staticmethod
    def count(path: Path) -> int:
        with tarfile.open(path) as tar:
            return len(tar.getmembers())

    def is_untouched(self) -> bool:
        left = {path.name for path in self.root.iterdir()} - {".behunt"}
        alone = self.canary.stat().st_nlink == 1 and len(list(self.outside.iterdir())) == 1
        return not left and alone and self.canary.read_text() == CANARY


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    return Victim(tmp_path)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused(victim: Victim, attack: str) -> None:
    entries, why = ATTACKS[attack]
    archive = victim.archive("base", entries)
    with pytest.raises(InstallError, match="refused") as caught:
        victim.install({"base": archive})
    assert why in caught.value.message
    assert victim.is_untouched()


@pytest.mark.parametrize("attack", [
    "absolute name", "name with ..", "through an absolute link", "through a relative link",
    "through a link to a link", "a directory that becomes a link", "absolute hard link",
    "hard link with ..", "hard link with content",
])  # fmt: skip
def test_libarchive_itself_lets_none_of_them_out(victim: Victim, attack: str) -> None:
    """The second line of defence: what would happen if one were not refused."""
    archive = PurePosixPath(victim.archive("base", ATTACKS[attack][0]))
    argv = tools.unpack(tools.LINUX, [archive], PurePosixPath(victim.root))
    LocalHost().run(argv, env=tools.LINUX.env)
    assert victim.canary.read_text() == CANARY
    assert list(victim.outside.iterdir()) == [victim.canary]


def test_an_attack_may_be_spread_over_sets(victim: Victim) -> None:
    base = victim.archive("base", [entry("usr", tarfile.SYMTYPE, link="/OUTSIDE")])
    more = victim.archive("lib32", [entry("usr/canary", content=b"x")])
    with pytest.raises(InstallError, match="through usr"):
        victim.install({"base": base, "lib32": more})
    assert victim.is_untouched()


@pytest.mark.parametrize("write", [
    lambda path, canary: path.write_text(
        f"#mtree\n./stolen type=file mode=0644 uid=0 gid=0 contents={canary}\n"),
    lambda path, canary: subprocess.run(
        ["bsdtar", "-cf", path, "--format=iso9660", "-C", canary.parent, "canary"], check=True),
    lambda path, canary: subprocess.run(
        ["bsdtar", "-cf", path, "--format=zip", "-C", canary.parent, "canary"], check=True),
    lambda path, _: path.write_text("nothing at all"),
], ids=["mtree", "iso9660", "zip", "text"])  # fmt: skip
def test_only_tar_is_taken(victim: Victim, write: Callable[[Path, Path], object]) -> None:
    """An mtree(5) "archive" copies what it names from the host: master.passwd, for one."""
    path = victim.pub / "base.txz"
    write(path, victim.canary)
    archives = {"base": path}
    release_sets.manifest(victim.pub, archives, counts={"base": 1})
    release = replace(find(load("freebsd"), "11.1", arch="i386"), sources=())
    order = Order(release, mirror=str(victim.pub), sets=("base",))
    with pytest.raises(InstallError, match=r"no tar of a known kind|cannot be read"):
        SETS.install(order, SETS.resolve(order), victim.root, print)
    assert victim.is_untouched()


def test_capabilities_do_not_come_along(victim: Victim) -> None:
    """security.capability makes a program what set-uid makes it, and no listing shows it."""
    info, content = entry("bin/ping", mode=0o755, content=b"\x7fELF")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
    info.pax_headers = {"SCHILY.xattr.security.capability": capability.decode("latin-1")}
    info.pax_headers["SCHILY.fflags"] = "schg"
    victim.install({"base": victim.archive("base", [(info, content)])})
    ping = victim.root / "bin/ping"
    assert os.listxattr(ping) == []
    ping.unlink()
