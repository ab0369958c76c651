"""Remove what killed behunts left behind. What is alive, or not ours, is not touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from behunt.hosts import cgroups
from behunt.hosts.facts import facts
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.netboot.kernel_nfs import withdraw
from behunt.runners.jails import reap as reap_jails
from behunt.runners.vm import bhyve_disk, leftovers
from behunt.storage.disk import remove
from behunt.storage.home import Home, Owner, forget_dead_owners, is_alive, token_in
from behunt.storage.overlay import OverlayStore
from behunt.storage.protocol import Store

EXCHANGE = "inside"  # of a run's directory: what was shared with the inside


def reap(home: Home, owner: Owner, host: Host, store: Store) -> list[str]:
    """What was removed: boot environments half installed, clones, groups, shared directories."""
    removed = _running(home, host)
    removed += store.reap()
    if _system(host) == "FreeBSD":
        removed += bhyve_disk.reap(host, home.id)
    if not isinstance(store, OverlayStore):  # what is sent elsewhere is first installed here
        removed += OverlayStore(home, owner).reap()
    for directory in home.runs.glob(f"*/{EXCHANGE}"):
        if _dead(home, directory.parent.name):
            remove(directory)
            removed.append(str(directory))
    removed += _served(home)
    for path in _half_made(home):
        if _dead(home, path.name):
            remove(path)
            removed.append(str(path))
    for group in cgroups.leftovers(cgroups.found()):
        if _dead(home, group.name):
            cgroups.remove(group)
            removed.append(str(group))
    forget_dead_owners(home)
    return removed


def _running(home: Home, host: Host) -> list[str]:
    """The jails and machines of another host. Before clones, which they keep busy."""
    removed = []
    if _system(host) == "FreeBSD":
        removed += reap_jails(host, home.id, alive=lambda token: is_alive(home, token))
    if _system(host) in {"FreeBSD", "OpenBSD"}:
        removed += leftovers.reap(host, home.id, alive=lambda token: is_alive(home, token))
    return removed


def _system(host: Host) -> str:
    """Of another host; nothing of this one, where what runs ends with its behunt."""
    return "" if isinstance(host, LocalHost) else facts(host).system


def _served(home: Home) -> list[str]:
    """Files of servers, and what the kernel's, which runs on, still exports of them."""
    removed = []
    for place in home.serving.iterdir():
        if _dead(home, place.name):
            removed += withdraw(place)
            remove(place)
            removed.append(str(place))
    return removed


def _half_made(home: Home) -> Iterator[Path]:
    """Named after who makes them."""
    yield from home.kernels.glob(".fetch.*")
    yield from home.machines.glob(".make.*")
    yield from home.machines.glob("*/.state.*")
    yield from home.archives.glob("*.partial")


def _dead(home: Home, name: str) -> bool:
    """Whether `name` carries the token of an owner of this home that is gone."""
    token = token_in(name)
    known = bool(token) and (home.locks / f"owner.{token}").exists()
    return known and not is_alive(home, token)
