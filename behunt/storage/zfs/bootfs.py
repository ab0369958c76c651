"""What a pool boots from."""

from __future__ import annotations

from behunt.hosts.protocol import checked
from behunt.storage.zfs.place import Place


def bootfs(place: Place) -> str:
    """The dataset that the pool boots from; empty if none."""
    argv = ["zpool", "get", "bootfs", place.pool]
    last = checked(place.door.host.run(argv)).out.splitlines()[-1]
    # NAME PROPERTY VALUE SOURCE, in every version of zpool(8); the oldest has no -H.
    value = last.split()[2]
    return "" if value == "-" else value
