"""Listings of archives: what is read from them, and every member that is refused."""

from __future__ import annotations

import pytest

from behunt.errors import InstallError
from behunt.install.sets import members
from behunt.install.sets.members import Member, Vetting

TAR = "Archive Format: POSIX pax interchange format,  Compression: xz"


def listing(*lines: str) -> str:
    return "\n".join([*lines, TAR, ""])


def line(kind_mode: str, name: str, size: str = "0") -> str:
    return f"{kind_mode}  0 0      0{size:>12} Jul 21  2017 {name}"


def refused(*found: Member, devices: str = "") -> str:
    """Why the last of `found` is, after the others were taken."""
    vetting = Vetting({})
    vetting.take(members.placed(found[:-1], ""), devices)
    with pytest.raises(InstallError, match="an archive is refused for its member '") as caught:
        vetting.take(members.placed(found[-1:], ""), devices)
    assert caught.value.hint
    return caught.value.message.partition("': ")[2]


def test_what_bsdtar_prints() -> None:
    found = members.parse(
        listing(
            line("drwxr-xr-x", "./"),
            line("-r-sr-xr-x", "./usr/bin/su", "17368"),
            line("hr-sr-xr-x", "./usr/bin/chfn link to ./usr/bin/su"),
            line("lrwxr-xr-x", "./sys -> usr/src/sys"),
            line("drwxrwxrwt", "./tmp/"),
            "-rw-r--r--+ 1 0      0           5 Nov 21 12:16 ./a file",
            line("crw-rw-rw-", "./dev/null", "1,3"),
        )
    )
    assert found == [
        Member("./", "d", 0o755),
        Member("./usr/bin/su", "-", 0o4555, 17368),
        Member("./usr/bin/chfn", "h", 0o4555, 0, "./usr/bin/su"),
        Member("./sys", "l", 0o755, 0, "usr/src/sys"),
        Member("./tmp/", "d", 0o1777),
        Member("./a file", "-", 0o644, 5),
        Member("./dev/null", "c", 0o666),
    ]


def test_escapes_are_undone() -> None:
    text = listing(
        line("-rw-r--r--", r"./F\305\221tan\303\272.pem"), line("-rw-r--r--", r"./a\\b\n")
    )
    assert [member.name for member in members.parse(text)] == ["./Főtanú.pem", "./a\\b\n"]


def test_characters_that_only_python_ends_lines_with_are_part_of_a_name() -> None:
    found = members.parse(listing(line("-rw-r--r--", "a\u2028b\x85c")))
    assert [member.name for member in found] == ["a\u2028b\x85c"]


@pytest.mark.parametrize(
    "text",
    [
        listing("drwxr-xr-x  0 root wheel 0 Jul 21  2017 ./"),  # an owner's name could be anything
        listing(line("lrwxr-xr-x", "a -> b -> c")),
        listing(line("-rw-r--r--", "a link to b link to c")),
        listing(line("lrwxr-xr-x", "a")),
        listing("garbage"),
        line("drwxr-xr-x", "./") + "\n",
        "",
        "Archive Format: mtree,  Compression: none\n",
        "Archive Format: POSIX ustar format,  Compression: lrzip\n",
    ],
)
def test_a_listing_that_is_not_clear_is_refused(text: str) -> None:
    with pytest.raises(InstallError, match="an archive is refused"):
        members.parse(text)


def test_what_a_world_has_is_taken() -> None:
    world = [
        Member("./", "d"),
        Member("./etc/", "d"),
        Member("./etc/localtime", "l", link="/usr/share/zoneinfo/UTC"),
        Member("./usr/tmp", "l", link="../../../../tmp"),
        Member("./bin/su", "-", 0o4555),
        Member("./bin/login", "h", 0o4555, link="./bin/su"),
        Member("./usr/games/", "d", 0o2755),
        Member("./tmp/", "d", 0o1777),
        Member("./etc/", "d"),  # once more, as each set has the directories that it is in
    ]
    vetting = Vetting({})
    vetting.take(members.placed(world, ""))
    assert vetting.types["bin/login"] == "h"


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (Member("/etc/passwd", "-"), "absolute name"),
        (Member("../etc/passwd", "-"), "`..`"),
        (Member("usr/../../etc/passwd", "-"), "`..`"),
        (Member("bin/a\nb", "-"), "control characters"),
        (Member("bin/\x1b]0;x\x07", "-"), "control characters"),
        (Member("dev/mem", "c", 0o666), "a device"),
        (Member("dev/sda", "b", 0o666), "a device"),
        (Member("tmp/fifo", "p"), "a fifo"),
        (Member("tmp/socket", "s"), "a socket"),
        (Member("tmp/door", "D"), "unknown type"),
        (Member("./", "l", link="/"), "replaces a directory by a link"),
        (Member(".behunt/0-base.txz", "-"), "behunt's own"),
        (Member("bin/x", "h", link="/etc/shadow"), "absolute name"),
        (Member("bin/x", "h", link="../../etc/shadow"), "`..`"),
        (Member("bin/x", "h", link="etc/shadow"), "no file before it"),
        (Member("bin/x", "-", 0o4777), "everyone may write"),
        (Member("bin/x", "-", 0o2757), "everyone may write"),
        (Member("home/x", "d", 0o4755), "no file"),
        (Member("home/x", "l", 0o4755, link="bin"), "no file"),
    ],
)
def test_what_is_refused(member: Member, why: str) -> None:
    assert why in refused(member)


def test_nothing_is_written_through_a_link() -> None:
    assert "through etc" in refused(Member("etc", "l", link="/etc"), Member("etc/passwd", "-"))
    assert "through usr/x" in refused(Member("usr/x", "l", link=".."), Member("usr/x/y/z", "d"))


def test_a_directory_is_not_replaced_by_a_link() -> None:
    link = Member("etc", "l", link="/etc")
    assert "replaces a directory by a link" in refused(Member("etc/", "d"), link)
    assert "replaces a directory by a link" in refused(Member("etc/motd", "-"), link)
    assert "replaces a link by a file" in refused(link, Member("etc", "-"))


def test_a_hard_link_to_a_link_is_refused() -> None:
    assert "no file before it" in refused(
        Member("s", "l", link="/etc/shadow"), Member("h", "h", link="s")
    )


def test_sets_see_what_the_ones_before_them_wrote() -> None:
    vetting = Vetting({})
    vetting.take(members.placed([Member("usr", "l", link="/usr")], ""))
    with pytest.raises(InstallError, match="through usr"):
        vetting.take(members.placed([Member("Makefile", "-")], "usr/src"))


def test_device_nodes_are_left_out_where_they_belong_and_nowhere_else() -> None:
    node = Member("dev/null", "c", 0o666)
    assert members.is_left_out(node, "dev")
    assert not members.is_left_out(node, "")
    assert "a device" in refused(Member("etc/null", "c"), devices="dev")
    vetting = Vetting({})
    vetting.take([node], "dev")
    assert vetting.types == {}
