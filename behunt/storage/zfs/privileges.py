"""What a user who is not root must be allowed (`zfs allow`) for behunt to work.

Linux lets nobody but root mount, whatever ZFS delegates (zfs-allow(8)): there behunt calls
mkdir, mount and umount through `sudo -n`. FreeBSD lets users mount on directories of their own
once vfs.usermount is 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from behunt.hosts.protocol import Host

PERMISSIONS = (
    "create",
    "destroy",
    "snapshot",
    "clone",
    "promote",
    "rename",
    "rollback",
    "hold",
    "release",
    "mount",
    "canmount",
    "mountpoint",
    "userprop",
)
SETS = ("atime", "exec", "setuid")  # properties that layouts set
NEEDED = (*PERMISSIONS, *SETS)

SUDO = "{user} ALL=(root) NOPASSWD: /bin/mkdir, /bin/mount, /bin/umount"
USERMOUNT = "sysctl vfs.usermount=1"

_LINE = re.compile(
    r"^\s+(?:user (?P<user>\S+)|group (?P<group>\S+)|(?P<everyone>everyone))\s+(?P<may>.+)$"
)


def allowed(text: str, user: str, groups: Iterable[str] = ()) -> set[str]:
    """What `zfs allow DATASET` says that `user` may do there and below.

    Permissions that hold for the dataset alone, or below it alone, do not count: behunt makes
    datasets at both.
    """
    found: set[str] = set()
    mine, counts = set(groups), False
    for line in text.splitlines():
        if line.endswith("permissions:"):
            counts = line.startswith("Local+Descendent")
        elif counts and (match := _LINE.match(line)):
            ours = match["user"] == user or match["group"] in mine or match["everyone"]
            if ours:
                found |= set(match["may"].split(","))
    return found


def missing(text: str, user: str, groups: Iterable[str] = ()) -> list[str]:
    """What `user` lacks of NEEDED."""
    have = allowed(text, user, groups)
    return [permission for permission in NEEDED if permission not in have]


def lacking(host: Host, dataset: str) -> tuple[str, list[str]]:
    """Who we are on `host`, and what of NEEDED is not allowed on `dataset`. Raises HostError."""
    user, *groups = host.run(["sh", "-c", "id -un; id -Gn"], check=True).out.split()
    told = host.run(["zfs", "allow", dataset], check=True).out
    return user, missing(told, user, groups)


def grant(dataset: str, user: str, permissions: Sequence[str] = NEEDED) -> str:
    """The command that allows it."""
    return f"zfs allow -u {user} {','.join(permissions)} {dataset}"
