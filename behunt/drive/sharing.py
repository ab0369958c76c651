"""A clone of a boot environment served by NFS, for whoever is in a network, until it is ended.

Whoever serves one holds the lock on a file of the home, in which it has written who it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from behunt.drive.datasets import datasets, entered
from behunt.drive.lab import Lab
from behunt.errors import HostError, UsageError
from behunt.hosts.facts import facts
from behunt.hosts.local import LocalHost
from behunt.hosts.pipes import wait_ready
from behunt.hosts.protocol import Host
from behunt.model import BootEnv
from behunt.netboot import sharenfs
from behunt.netboot.exports import Export
from behunt.netboot.leases import taken
from behunt.netboot.servers import serving
from behunt.storage.home import Home

_PREFIX = "share."
_END = 60.0  # seconds in which one that is told to end has ended
_HOUR = 3600.0  # seconds
_WIDEST = 8  # bits of a network: a wider one is nobody's own


@dataclass(frozen=True, slots=True)
class Sharing:
    """`name` is the boot environment's, `asked` what the user called it, `pid` who serves it."""

    name: str
    asked: str
    pid: int


def reach(
    address: IPv4Address | None, network: IPv4Network | None, host: Host | None = None
) -> tuple[IPv4Address, IPv4Network]:
    """Where to serve, and whom: one of both tells the other, by this machine's own addresses.

    Raises UsageError.
    """
    if network is not None and network.prefixlen < _WIDEST:
        raise UsageError("that would be served to everybody", "name a network: 10.77.0.0/24")
    if address and network:
        return address, network
    own = _own(host or LocalHost())
    for one in own:
        if one.ip == address or (network is not None and one.ip in network):
            return one.ip, network or one.network
    raise UsageError(
        f"{address} is no address of this machine"
        if address
        else f"this machine has no address in {network}",
        f"it has {', '.join(map(str, own))}",
    )


def _own(host: Host) -> list[IPv4Interface]:
    if facts(host).system == "FreeBSD":
        told = host.run(["ifconfig"], check=True).out
        found = re.findall(r"^\s+inet (\S+) netmask (0x[0-9a-f]{8})", told, re.MULTILINE)
        return [IPv4Interface((ip, str(IPv4Address(int(mask, 16))))) for ip, mask in found]
    done = host.run(["ip", "-json", "-4", "address", "show"], check=True)
    return [
        IPv4Interface(f"{one['local']}/{one['prefixlen']}")
        for interface in json.loads(done.out)
        for one in interface.get("addr_info", ())
    ]


def check(lab: Lab, *, zfs: bool) -> None:
    """Raise HostError or UsageError where `share` cannot serve: before anything is installed."""
    if zfs:
        datasets(lab)
        sharenfs.runs(lab.host, sharenfs.system_of(lab.facts.system))
    elif lab.away:
        raise UsageError(
            f"behunt's NFS server is of this machine, not of {lab.host.name}",
            "add --zfs, and that machine shares it itself",
        )


def share(
    lab: Lab,
    bootenv: BootEnv,
    asked: str,
    address: IPv4Address,
    network: IPv4Network,
    *,
    zfs: bool = False,
    ready: Callable[[Sequence[tuple[str, str]]], None],
) -> None:
    """Serve a clone of `bootenv` until Ctrl-C: by `zfs` itself, or a server of behunt's.

    `ready` is told what to mount, and where below a client's directory, once it can be. Raises
    HostError, also where it is served already, and UsageError.
    """
    sharing = Sharing(bootenv.name, asked, os.getpid())
    served = _by_zfs if zfs else _by_server
    with (
        _held(lab.home, sharing),
        served(lab, bootenv, address, network) as mounts,
        contextlib.suppress(KeyboardInterrupt),
    ):
        ready([(f"{address}:{path}", at) for path, at in mounts])
        while not lab.stopping.wait(_HOUR):
            pass


@contextlib.contextmanager
def _by_server(
    lab: Lab, bootenv: BootEnv, address: IPv4Address, network: IPv4Network
) -> Iterator[Sequence[tuple[str, str]]]:
    prefix = f"{lab.owner.token}."
    with (
        tempfile.TemporaryDirectory(dir=lab.home.serving, prefix=prefix) as place,
        serving(address, network, Path(place)) as server,
        entered(lab, bootenv) as clone,
        server.shared(clone, bootenv.name) as shared,
    ):
        yield [(shared.path, "/")]


@contextlib.contextmanager
def _by_zfs(
    lab: Lab, bootenv: BootEnv, _address: IPv4Address, network: IPv4Network
) -> Iterator[Sequence[tuple[str, str]]]:
    """By the NFS server of the kernel that has the pool, on all addresses of that machine."""
    store, system = datasets(lab), sharenfs.system_of(lab.facts.system)
    with entered(lab, bootenv) as clone:
        export = Export(clone.root, network, ident=0)
        with store.shared(clone, system.value(export)) as nested:
            whole = replace(export, datasets=nested)
            sharenfs.check(lab.host, system, whole)
            yield (export if system.crosses else whole).mounted


def unshare(home: Path, name: str) -> list[str]:
    """End all that serve what is called `name`: the boot environments. Raises UsageError."""
    found = [(file, one) for file, one in _shared(Home(home)) if name in {one.name, one.asked}]
    if not found:
        known = ", ".join(one.name for _, one in _shared(Home(home))) or "nothing"
        raise UsageError(f"{name} is not shared", f"shared: {known}")
    for file, one in found:
        _end(file, one)
    return [one.name for _, one in found]


@contextlib.contextmanager
def _held(home: Home, sharing: Sharing) -> Iterator[None]:
    with (home.locks / f"{_PREFIX}{sharing.name}").open("a+", encoding="utf-8") as file:
        if not taken(file):
            raise HostError(
                f"{sharing.name} is shared already",
                f"end that: behunt be unsharenfs {sharing.name}",
            )
        file.truncate(0)
        json.dump(asdict(sharing), file)
        file.flush()
        yield


def _shared(home: Home) -> list[tuple[Path, Sharing]]:
    """What is served now, and the file that says so."""
    found = []
    for file in sorted(home.locks.glob(f"{_PREFIX}*")):
        with file.open(encoding="utf-8") as opened:
            if not taken(opened):
                with contextlib.suppress(ValueError, TypeError):  # it is just being written
                    found.append((file, Sharing(**json.load(opened))))
    return found


def _end(file: Path, one: Sharing) -> None:
    """What has that number may be another process, unless the lock is held still."""
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(one.pid)
        try:
            with file.open(encoding="utf-8") as opened:
                if taken(opened) or json.load(opened) != asdict(one):
                    return
            signal.pidfd_send_signal(process, signal.SIGTERM)
            if not wait_ready([process], [], _END):
                raise HostError(
                    f"{one.name} is still served, {_END:.0f} s after that was to end",
                    f"a client may keep it busy; `kill {one.pid}` ends it the hard way",
                )
        finally:
            os.close(process)
