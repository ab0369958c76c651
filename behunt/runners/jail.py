"""The runner of FreeBSD hosts: a jail for one run, on the host's kernel.

Its verdicts are about userland: the kernel is the host's, though the jail may say otherwise
(`osrelease`, `osreldate`).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from behunt.errors import HostError
from behunt.families import freebsd, runs_here
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.model import Limits, Release
from behunt.runners.jail_args import (
    LOOPBACK,
    RULESET,
    Jail,
    Network,
    create_args,
    jail_name,
    parameters,
    rules,
    spoofed,
    wants_procfs,
)
from behunt.runners.jails import leave
from behunt.runners.protocol import Inside, Setup
from behunt.runners.remote import Remote
from behunt.storage.protocol import Clone

_PROGRAMS = ("jail", "jexec", "jls", "mount", "pkill", "tar", "umount")
# One command: the host may be far away. Names that a kernel has not are left out.
_ASK = """\
sysctl kern.features kern.racct.enable security.jail.jailed security.jail.children.max
sysctl -N security.jail.param
"""
# A link on the way could lead to the host's own header: then the number is wrong, no more.
_HEADER = 'cd "$1/usr/include" && grep -h __FreeBSD_version osreldate.h sys/param.h'
_LOGGED = 'dmesg | grep -F "$1"'
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class _Says:
    """What sysctl says of a host's jails."""

    kernel: freebsd.Kernel
    racct: bool
    may: bool  # make jails: it is none itself, or one that may
    parameters: frozenset[str]


@dataclass(frozen=True)
class JailRunner(Remote):
    """With `vnet` a run without --network gets a network stack of its own, with 127.0.0.1."""

    name: str = "jail"
    vnet: bool = False

    @cached_property
    def _says(self) -> _Says:
        said = self.host.run(["sh", "-c", _ASK]).out
        rows = dict(row.split(": ", 1) for row in said.splitlines() if ": " in row)
        compat, compat32 = freebsd.features(said)
        return _Says(
            freebsd.Kernel(self.facts.release, self.facts.machine, compat, compat32),
            racct=rows.get("kern.racct.enable") == "1",
            may=rows.get("security.jail.jailed") != "1"
            or rows.get("security.jail.children.max", "0") != "0",
            parameters=parameters(said),
        )

    @property
    def capabilities(self) -> frozenset[str]:
        limited = {"limits"} if self._is_there and self._says.racct else set()
        loopback = {"loopback"} if self.vnet else set()
        return super().capabilities | {"isolation"} | limited | loopback

    @property
    def _is_there(self) -> bool:
        return self.facts.system == "FreeBSD"

    @property
    def no_limits(self) -> str:
        return f"add kern.racct.enable=1 to /boot/loader.conf of {self.host.name} and reboot it"

    def missing(self) -> str:
        if not self._is_there:
            return "the runner jail needs a FreeBSD host: give one with --host root@HOST"
        if not self.facts.root:
            here = isinstance(self.host, LocalHost)
            way = "use sudo" if here else "connect as root, with --host root@HOST"
            return f"the runner jail needs root on {self.host.name}: {way}"
        if not self._says.may:
            return f"{self.host.name} is a jail itself, and may not make others"
        if self.vnet and "vnet" not in self._says.parameters:
            return f"the kernel of {self.host.name} has no VIMAGE, which is in GENERIC from 12.0 on"
        return self.lacking(_PROGRAMS) or self._unguarded()

    def _unguarded(self) -> str:
        """Without its ruleset a jail's /dev shows the host's disks."""
        shown = self.host.run(["devfs", "rule", "-s", str(RULESET), "show"])
        if shown.code != 0 or shown.out.strip():
            return ""
        return (
            f"ruleset {RULESET} of devfs is empty on {self.host.name}: there, "
            "`sysrc devfs_load_rulesets=YES` and `service devfs restart` load it"
        )

    def unfit(self, release: Release) -> str:
        if release.os == "freebsd" and self._is_there:
            return freebsd.runs_on(release, self._says.kernel)
        if release.os == "freebsd" and not freebsd.in_jails(release):
            return freebsd.runs_on(release, freebsd.Kernel())
        return runs_here(release, "FreeBSD", self.facts.machine if self._is_there else "")

    @contextlib.contextmanager
    def _entered(self, clone: Clone | None, root: str, setup: Setup) -> Iterator[Inside]:
        jail = self._jail(clone.bootenv.release if clone else "", root, setup)

        def anew() -> None:
            leave(self.host, jail.name, root)
            self._create(jail, setup.limits)

        try:
            self._create(jail, setup.limits)
            inside = self.inside(("jexec", jail.name), root, setup, after_deadline=anew)
            yield replace(inside, exceeded=lambda: memory_limit(self.host, jail.name, setup.limits))
        finally:
            leave(self.host, jail.name, root)

    def _jail(self, release: str, root: str, setup: Setup) -> Jail:
        header = self.host.run(["sh", "-c", _HEADER, "sh", root]).out
        osrelease, osreldate = spoofed(release, header)
        alone = Network.VNET if self.vnet else Network.NONE
        return Jail(
            jail_name(setup.home, setup.owner, next(_numbers)),
            root,
            setup.hostname,
            network=Network.INHERIT if setup.network else alone,
            osrelease=osrelease,
            osreldate=osreldate,
            procfs=wants_procfs(release),
        )

    def _create(self, jail: Jail, limits: Limits) -> None:
        argv = create_args(jail, self._says.parameters, self.facts.release)
        self._must(argv, f"make a jail in {jail.root}")
        if jail.network is Network.VNET:
            self._must(["sh", "-c", LOOPBACK, "sh", jail.name], f"bring up lo0 of {jail.name}")
        for rule in rules(jail.name, limits):
            self._must(["rctl", "-a", rule], f"limit the jail {jail.name}")

    def _must(self, argv: list[str], what: str) -> None:
        done = self.host.run(argv)
        if done.code != 0:
            said = (done.err or done.out).strip().splitlines() or [done.how]
            raise HostError(
                f"cannot {what} on {self.host.name}: {said[-1]}",
                "`behunt doctor --host` checks what jails need there",
            )


def vnet(host: Host) -> JailRunner:
    return JailRunner(host, name="vnet", vnet=True)


def memory_limit(host: Host, name: str, limits: Limits) -> str:
    """Whether the jail ran into its memory limit, as the kernel has logged it."""
    if limits.memory is None:
        return ""
    logged = host.run(["sh", "-c", _LOGGED, "sh", f'"jail:{name}:memoryuse:log='])
    return f"out of memory: the limit is {limits.memory} bytes" if logged.code == 0 else ""
