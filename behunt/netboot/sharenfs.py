"""The property `sharenfs` of ZFS: what a host's own NFS server is told by it, and then exports.

zfsprops(7), share/nfs.c of libshare: Linux keeps it in /etc/exports.d and calls exportfs(8),
FreeBSD keeps it in /etc/zfs/exports and tells mountd(8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from behunt.errors import HostError
from behunt.hosts.protocol import Host
from behunt.netboot.exports import Export, Served, freebsd_sharenfs, linux_sharenfs
from behunt.netboot.nfs_faults import Exported, faults, freebsd_exported, linux_exported


@dataclass(frozen=True, slots=True)
class System:
    """`value` is the property's; `runs` a script that tells whether there is a server at all.

    `crosses`: a client that mounts the top gets what lies nested in it, too.
    """

    value: Callable[[Export], str]
    runs: str
    start: str  # what starts the server
    listing: tuple[str, ...]
    listed: Callable[[str], list[Exported]]
    crosses: bool


SYSTEMS = {
    "Linux": System(
        linux_sharenfs,
        'command -v exportfs && read -r n </proc/fs/nfsd/threads && [ "$n" -gt 0 ]',
        "apt-get install nfs-kernel-server; systemctl start nfs-server",
        ("exportfs", "-s"),
        linux_exported,
        crosses=True,
    ),
    "FreeBSD": System(
        freebsd_sharenfs,
        "pgrep -x mountd && pgrep -x nfsd",
        "service nfsd onestart",
        ("cat", "/etc/zfs/exports"),
        freebsd_exported,
        crosses=False,
    ),
}


def system_of(name: str) -> System:
    """What a host of the system `name`, as uname -s says it, does. Raises HostError."""
    if name not in SYSTEMS:
        raise HostError(f"what ZFS exports on {name} is not known", "leave out --zfs")
    return SYSTEMS[name]


def runs(host: Host, system: System) -> None:
    """Raise HostError where no NFS server runs: ZFS shares without one, and says nothing."""
    if host.run(["sh", "-c", system.runs]).code != 0:
        raise HostError(f"the kernel's NFS server does not run on {host.name}", system.start)


def check(host: Host, system: System, export: Export) -> None:
    """Raise HostError unless `host` exports all of it, to whom it shall, and to nobody else."""
    given = system.listed(host.run(system.listing, check=True).out)
    for why in faults(export, given, Served()):
        raise HostError(f"ZFS has not shared it as it was told: {why}", "see docs/zfs.md")
