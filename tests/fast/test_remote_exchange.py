"""What comes back of a run on another host, made by somebody who means ill."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import pytest

from behunt.errors import HostError
from behunt.runners.remote_exchange import pack, unpack
from behunt.runners.remote_host import is_foreign


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def archive(*members: tarfile.TarInfo, content: bytes = b"") -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for info in members:
            if info.isreg():
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    made.seek(0)
    return made


def below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory to unpack to, beside a file that nothing may reach."""
    (tmp_path / "outside").write_text("kept")
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/behunt-test", "a/../../outside", "..", ".", ".entered", "x" * 1100]
)
def test_names_that_lead_elsewhere_are_left_out(home: Path, name: str) -> None:
    unpack(archive(member(name), member("fine"), content=b"bad"), home)
    assert below(home) == {"fine"}
    assert (home.parent / "outside").read_text() == "kept"
    assert not Path("/etc/behunt-test").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_special_files_are_left_out(home: Path, kind: bytes) -> None:
    unpack(archive(member("bad", kind, "/etc/passwd"), member("fine")), home)
    assert below(home) == {"fine"}


def test_nothing_goes_through_a_link_of_the_same_archive(home: Path) -> None:
    through = member("out/outside")
    unpack(archive(member("out", tarfile.SYMTYPE, ".."), through, content=b"bad"), home)
    assert (home.parent / "outside").read_text() == "kept"
    assert (home / "out/outside").read_text() == "bad"


def test_a_hard_link_leads_only_to_what_came_along(home: Path) -> None:
    links = [member(f"link{n}", tarfile.LNKTYPE, to) for n, to in enumerate(["../outside", "a"])]
    unpack(archive(member("a"), *links, content=b"same"), home)
    assert below(home) == {"a", "link1"}
    assert (home / "link1").read_text() == "same"


def test_set_id_bits_stay_behind(home: Path) -> None:
    rooted = member("tool")
    rooted.mode = 0o6755
    unpack(archive(rooted), home)
    assert (home / "tool").stat().st_mode & 0o7777 == 0o755


def test_a_member_under_a_file_is_an_error_and_not_outside(home: Path) -> None:
    with pytest.raises(OSError, match="a"):
        unpack(archive(member("a"), member("a/b")), home)


def test_too_much_is_refused_also_where_it_is_a_hole(home: Path) -> None:
    with pytest.raises(HostError, match="left more than 1 MiB in /behunt"):
        unpack(archive(member("a"), member("b"), content=bytes(600_000)), home, most=1 << 20)
    sparse = member("hole")
    sparse.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "hole",
        "GNU.sparse.realsize": str(1 << 40),
    }
    with pytest.raises(HostError, match="left more than"):
        unpack(archive(sparse, content=b"1\n0\n0\n".ljust(512, b"\0")), home, most=1 << 30)


def test_what_is_no_archive_is_said_to_be_none(home: Path) -> None:
    with pytest.raises(HostError, match="is no archive"):
        unpack(io.BytesIO(b"Connection closed by remote host\n" * 40), home)
    whole = archive(member("a"), content=bytes(5000)).getvalue()
    with pytest.raises(HostError, match="is no archive"):
        unpack(io.BytesIO(whole[:2000]), home)


def test_what_goes_there_belongs_to_root_and_comes_back_the_same(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "test/sub").mkdir(parents=True)
    (source / "test/run é").write_text("#!/bin/sh\n")
    (source / "test/run é").chmod(0o750)
    (source / "test" / ("long" * 40)).write_bytes(b"\0\xff")
    target.mkdir()
    made = io.BytesIO()
    pack(source, made)
    made.seek(0)
    with tarfile.open(fileobj=made) as tar:
        assert {(info.uid, info.gid, info.uname) for info in tar} == {(0, 0, "")}
    made.seek(0)
    unpack(made, target)
    assert below(target) == below(source)
    assert (target / "test/run é").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize(
    ("machine", "order", "number", "foreign"),
    [
        ("amd64", "<", 62, False),
        ("x86_64", "<", 3, False),
        ("i386", "<", 62, True),
        ("amd64", ">", 22, True),
        ("arm64", "<", 62, True),
        ("mips", "<", 62, False),  # not known: the kernel there will say
    ],
)
def test_programs_of_another_processor(
    machine: str, order: str, number: int, *, foreign: bool
) -> None:
    ident = b"\x7fELF" + bytes([2, 1 if order == "<" else 2, 1]) + bytes(9)
    assert is_foreign(ident + struct.pack(f"{order}HH", 2, number), machine) is foreign
    assert not is_foreign(b"#!/bin/sh\n" + bytes(20), machine)
