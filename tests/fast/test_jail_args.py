"""Jails as command lines, and what jls says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from behunt.model import Limits
from behunt.runners.jail_args import (
    Jail,
    Network,
    create_args,
    jail_name,
    owner_of,
    parameters,
    rules,
    spoofed,
    wants_procfs,
)
from behunt.runners.jails import Listed, listed

SAID = Path(__file__).parents[1] / "transcripts"
TOKEN = "12345x6af0de"
OLD = Jail(
    "bh_1f_12345x6af0de_0",
    "/be/t",
    "freebsd-9.3-amd64",
    osrelease="9.3-RELEASE",
    osreldate=903000,
)


def test_a_jail_for_an_old_world() -> None:
    assert create_args(OLD, (), "13.2-RELEASE") == [
        "jail",
        "-c",
        "name=bh_1f_12345x6af0de_0",
        "path=/be/t",
        "host.hostname=freebsd-9.3-amd64",
        "persist",
        "mount.devfs",
        "devfs_ruleset=4",
        "ip4=disable",
        "ip6=disable",
        "sysvmsg=new",
        "sysvsem=new",
        "sysvshm=new",
        "allow.chflags",
        "enforce_statfs=1",
        "osrelease=9.3-RELEASE",
        "osreldate=903000",
    ]


@pytest.mark.parametrize(
    ("network", "there", "absent"),
    [
        (Network.NONE, {"ip4=disable", "ip6=disable"}, {"allow.raw_sockets", "vnet"}),
        (Network.INHERIT, {"ip4=inherit", "ip6=inherit", "allow.raw_sockets"}, {"vnet"}),
        (Network.VNET, {"vnet", "allow.raw_sockets"}, {"ip4=disable", "ip4=inherit"}),
    ],
)
def test_the_network_is_none_the_hosts_or_a_stack_of_its_own(
    network: Network, there: set[str], absent: set[str]
) -> None:
    args = create_args(replace(OLD, network=network), (), "13.2-RELEASE")
    assert there <= set(args)
    assert not absent & set(args)


def test_a_host_is_asked_only_for_what_it_has() -> None:
    """No osrelease before 10.2, no sysvshm before 11, no ip6 in a kernel without INET6."""
    spoofing = {"osrelease=9.3-RELEASE", "osreldate=903000"}
    assert not spoofing & set(create_args(OLD, (), "10.1-RELEASE"))
    old = create_args(OLD, (), "10.3-RELEASE-p7")
    assert spoofing <= set(old)
    assert "sysvshm=new" not in old
    told = create_args(OLD, {"osrelease", "ip4.addr", "sysvmsg"}, "13.2-RELEASE")
    assert {"osrelease=9.3-RELEASE", "ip4=disable", "sysvmsg=new", "mount.devfs"} <= set(told)
    assert not {"osreldate=903000", "ip6=disable", "sysvshm=new"} & set(told)


def test_nothing_is_said_of_an_unknown_world() -> None:
    args = create_args(replace(OLD, osrelease="", osreldate=0), (), "13.2-RELEASE")
    assert not [word for word in args if word.startswith("osrel")]


def test_old_worlds_get_proc() -> None:
    assert "mount.procfs" in create_args(replace(OLD, procfs=True), (), "13.2-RELEASE")
    assert wants_procfs("freebsd-4.11-i386")
    assert not wants_procfs("freebsd-5.0-i386")
    assert not wants_procfs("my-own")


def test_the_parameters_of_a_kernel() -> None:
    said = (
        "security.jail.param.sysvshm.\nsecurity.jail.param.osrelease\n"
        "security.jail.param.ip4.addr\nkern.racct.enable: 0\nsecurity.jail.param.vnet: 0\n"
    )
    assert parameters(said) == {"sysvshm", "osrelease", "ip4.addr", "vnet"}


def test_a_jail_carries_its_owner_in_its_name() -> None:
    name = jail_name("1f-3a", TOKEN, 7)
    assert name == "bh_1f3a_12345x6af0de_7"
    assert owner_of(name, "1f-3a") == TOKEN


@pytest.mark.parametrize(
    "name", ["bh1", "bh_2f_12345x6af0de_7", "bh_1f_12345x6af0de", "bh_1f__7", "xbh_1f_1x6af0de_7"]
)
def test_other_jails_are_nobodys(name: str) -> None:
    assert owner_of(name, "1f") == ""


def test_no_jail_name_has_a_dot_or_is_too_long() -> None:
    """A dot means a jail inside a jail; MAXHOSTNAMELEN is 256."""
    name = jail_name("a.b" * 40, "4194304xffffff", 999_999)
    assert "." not in name
    assert len(name) < 256


def test_what_a_jail_says_it_is() -> None:
    assert spoofed("freebsd-9.3-amd64", "") == ("9.3-RELEASE", 903000)
    assert spoofed("freebsd-11.1-i386", "#define __FreeBSD_version 1101001\n")[1] == 1101001
    assert spoofed("my-own-world", "#define __FreeBSD_version 1101001") == ("", 1101001)
    assert spoofed("my-own-world", "") == ("", 0)


def test_limits_are_rules() -> None:
    assert rules("bh1", Limits()) == []
    assert rules("bh1", Limits(memory=2 << 30, processes=50, cpus=1.5, disk=1)) == [
        "jail:bh1:memoryuse:log=2147483648",
        "jail:bh1:memoryuse:sigkill=2147483648",
        "jail:bh1:maxproc:deny=50",
        "jail:bh1:pcpu:deny=150",
    ]


def test_jails_as_jls_lists_them() -> None:
    expected = [Listed(1, "bh1", "/be/t")]
    assert listed((SAID / "jls-libxo-13.2.txt").read_text()) == expected
    assert listed((SAID / "jls-n-13.2.txt").read_text()) == expected
    assert listed('{"__version": "2", "jail-information": {"jail": []}}') == []
    assert listed("") == []


def test_a_dying_jail_and_a_path_with_a_blank() -> None:
    assert listed('jid=3 name=bh2 path="/a b" dying\n') == [Listed(3, "bh2", "/a b", dying=True)]
    json = '{"jail-information":{"jail":[{"jid":3,"name":"x","path":"/a b","dying":true}]}}'
    assert listed(json) == [Listed(3, "x", "/a b", dying=True)]
