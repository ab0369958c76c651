"""What keeps a machine from booting with its root on NFS, read from what a server exports. Pure.

For a server that somebody else has set up, and for our own lines. Each of these costs hours where
it is met as a kernel that cannot mount its root, or as an init that dies.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from behunt.netboot.exports import Export, Served, wrong_dhcp

_EVERYBODY = IPv4Network("0.0.0.0/0")
_OURS = Served()
_VALUED = {"maproot", "mapall", "network", "mask", "sec", "index"}  # in the next word, too
_OCTAL = re.compile(r"\\([0-7]{3})")
_CLIENT = re.compile(r"([^\s(]*)\(([^)]*)\)|(\S+)")


@dataclass(frozen=True, slots=True)
class Exported:
    """A directory and one of its clients, as a server has it.

    `network` is None for a client that has only a name: no address to judge. `crossing`: with it
    goes what is mounted below.
    """

    path: str
    network: IPv4Network | None
    root: bool
    writable: bool = True
    alldirs: bool = False
    crossing: bool = False


@dataclass(frozen=True, slots=True)
class Client:
    """A part of an operating system that speaks NFS on its way up."""

    name: str
    versions: frozenset[int]
    udp_only: bool = False


def clients(os: str, version: str) -> tuple[Client, ...]:
    """Those of a release of `os` that boots by PXE from a loader of its own.

    FreeBSD: stand/libsa/nfs.c, with NFSv3 since 2011; before, and with OLD_NFSV2, version 2.
    The loaders of NetBSD and OpenBSD take their kernels by TFTP. NetBSD's kernel tries version 3
    first since 1997, and asks for its root by UDP, OpenBSD's since September 2013 (nfs_boot.c).
    A Linux mounts as it is told.
    """
    match os:
        case "freebsd":
            known = {3} if _numbers(version) >= (9,) else {2}
            return (Client(f"the loader of FreeBSD {version}", frozenset(known), udp_only=True),)
        case "netbsd":
            return (Client("the kernel of NetBSD", frozenset({2, 3}), udp_only=True),)
        case "openbsd":
            known = {2, 3} if _numbers(version) >= (5, 5) else {2}
            return (Client(f"the kernel of OpenBSD {version}", frozenset(known), udp_only=True),)
    return (Client(f"the kernel of {os}", frozenset({3, 4})),)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def unserved(os: str, version: str, served: Served = _OURS) -> str:
    """Why a server of ours, or one that is like this, cannot serve a release; empty if it can."""
    for client in clients(os, version):
        if not client.versions & served.versions:
            spoken = " and ".join(str(version) for version in sorted(client.versions))
            return f"{client.name} speaks NFS version {spoken}, which nothing here serves"
    return ""


def faults(
    wanted: Export,
    given: Sequence[Exported],
    served: Served,
    booting: Iterable[Client] = (),
    dhcp: Collection[int] = (),
) -> list[str]:
    """Why `wanted` cannot be booted from a server that has `given`: sentences, none if it can.

    `dhcp` are the numbers of the options that machines are sent.
    """
    return [
        *_of_paths(wanted, given),
        *_of_lines(wanted, [one for one in given if _concerns(wanted, one)]),
        *(why for client in booting for why in _of_client(client, served)),
        *wrong_dhcp(dhcp),
    ]


def _concerns(wanted: Export, one: Exported) -> bool:
    return one.path == wanted.path or one.path.startswith(f"{wanted.path.rstrip('/')}/")


def _of_paths(wanted: Export, given: Sequence[Exported]) -> Iterator[str]:
    for path in wanted.paths:
        if not any(_covers(one, path, wanted) for one in given):
            own = "" if path == wanted.path else "a file system of its own, "
            yield f"{path} is {own}not exported to {wanted.network}"


def _covers(one: Exported, path: str, wanted: Export) -> bool:
    if one.network is not None and not wanted.network.subnet_of(one.network):
        return False
    below = one.crossing and path.startswith(f"{one.path.rstrip('/')}/")
    return one.path == path or below


def _of_lines(wanted: Export, given: Iterable[Exported]) -> Iterator[str]:
    for one in given:
        if not one.root:
            yield (
                f"{one.path} does not let root be root (-maproot=root, no_root_squash): "
                "init cannot read its files"
            )
        if wanted.writable and not one.writable:
            yield f"{one.path} is exported read-only"
        if one.network == _EVERYBODY:
            yield f"{one.path} is exported to everybody, not to {wanted.network} alone"
        elif one.network is not None and not one.network.subnet_of(wanted.network):
            yield f"{one.path} is exported to {one.network}, not to {wanted.network} alone"
        if one.alldirs and one.path not in wanted.paths:
            yield f"{one.path} has -alldirs and is no root of a file system: mountd refuses it"


def _of_client(client: Client, served: Served) -> Iterator[str]:
    if not client.versions & served.versions:
        yield (
            f"{client.name} speaks NFS version {_listed(client.versions)}, "
            f"the server {_listed(served.versions)}"
        )
    if client.udp_only and not served.udp:
        yield (
            f"{client.name} speaks NFS over UDP only, which is not served "
            "(nfsd -u; on Linux udp=y in nfs.conf)"
        )


def _listed(versions: Iterable[int]) -> str:
    return " or ".join(str(version) for version in sorted(versions))


def linux_exported(text: str) -> list[Exported]:
    """Lines of exports(5) of Linux, and of `exportfs -s`."""
    found = []
    for line in _lines(text):
        match = re.match(r'"([^"]*)"|(\S+)', line)
        if match is None:
            continue
        path = _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), match[1] or match[2])
        usual: list[str] = []
        for client in _CLIENT.finditer(line[match.end() :]):
            host, options, bare = client[1], client[2], client[3]
            if bare and bare.startswith("-"):
                usual = bare[1:].split(",")
                continue
            own = {*usual, *(options or "").split(",")}
            found.append(_of_linux(path, bare or host, own))
    return found


def _of_linux(path: str, host: str, options: Collection[str]) -> Exported:
    return Exported(
        path,
        _network(host) if host not in {"", "*", "<world>"} else _EVERYBODY,
        root="no_root_squash" in options and "all_squash" not in options,
        writable="rw" in options,
        crossing="crossmnt" in options,
    )


def freebsd_exported(text: str) -> list[Exported]:
    """Lines of exports(5) of FreeBSD, and of /etc/zfs/exports."""
    return [one for line in _lines(text) for one in _of_freebsd(shlex.split(line))]


def _of_freebsd(words: Sequence[str]) -> Iterator[Exported]:
    """Of one line: directories, options, clients. What is of NFSv4 alone is no export."""
    paths = [word for word in words if word.startswith("/")]
    options: dict[str, str] = {}
    hosts: list[str] = []
    rest = iter([word for word in words if not word.startswith("/")])
    for word in rest:
        if not word.startswith("-"):
            hosts.append(word)
            continue
        for option in word[1:].split(","):
            name, equals, value = option.partition("=")
            options[name] = value if equals or name not in _VALUED else next(rest, "")
    if "V4:" in hosts:
        return
    networks = [_network(host) for host in hosts] or [_of_option(options)]
    for path in paths:
        for network in networks:
            yield Exported(
                path,
                network,
                root=_is_root(options.get("maproot", options.get("mapall", ""))),
                writable=not options.keys() & {"ro", "o"},
                alldirs="alldirs" in options,
            )


def _is_root(credentials: str) -> bool:
    """`user` or `user:group1:…`."""
    return credentials.partition(":")[0] in {"root", "0"}


def _of_option(options: dict[str, str]) -> IPv4Network | None:
    if "network" not in options:
        return _EVERYBODY
    network, mask = options["network"], options.get("mask", "")
    return _network(f"{network}/{mask}" if mask else network)


def _network(text: str) -> IPv4Network | None:
    """A host is one of 32 bits; None for a name, and for IPv6."""
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        return None


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        said = line.partition("#")[0].strip()
        if said:
            yield said
