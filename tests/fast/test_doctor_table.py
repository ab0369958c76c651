"""What doctor says, and which command brings what is missing: as values."""

from __future__ import annotations

import click
import pytest

from behunt.cli.doctor import lines
from behunt.families.supply import fix, system_of
from behunt.model import Check

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'
MINT = 'ID=linuxmint\nID_LIKE="ubuntu debian"\n'
FEDORA = "ID=fedora\nID_LIKE=\n"


@pytest.mark.parametrize(
    ("uname", "os_release", "system"),
    [
        ("Linux", DEBIAN, "debian"),
        ("Linux", MINT, "debian"),
        ("Linux", FEDORA, ""),
        ("Linux", "", ""),
        ("FreeBSD", "ID=freebsd\n", "freebsd"),
        ("OpenBSD", "", ""),
    ],
)
def test_the_family_of_a_system(uname: str, os_release: str, system: str) -> None:
    assert system_of(uname, os_release) == system


@pytest.mark.parametrize(
    ("needed", "system", "command"),
    [
        (["mmdebstrap", "zstd"], "debian", "apt install mmdebstrap zstd"),
        (["debian-archive-keyring.gpg"], "debian", "apt install debian-archive-keyring"),
        (["libzfs_core"], "debian", "apt install python3-pyzfs"),
        (["libzfs_core"], "freebsd", "pkg install py311-libzfs_core"),
        (["qemu-system-x86_64", "dnsmasq"], "freebsd", "pkg install qemu dnsmasq"),
        (["ganesha.nfsd"], "debian", "apt install nfs-ganesha-vfs"),
        (["mmdebstrap"], "freebsd", "there is no package of mmdebstrap: use Debian or Ubuntu"),
        (["dnsmasq"], "", "install dnsmasq"),
        (["mmdebstrap", "zstd"], "", "install mmdebstrap and zstd"),
        (["unheard-of"], "debian", "install unheard-of"),
        (["tar"], "freebsd", "tar is part of the base system: repair it"),
    ],
)
def test_the_command_that_brings_it(needed: list[str], system: str, command: str) -> None:
    assert fix(needed, system, python="311") == command


CHECKS = [
    Check("store", "home", ok=True, detail="/var/lib/behunt, 77.6 GiB free"),
    Check(
        "store",
        "zfs",
        ok=False,
        detail="zfs is not installed",
        fix="apt install zfsutils-linux",
        optional=True,
    ),
    Check(
        "installer",
        "mmdebstrap",
        ok=False,
        detail="a reason so long that it goes on and on over the end of a line of the usual width",
        fix="apt install mmdebstrap zstd",
    ),
]


def test_the_table_is_aligned_and_a_fix_is_alone_on_its_line() -> None:
    assert [click.unstyle(line) for line in lines(CHECKS, 80)] == [
        "store",
        "  ok        home        /var/lib/behunt, 77.6 GiB free",
        "  optional  zfs         zfs is not installed",
        "                        apt install zfsutils-linux",
        "installer",
        "  missing   mmdebstrap  a reason so long that it goes on and on over the end of",
        "                        a line of the usual width",
        "                        apt install mmdebstrap zstd",
        "",
        "missing: mmdebstrap",
    ]


def test_what_is_optional_is_not_missed() -> None:
    assert list(lines(CHECKS[:2]))[-1] == "everything behunt needs is here"
