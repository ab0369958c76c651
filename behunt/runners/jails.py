"""Which jails a host has, and how one of ours goes: with all that runs and is mounted in it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from behunt.errors import HostError
from behunt.hosts.protocol import Host
from behunt.runners.jail_args import owner_of
from behunt.runners.remote import leaving
from behunt.runners.remote_root import UMOUNT_VIRTUAL

# libxo came with 11. Dying jails are listed too: their devfs may still be mounted.
_LIST = """\
jls --libxo json -dn jid name path dying 2>/dev/null || jls -dnq jid name path dying 2>/dev/null
"""
# `$1` is the jail's name, `$2` its root: may be repeated. `jail -R` does not wait for what it
# kills, and misses what is being forked: the jail is dying (-d) until that has ended. It leaves
# devfs mounted, which keeps the clone busy.
_LEAVE = f"""\
rctl -r "jail:$1" >/dev/null 2>&1
if jid=$(jls -dj "$1" jid 2>/dev/null); then
  if jls -j "$1" jid >/dev/null 2>&1; then jail -R "$1" || exit 1; fi
  n=0
  while pkill -KILL -j "$jid"; do
    n=$((n + 1))
    test $n -lt 100 || {{ echo "processes in it do not die" >&2; exit 1; }}
    sleep 0.1
  done
fi
set -- "$2"
{UMOUNT_VIRTUAL}"""


@dataclass(frozen=True, slots=True)
class Listed:
    jid: int
    name: str
    path: str
    dying: bool = False


def listed(text: str) -> list[Listed]:
    """What jls printed with the parameters jid, name, path and dying: JSON, or name=value rows."""
    if text.lstrip().startswith("{"):
        rows = json.loads(text)["jail-information"]["jail"]
        return [
            Listed(int(row["jid"]), row["name"], row["path"], bool(row.get("dying")))
            for row in rows
        ]
    return [_row(shlex.split(row)) for row in text.splitlines() if row.strip()]


def _row(words: list[str]) -> Listed:
    """A parameter that is true or false is `dying` or `nodying`."""
    values = dict(word.split("=", 1) for word in words if "=" in word)
    return Listed(int(values["jid"]), values["name"], values["path"], "dying" in words)


def jails(host: Host) -> list[Listed]:
    """The jails of `host`; none where there are no jails."""
    done = host.run(["sh", "-c", _LIST])
    if done.code != 0:
        return []
    try:
        return listed(done.out)
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(f"cannot read what jls says on {host.name}: {error}") from error


def leave(host: Host, name: str, root: str) -> None:
    """Remove the jail `name` and unmount what was mounted for it. Raises HostError."""
    leaving(
        host,
        ["sh", "-c", _LEAVE, "sh", name, root],
        f"remove the jail {name}",
        f"on that host: jail -R {name}; umount -f {root}/dev",
    )


def reap(host: Host, home: str, alive: Callable[[str], bool]) -> list[str]:
    """Remove the jails of `home` (its id) whose owner's token is not `alive`; their names.

    Before clones are: a jail keeps its own busy.
    """
    removed = []
    for jail in jails(host):
        token = owner_of(jail.name, home)
        if token and not alive(token):
            leave(host, jail.name, jail.path)
            removed.append(jail.name)
    return removed
