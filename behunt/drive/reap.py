"""Remove what killed behunts left behind. What is alive, or not ours, is not touched."""

from __future__ import annotations

from behunt.hosts import cgroups
from behunt.storage.disk import remove
from behunt.storage.home import Home, forget_dead_owners, is_alive, token_in
from behunt.storage.protocol import Store

EXCHANGE = "inside"  # of a run's directory: what was shared with the inside


def reap(home: Home, store: Store) -> list[str]:
    """What was removed: boot environments half installed, clones, groups, shared directories."""
    removed = store.reap()
    for directory in home.runs.glob(f"*/{EXCHANGE}"):
        if _dead(home, directory.parent.name):
            remove(directory)
            removed.append(str(directory))
    for path in (*home.kernels.glob(".fetch.*"), *home.archives.glob("*.partial")):
        if _dead(home, path.name):
            remove(path)
            removed.append(str(path))
    for group in cgroups.leftovers(cgroups.found()):
        if _dead(home, group.name):
            cgroups.remove(group)
            removed.append(str(group))
    forget_dead_owners(home)
    return removed


def _dead(home: Home, name: str) -> bool:
    """Whether `name` carries the token of an owner of this home that is gone."""
    token = token_in(name)
    known = bool(token) and (home.locks / f"owner.{token}").exists()
    return known and not is_alive(home, token)
