"""One-shot jails as command lines: jail(8), rctl(8). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from behunt.families import freebsd
from behunt.model import Limits

_PREFIX = "bh"
RULESET = 4  # devfsrules_jail of /etc/defaults/devfs.rules
_VERSION = re.compile(r"freebsd-(\d+(?:\.\d+)*)(?:-|$)")
_PROC_WANTED = 4  # the last major version whose own programs read /proc


class Network(StrEnum):
    """What a jail sees: no addresses at all, the host's, or a stack of its own with only lo0."""

    NONE = "none"
    INHERIT = "inherit"
    VNET = "vnet"


_NETWORKS = {
    Network.NONE: ("ip4=disable", "ip6=disable"),
    Network.INHERIT: ("ip4=inherit", "ip6=inherit", "allow.raw_sockets"),
    Network.VNET: ("vnet", "allow.raw_sockets"),
}
# `$1` is the jail's name. lo0 of a new stack has no address yet. Before 13.3 ifconfig has no -j,
# and the jail's own has to do it.
LOOPBACK = """\
ifconfig -j "$1" lo0 inet 127.0.0.1/8 up 2>/dev/null ||
  jexec "$1" /sbin/ifconfig lo0 inet 127.0.0.1/8 up
"""
# What tests may do that harms no one: flags of files in a clone, IPC objects of its own, and
# statfs(2) of the datasets that lie below its root.
_ALWAYS = (
    "sysvmsg=new",
    "sysvsem=new",
    "sysvshm=new",
    "allow.chflags",
    "enforce_statfs=1",
)
# What some kernels have not, and since when the others do (jail(8) of these releases).
_SINCE = {
    "osrelease": (10, 2),
    "osreldate": (10, 2),
    "sysvmsg": (11, 0),
    "sysvsem": (11, 0),
    "sysvshm": (11, 0),
    "ip4": (8, 0),
    "ip6": (8, 0),
}


@dataclass(frozen=True, slots=True)
class Jail:
    """One jail. With `osrelease` and `osreldate` it says that it is that release."""

    name: str
    root: str
    hostname: str
    network: Network = Network.NONE
    osrelease: str = ""
    osreldate: int = 0
    procfs: bool = False


def create_args(jail: Jail, parameters: Iterable[str], host: str) -> list[str]:
    """The arguments of `jail`, for a host with these jail parameters and uname -r `host`.

    Where it does not tell its parameters, they are guessed from its release.
    """
    known = frozenset(parameters)
    wanted = [
        f"name={jail.name}",
        f"path={jail.root}",
        f"host.hostname={jail.hostname}",
        "persist",
        "mount.devfs",
        *(["mount.procfs"] if jail.procfs else []),
        f"devfs_ruleset={RULESET}",
        *_NETWORKS[jail.network],
        *_ALWAYS,
        *([f"osrelease={jail.osrelease}"] if jail.osrelease else []),
        *([f"osreldate={jail.osreldate}"] if jail.osreldate else []),
    ]
    return ["jail", "-c", *(word for word in wanted if _is_known(word, known, host))]


def _is_known(word: str, known: frozenset[str], host: str) -> bool:
    """What is not optional is passed in any case: jail(8) says so if it does not know it."""
    name = word.partition("=")[0]
    if name not in _SINCE:
        return True
    if not known:
        return freebsd.version_of(host) >= _SINCE[name]
    return any(one == name or one.startswith(f"{name}.") for one in known)


def parameters(sysctl: str) -> frozenset[str]:
    """The jail parameters that a kernel has, of what `sysctl -N security.jail.param` printed.

    A parameter that has others below it is printed with a dot: `security.jail.param.ip4.`.
    """
    rows = (row.partition(":")[0].strip() for row in sysctl.splitlines())
    prefix = "security.jail.param."
    return frozenset(row.removeprefix(prefix).rstrip(".") for row in rows if row.startswith(prefix))


def jail_name(home: str, owner: str, number: int) -> str:
    """Which behunt's it is, for the one that reaps it. No dot: that is a jail in a jail."""
    return f"{_prefix(home)}{owner}_{number}"


def owner_of(name: str, home: str) -> str:
    """The owner's token in the name of a jail of `home`; empty for any other jail."""
    found = re.fullmatch(rf"{re.escape(_prefix(home))}(\d+x[0-9a-f]+)_\d+", name)
    return found[1] if found else ""


def _prefix(home: str) -> str:
    return f"{_PREFIX}_{re.sub(r'[^0-9A-Za-z]', '', home)}_"


def spoofed(release: str, header: str) -> tuple[str, int]:
    """(osrelease, osreldate) of a world; `release` is a Release's id, `header` its param.h."""
    found = _VERSION.match(release)
    version = found[1] if found else ""
    return f"{version}-RELEASE" if version else "", freebsd.osreldate(version or "0", header)


def wants_procfs(release: str) -> bool:
    found = _VERSION.match(release)
    return found is not None and freebsd.version_of(found[1])[0] <= _PROC_WANTED


def rules(name: str, limits: Limits) -> list[str]:
    """rctl(8) rules. The kernel denies no memory that is only touched later: it kills, and logs.

    `pcpu` counts in percent of one processor.
    """
    found = []
    if limits.memory is not None:
        found += [f"memoryuse:{action}={limits.memory}" for action in ("log", "sigkill")]
    if limits.processes is not None:
        found.append(f"maxproc:deny={limits.processes}")
    if limits.cpus is not None:
        found.append(f"pcpu:deny={max(1, round(limits.cpus * 100))}")
    return [f"jail:{name}:{rule}" for rule in found]
