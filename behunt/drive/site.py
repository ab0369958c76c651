"""Where behunt works: on which host, and in which store there."""

from __future__ import annotations

import contextlib

from behunt.errors import HostError, UsageError
from behunt.hosts.facts import facts
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.hosts.ssh import SshHost
from behunt.storage.home import Home, Owner
from behunt.storage.overlay import OverlayStore
from behunt.storage.protocol import Store
from behunt.storage.zfs.commands import Commands
from behunt.storage.zfs.core import Core
from behunt.storage.zfs.door import Door
from behunt.storage.zfs.store import ZfsStore
from behunt.storage.zfs.watched import Watched

OVERLAY = "overlay"
ZFS = "zfs:"


def host_of(destination: str) -> Host:
    """This machine for an empty `destination`; else the one that ssh(1) knows by it."""
    return SshHost(destination) if destination else LocalHost()


def leave(host: Host) -> None:
    """Close what keeps a connection open."""
    if isinstance(host, SshHost):
        host.close()


def dataset_of(store: str) -> str:
    """The dataset of `zfs:POOL/DATASET`; empty for the overlay store. Raises UsageError."""
    if store == OVERLAY:
        return ""
    if not store.startswith(ZFS) or store == ZFS:
        raise UsageError(f"there is no store {store}", "stores: overlay, zfs:POOL/DATASET")
    return store.removeprefix(ZFS)


def store_of(
    store: str, host: Host, home: Home, owner: Owner, *, layout: str = "", on_disk: bool = False
) -> Store:
    """The store called `store` on `host`. Raises UsageError for one that cannot be there."""
    dataset = dataset_of(store)
    if dataset:
        return zfs_store(dataset, host, home, owner, layout=layout)
    if not isinstance(host, LocalHost):
        raise UsageError(
            f"the overlay store is of this machine only, not of {host.name}",
            "name a dataset there: --store zfs:POOL/DATASET",
        )
    return OverlayStore(home, owner, on_disk=on_disk)


def zfs_store(dataset: str, host: Host, home: Home, owner: Owner, *, layout: str = "") -> ZfsStore:
    """Boot environments below `dataset`: by libzfs_core where that is, else by zfs(8)."""
    door = Watched(door_to(host), dataset)
    return ZfsStore(home, owner, door, dataset, layout=layout)


def door_to(host: Host) -> Door:
    """libzfs_core where this machine's Python has it, else zfs(8) on `host`."""
    there = facts(host)
    by_sudo = there.system == "Linux" and not there.root  # Linux lets no one else mount
    commands = Commands(host, elevate=("sudo", "-n") if by_sudo else ())
    if isinstance(host, LocalHost):
        with contextlib.suppress(HostError):  # `behunt doctor` says why not
            return Core(commands)
    return commands
