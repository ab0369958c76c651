"""What a machine on a FreeBSD host needs to mount its root from that host, by NFS.

A link of its own: a tap(4) interface, described by the machine's name, with a network of two
addresses that nothing else has. And the handle of its root, which the host's mountd(8) tells.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

from behunt.errors import HostError
from behunt.hosts.protocol import Host
from behunt.netboot import mount3
from behunt.netboot.mount3 import MOUNT, NFS, PORTMAPPER, RefusedError, Service
from behunt.runners.remote import leaving
from behunt.runners.vm.bhyve_args import unplug_args

VERSION = 2  # kernels before 8.2 know the handle of no other
_NETWORK = IPv4Network("198.18.0.0/15")  # RFC 2544: of no site
_PER_LINK = 4
_PRIVILEGED = range(600, 1024)  # ports
_PATIENCE = 20.0  # seconds for mountd to read its exports anew
_PAUSE = 0.2
# What has to run, and how it is called in rc.conf(5). Old kernels mount by UDP.
_NEEDED = {
    Service(PORTMAPPER, 2, "tcp"): "rpcbind",
    mount3.service(VERSION): "mountd",
    Service(MOUNT, 1, "udp"): "mountd",
    Service(NFS, VERSION, "udp"): "nfs_server",
}

# $1 our address, $2 our port, $3 mountd's. Servers may hang up once nobody will say any more.
_ASK = '{ cat; sleep 1; } | nc -N -w 10 -s "$1" -p "$2" "$1" "$3"'


@dataclass(frozen=True, slots=True)
class Link:
    """The network of one interface, `tap7` for one: its unit tells it from all others.

    >>> link = Link("tap7")
    >>> str(link.network), link.host, link.guest, link.mac
    ('198.18.0.28/30', '198.18.0.29', '198.18.0.30', '58:9c:fc:00:00:07')
    """

    tap: str

    @property
    def network(self) -> IPv4Network:
        first = int(_NETWORK.network_address) + _PER_LINK * self._unit
        return IPv4Network((first, 30))

    @property
    def host(self) -> str:
        return str(self.network[1])

    @property
    def guest(self) -> str:
        return str(self.network[2])

    @property
    def mac(self) -> str:
        """Of the guest's card, with the prefix that bhyve(8) has."""
        number = f"{self._unit:06x}"
        return f"58:9c:fc:{number[:2]}:{number[2:4]}:{number[4:]}"

    @property
    def share(self) -> str:
        """As zfsprops(7) has `sharenfs` on FreeBSD: exports(5), to both ends and nobody else."""
        return f"-maproot=root -network={self.network}"

    @property
    def _unit(self) -> int:
        return int(self.tap.removeprefix("tap"))


@contextlib.contextmanager
def linked(host: Host, name: str) -> Iterator[Link]:
    """A link for the machine `name`, which is gone on leaving."""
    try:
        # In one command: no interface of ours is ever without its description.
        create = ["ifconfig", "tap", "create", "description", name]
        link = Link(host.run(create, check=True).out.strip())
        address = f"{link.host}/{link.network.prefixlen}"
        host.run(["ifconfig", link.tap, "inet", address, "up"], check=True)
        yield link
    finally:
        leaving(
            host,
            unplug_args(name),
            f"destroy the interface of {name}",
            "`ifconfig -g tap` lists them",
        )


def lacking(host: Host) -> str:
    """Which service of the host does not run that a root by NFS takes, as a sentence."""
    found = mount3.services(host.run(["rpcinfo", "-p"]).out)
    missing = list(dict.fromkeys(name for one, name in _NEEDED.items() if one not in found))
    if not missing:
        return ""
    return (
        f"bhyve has no disk for it, and for a root by NFS {' and '.join(missing)} must run on "
        f"{host.name}, nfsd with version {VERSION} and UDP (docs/vm-hosts.md)"
    )


def handle_of(host: Host, address: str, path: str, nfs: int = VERSION) -> bytes:
    """The handle of `path`, which `host` exports to its own `address`. Raises HostError."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return asked(host, address, path, nfs)
        except HostError as error:
            if time.monotonic() > deadline:
                raise HostError(f"no NFS root of {path}: {error.message}", error.hint) from error
        time.sleep(_PAUSE)


def asked(host: Host, address: str, path: str, nfs: int) -> bytes:
    """The same, at once. Raises HostError, RefusedError too."""
    found = mount3.services(host.run(["rpcinfo", "-p"]).out)
    if (port := found.get(mount3.service(nfs))) is None:
        raise RefusedError(f"mountd of {host.name} is not registered", "service mountd status")
    number = secrets.randbits(32)
    own = secrets.choice(_PRIVILEGED)  # one may be taken, or have been used a moment ago
    said: list[bytes] = []
    words = ["sh", "-c", _ASK, "sh", address, str(own), str(port)]
    host.run(words, stdin=mount3.request(path, nfs, number), sink=said.append)
    return mount3.handle(b"".join(said), nfs, number)
