"""The disk that is a tar archive: for every tar, and from any guest."""

from __future__ import annotations

import io
import os
import random
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt.errors import HostError, UsageError
from behunt.runners.vm.exchange_disk import File, Found, read, write

SIZE = 5 << 20
TARS = {
    "gnu": ["tar"],
    "gnu, old": ["tar", "--format=oldgnu"],
    "gnu, v7": ["tar", "--format=v7"],
    "pax": ["tar", "--format=posix"],
    "libarchive": ["bsdtar"],
    "libarchive, ustar": ["bsdtar", "--format", "ustar"],
    "busybox": ["busybox", "tar"],
}


def archive(disk: Path, *members: tarfile.TarInfo | tuple[str, bytes], size: int = SIZE) -> None:
    """What a guest writes over `disk`, which keeps what lies behind it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as writing:
        for member in members:
            if isinstance(member, tuple):
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                writing.addfile(info, io.BytesIO(member[1]))
            else:
                writing.addfile(member, io.BytesIO(b"x" * member.size))
    over(disk, buffer.getvalue(), size)


def over(disk: Path, content: bytes, size: int = SIZE) -> None:
    with disk.open("r+b" if disk.exists() else "w+b") as file:
        file.truncate(size)
        file.write(content)


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def tree(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def into(tmp_path: Path) -> Path:
    directory = tmp_path / "into"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("program", [words for name, words in TARS.items() if "," not in name])
def test_any_tar_reads_what_goes_in(tmp_path: Path, into: Path, program: list[str]) -> None:
    big = tmp_path / "big"
    big.write_bytes(random.Random(0).randbytes(1_000_001))
    long = f"work/{'d' * 90}/{'f' * 60}"
    files = [
        File("job", b"#!/bin/sh\n", 0o755),
        File("work/empty", b""),
        File("work/big", big),
        File(long, b"deep"),
        File("work/ä b", b"named"),
    ]
    disk = tmp_path / "disk"
    write(disk, files, SIZE)
    subprocess.run([*program, "-xf", str(disk)], cwd=into, check=True)
    assert tree(into) == {
        "job": b"#!/bin/sh\n",
        "work/empty": b"",
        "work/big": big.read_bytes(),
        long: b"deep",
        "work/ä b": b"named",
    }
    assert stat.S_IMODE((into / "job").stat().st_mode) == 0o755


def test_the_disk_is_sparse_and_of_whole_records(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    write(disk, [File("a", b"x")], (64 << 20) + 1)
    status = disk.stat()
    assert status.st_size == 65 << 20
    assert status.st_size % 10240 == 0
    assert status.st_blocks * 512 < 1 << 20


def test_what_goes_in_is_ustar_without_owners_or_times(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, [File("a", b"x")], SIZE)
    content = (tmp_path / "one").read_bytes()
    assert content == (tmp_path / "two").read_bytes()
    assert content[257:265] == b"ustar\x0000"


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (File("a", bytes(SIZE)), "do not fit on an exchange disk of 5 MiB"),
        (File("a", bytes(SIZE - 1024)), "do not fit on an exchange disk of 5 MiB"),
        (File("n" * 101, b""), "cannot be given to a machine"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, file: File, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        write(tmp_path / "disk", [file], SIZE)


@pytest.mark.parametrize("program", TARS.values(), ids=TARS)
def test_what_any_tar_writes_comes_back(tmp_path: Path, into: Path, program: list[str]) -> None:
    guest = tmp_path / "guest"
    (guest / "out/deep").mkdir(parents=True)
    (guest / "out/deep/file").write_bytes(b"found\n" * 300)
    (guest / "out/linked").symlink_to("/etc/passwd")
    (guest / "out/again").hardlink_to(guest / "out/deep/file")
    (guest / "out/run").write_bytes(b"x")
    (guest / "out/run").chmod(0o4755)
    (guest / "status").write_bytes(b"0\n")
    names = {"out/deep/file", "out/again", "out/run", "status"}
    if not {"--format=v7", "ustar"} & set(program):  # these have no room for it
        (guest / "out" / ("n" * 150)).write_bytes(b"long")
        names.add(f"out/{'n' * 150}")
    disk = tmp_path / "disk"
    write(disk, [File("job", b"in" * 100_000)], SIZE)
    made = subprocess.run(
        [*program, "-cf", "-", "out", "status"], cwd=guest, check=True, stdout=subprocess.PIPE
    )
    over(disk, made.stdout)
    found = read(disk, into)
    assert (found.whole, set(found.files)) == (True, names)
    assert found.files[-1] == "status"
    assert found.left_out == ("'out/linked' is left out: it is no plain file",)
    assert tree(into)["out/again"] == b"found\n" * 300
    assert stat.S_IMODE((into / "out/run").stat().st_mode) == 0o755


def test_a_guest_that_wrote_nothing(tmp_path: Path, into: Path) -> None:
    disk = tmp_path / "disk"
    write(disk, [File("job", b"in")], SIZE)
    assert read(disk, into) == Found(("job",), whole=True)


def test_a_guest_that_died_while_it_wrote(tmp_path: Path, into: Path) -> None:
    """Its first files are whole, the one it was at is what lies there, and that is said."""
    disk = tmp_path / "disk"
    archive(disk, ("output", b"said\n"), ("out/big", b"y" * 100_000), ("status", b"0\n"))
    written = disk.read_bytes()[:50_000]
    disk.unlink()
    over(disk, written + b"\xa5" * (SIZE - len(written)))
    found = read(disk, into)
    assert (found.files, found.whole) == (("output", "out/big"), False)
    assert (into / "output").read_bytes() == b"said\n"


@pytest.mark.parametrize("size", [0, 100, 512, 600, 5120])
def test_a_disk_cut_short(tmp_path: Path, into: Path, size: int) -> None:
    disk = tmp_path / "disk"
    archive(disk, ("a", b"1" * 512), ("b", b"2" * 10_000))
    os.truncate(disk, size)
    found = read(disk, into)
    assert not found.whole
    assert found.files == {0: (), 100: (), 512: ("a",), 600: ("a",), 5120: ("a", "b")}[size]
    assert sum(map(len, tree(into).values())) <= size


HOSTILE = {
    "absolute": ("/etc/behunt-was-here", b"x"),
    "above": ("../behunt-was-here", b"x"),
    "above, later": ("out/../../behunt-was-here", b"x"),
    "too long": ("n" * 300, b"x"),
    "far too long": ("/".join(["d" * 200] * 10), b"x"),
    "device": special("out/null", tarfile.CHRTYPE),
    "disk": special("out/sda", tarfile.BLKTYPE),
    "fifo": special("out/fifo", tarfile.FIFOTYPE),
    "link": special("out/link", tarfile.SYMTYPE, "/etc"),
    "hard link out": special("out/hard", tarfile.LNKTYPE, "/etc/passwd"),
    "hard link up": special("out/hard", tarfile.LNKTYPE, "../disk"),
    "hard link to itself": special("out/hard", tarfile.LNKTYPE, "out/hard"),
    "hard link to a directory": special("out/hard", tarfile.LNKTYPE, "plain"),
    "over a file": ("first/below", b"x"),
    "twice": ("first", b"second"),
    "unknown": special("out/what", b"Z"),
}


@pytest.mark.parametrize("member", HOSTILE.values(), ids=HOSTILE)
def test_nothing_leaves_the_directory(
    tmp_path: Path, into: Path, member: tarfile.TarInfo | tuple[str, bytes]
) -> None:
    disk = tmp_path / "disk"
    directory = special("plain", tarfile.DIRTYPE)
    archive(disk, ("first", b"1"), directory, member, ("last", b"2"))
    before = set(tmp_path.iterdir())
    found = read(disk, into)
    assert (found.whole, found.files) == (True, ("first", "last"))
    assert len(found.left_out) == 1
    assert tree(into) == {"first": b"1", "last": b"2"}
    assert not any(path.is_symlink() for path in into.rglob("*"))
    assert set(tmp_path.iterdir()) == before
    assert not Path("/etc/behunt-was-here").exists()


def test_through_a_link_that_came_before(tmp_path: Path, into: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    disk = tmp_path / "disk"
    archive(disk, special("out", tarfile.SYMTYPE, str(target)), ("out/file", b"x"))
    assert read(disk, into).files == ("out/file",)
    assert list(target.iterdir()) == []
    assert not (into / "out").is_symlink()


def test_a_file_with_holes_is_left_out(tmp_path: Path, into: Path) -> None:
    """A terabyte of nothing is small in an archive."""
    member = tarfile.TarInfo("out/GNUSparseFile.1/hole")
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 40)}
    disk = tmp_path / "disk"
    archive(disk, member, ("last", b"2"))
    found = read(disk, into)
    assert found.files == ("last",)
    assert "it has holes" in found.left_out[0]


def test_a_size_that_no_disk_has(tmp_path: Path, into: Path) -> None:
    header = tarfile.TarInfo("huge")
    header.size = 1 << 60
    disk = tmp_path / "disk"
    over(disk, header.tobuf(tarfile.GNU_FORMAT))
    found = read(disk, into)
    assert (found.files, found.whole) == (("huge",), False)
    assert (into / "huge").stat().st_size < SIZE


def test_a_size_below_nothing(tmp_path: Path, into: Path) -> None:
    header = bytearray(tarfile.TarInfo("back").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfe\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    disk = tmp_path / "disk"
    over(disk, bytes(header))
    assert read(disk, into) == Found((), whole=False)


def test_more_files_than_anybody_needs(tmp_path: Path, into: Path) -> None:
    disk = tmp_path / "disk"
    archive(disk, *((f"{n}/d/e/f", b"") for n in range(50)))
    found = read(disk, into, most_paths=100)
    assert not found.whole
    assert "there are more than 100 before it" in found.left_out[0]
    assert 100 <= sum(1 for _ in into.rglob("*")) < 110


def test_not_everything_is_told_of_what_was_left_out(tmp_path: Path, into: Path) -> None:
    disk = tmp_path / "disk"
    archive(disk, *((f"/{n}", b"") for n in range(50)))
    assert len(read(disk, into).left_out) == 20


def test_there_is_no_room_for_what_comes_back(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    archive(disk, ("a", b"1"))
    with pytest.raises(HostError, match="cannot write"):
        read(disk, tmp_path / "not" / "there")
    with pytest.raises(HostError, match="cannot write"):
        write(disk, [], SIZE)  # there is one already


@given(st.data())
def test_whatever_lies_on_the_disk(data: st.DataObject) -> None:
    """No damage makes it raise, or write anything elsewhere or more than there is."""
    with tempfile.TemporaryDirectory() as scratch:
        disk, into = Path(scratch) / "disk", Path(scratch) / "into"
        into.mkdir()
        archive(disk, ("a", b"1" * 700), ("n" * 120, b"2"), special("l", b"2", "/"), size=20480)
        content = bytearray(disk.read_bytes())
        for _ in range(data.draw(st.integers(0, 8))):
            place = data.draw(st.integers(0, 6000))
            content[place] = data.draw(st.integers(0, 255))
            if data.draw(st.booleans()):  # with a checksum that fits
                header = place // 512 * 512
                content[header + 148 : header + 156] = b" " * 8
                total = sum(content[header : header + 512])
                content[header + 148 : header + 156] = b"%06o\0 " % total
        disk.write_bytes(bytes(content))
        found = read(disk, into)
        assert set(found.files) == set(tree(into))
        assert {path.name for path in Path(scratch).iterdir()} == {"disk", "into"}
        assert sum(map(len, tree(into).values())) <= len(content)
