"""Command lines for sets, by the system of the host."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from behunt.errors import InstallError
from behunt.install.sets import tools

FILES = [PurePosixPath("/pub/base/base.aa"), PurePosixPath("/pub/base/base.ab")]
ROOT = PurePosixPath("/zroot/be/11.1")


def test_only_known_systems() -> None:
    assert tools.tools_of("FreeBSD") is tools.FREEBSD
    with pytest.raises(InstallError, match="how to unpack distribution sets on SunOS"):
        tools.tools_of("SunOS")


def test_unpacking_on_freebsd_keeps_flags() -> None:
    assert tools.unpack(tools.FREEBSD, FILES, ROOT) == [
        "sh",
        "-c",
        'd=$1; shift; mkdir -p "$d" && cat "$@" | tar -xpf - --numeric-owner -C "$d"',
        "sh",
        "/zroot/be/11.1",
        "/pub/base/base.aa",
        "/pub/base/base.ab",
    ]


def test_unpacking_on_linux_leaves_flags_out_after_p_asked_for_them() -> None:
    script = tools.unpack(tools.LINUX, FILES, ROOT)[2]
    assert script.endswith(
        'bsdtar -xpf - --numeric-owner --no-fflags --no-xattrs --no-acls -C "$d"'
    )


def test_what_is_left_out_is_named_exactly() -> None:
    script = tools.unpack(tools.FREEBSD, FILES, ROOT, ["dev/tty[0]", "dev/null"])[2]
    assert r"'--exclude=^dev/tty\[0\]$' '--exclude=^dev/null$'" in script


def test_sums_are_those_that_are_vouched_for() -> None:
    argv = tools.measured(tools.FREEBSD, ["md5", "sha256"], FILES)
    assert '"$(cksum <"$f")" "$(md5 -q <"$f")" "$(sha256 -q <"$f")"' in argv[2]
    assert argv[3:] == ["sh", *map(str, FILES)]
    assert "sha256sum" in tools.measured(tools.LINUX, ["sha256"], FILES)[2]


def test_owners_are_numbers_wherever_names_are_read() -> None:
    assert "tar --numeric-owner -tvvf -" in tools.listing(tools.FREEBSD, FILES)[2]


def test_nothing_of_an_archive_or_a_mirror_is_part_of_a_script() -> None:
    strange = "/pub/$(reboot)'; reboot; '"
    for argv in (
        tools.there([strange], strange),
        tools.read(strange, [strange]),
        tools.measured(tools.LINUX, ["md5"], [PurePosixPath(strange)]),
        tools.listing(tools.LINUX, [PurePosixPath(strange)]),
        tools.flags(tools.LINUX, [PurePosixPath(strange)]),
        tools.unpack(tools.LINUX, [PurePosixPath(strange)], PurePosixPath(strange)),
        tools.copy(PurePosixPath(strange), PurePosixPath(strange)),
        tools.asked([(strange, strange)]),
    ):
        assert "reboot" not in argv[2]
        assert strange in argv
