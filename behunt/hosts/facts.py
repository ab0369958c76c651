"""What a host is, as it says itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from behunt.errors import HostError
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host

# In every system and era; one command, since a host may be far away.
_ASK = ("sh", "-c", "uname -s; uname -r; uname -m; id -u")


@dataclass(frozen=True, slots=True)
class Facts:
    """`system`, `release` and `machine` are what uname -s, -r and -m say."""

    system: str
    release: str
    machine: str
    root: bool


_KNOWN: WeakKeyDictionary[Host, Facts] = WeakKeyDictionary()


def facts(host: Host) -> Facts:
    """Ask `host`, once in its life. Raises HostError if it cannot answer."""
    if isinstance(host, LocalHost):
        here = os.uname()
        return Facts(here.sysname, here.release, here.machine, root=os.geteuid() == 0)
    if host not in _KNOWN:
        _KNOWN[host] = _asked(host)
    return _KNOWN[host]


def _asked(host: Host) -> Facts:
    said = host.run(_ASK, check=True).out.splitlines()
    match said:
        case [system, release, machine, uid]:
            return Facts(system, release, machine, root=uid == "0")
    raise HostError(
        f"{host.name} does not answer as a Unix system does: {said}",
        "its login shell must print nothing when no terminal is there",
    )
