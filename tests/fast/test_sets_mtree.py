"""mtree(5) descriptions as they came beside old sets."""

from __future__ import annotations

import pytest

from behunt.errors import InstallError
from behunt.install.sets import mtree
from behunt.install.sets.members import Member
from behunt.install.sets.mtree import Described

# as release/Makefile's mtree wrote them; md5digest was later called md5
TEXT = """\
#\t   user: root
#\tmachine: builder
#\t   tree: /R/stage/trees/base

# .
/set type=file uname=root gname=wheel mode=0555 nlink=1
.               type=dir mode=0755 nlink=4 size=512
    COPYRIGHT   mode=0444 size=6195 md5digest=9ae6b05b1c3d9a6d1e5d3f8d4d2b0a11
    sys         type=link mode=0755 size=11 link=usr/src/sys

# ./bin
bin             type=dir mode=0755 nlink=2 size=1024
    a\\sb        size=0 md5=d41d8cd98f00b204e9800998ecf8427e
    [           nlink=2 size=10 \\
                md5digest=2a52c94ace40d9c052cf40f3541637c3
# ./bin
..


# ./dev
/set type=file uname=root gname=wheel mode=0666 nlink=1
dev             type=dir mode=0755 nlink=2 size=512
    null        type=char
..

..
"""
FOUND = [
    Described("COPYRIGHT", "-", 6195, md5="9ae6b05b1c3d9a6d1e5d3f8d4d2b0a11"),
    Described("sys", "l", link="usr/src/sys"),
    Described("bin", "d"),
    Described("bin/a b", "-", 0, md5="d41d8cd98f00b204e9800998ecf8427e"),
    Described("bin/[", "-", 10, md5="2a52c94ace40d9c052cf40f3541637c3"),
    Described("dev", "d"),
]
ARCHIVED = [
    Member("COPYRIGHT", "-", size=6195),
    Member("sys", "l", link="usr/src/sys"),
    Member("bin", "d"),
    Member("bin/a b", "-"),
    Member("bin/[", "h", link="bin/test"),
]


def test_a_description() -> None:
    assert mtree.parse(TEXT) == FOUND


def test_what_is_described_is_archived() -> None:
    mtree.check(FOUND, ARCHIVED, "base")  # but for dev, which is empty without its nodes


def test_what_release_makefile_does_not_archive_is_not_missed() -> None:
    mtree.check([Described("usr/obj/x", "-"), Described("a/CVS/Root", "-")], [], "base")


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (None, "COPYRIGHT is missing"),
        (Member("COPYRIGHT", "-", size=6194), "COPYRIGHT has 6194 bytes, not 6195"),
        (Member("COPYRIGHT", "l", link="x"), "COPYRIGHT is of type l, not -"),
    ],
)
def test_a_file_that_differs(member: Member | None, why: str) -> None:
    with pytest.raises(InstallError, match=f"base is not what its .mtree describes: {why}"):
        mtree.check(FOUND, [*([member] if member else []), *ARCHIVED[1:]], "base")


def test_a_link_that_differs() -> None:
    other = [ARCHIVED[0], Member("sys", "l", link="/etc"), *ARCHIVED[2:]]
    with pytest.raises(InstallError, match="sys points to /etc, not to usr/src/sys"):
        mtree.check(FOUND, other, "base")
