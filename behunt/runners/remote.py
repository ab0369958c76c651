"""Runners that get inside a mounted clone through a Host: on another machine, mostly.

They need no part of behunt there: sh, tar, and what the base system of that host has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from behunt.errors import HostError
from behunt.families import freebsd, runs_here
from behunt.hosts.facts import Facts, facts
from behunt.hosts.protocol import Host
from behunt.hosts.sandbox import ALL_NAMESPACES
from behunt.model import BootEnv, Limits, Release
from behunt.runners import remote_exchange, remote_root
from behunt.runners.protocol import Inside, Runner, Setup
from behunt.runners.remote_host import Entered
from behunt.storage.protocol import Clone

_LITTLE = 64  # KiB; a file system with less free is full
_TRIES = 3  # to leave: Ctrl-C ends commands on the way, also those that clean up
_MISSING = 'for p; do command -v "$p" >/dev/null || echo "$p"; done'


@dataclass(frozen=True)
class Remote:
    """What all runners over `host` share. The clone they enter is mounted there."""

    host: Host
    name: str
    needs_root_tree: bool = True

    @cached_property
    def facts(self) -> Facts:
        return facts(self.host)

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"root", "network"})

    def prepared(self, bootenv: BootEnv | None) -> str | None:
        del bootenv
        return ""

    def prepare(self, release: Release, clone: Clone) -> str:
        del release, clone
        return ""

    @contextlib.contextmanager
    def enter(self, clone: Clone | None, setup: Setup) -> Iterator[Inside]:
        root = self._root_of(clone)
        self._check_limits(setup.limits)
        remote_exchange.put(self.host, root, setup.exchange)
        try:
            with self._entered(clone, root, setup) as inside:
                yield inside
            remote_exchange.get(self.host, root, setup.exchange)
        finally:
            with contextlib.suppress(HostError):  # a clone is destroyed in any case
                remote_exchange.forget(self.host, root)

    def _entered(
        self, clone: Clone | None, root: str, setup: Setup
    ) -> contextlib.AbstractContextManager[Inside]:
        """Go inside `root`; all that runs in there is dead on leaving."""
        raise NotImplementedError

    def _root_of(self, clone: Clone | None) -> str:
        if clone is None:
            raise ValueError(f"the runner {self.name} needs a clone")
        if not clone.root:
            raise HostError(
                f"the runner {self.name} enters what is mounted on {self.host.name}, and the "
                f"clone {clone.name} is not",
                "keep boot environments in a pool of that host: --store zfs:POOL/DATASET",
            )
        return clone.root

    def _check_limits(self, limits: Limits) -> None:
        asked = limits.memory or limits.processes or limits.cpus
        if asked and "limits" not in self.capabilities:
            raise HostError(
                f"the runner {self.name} on {self.host.name} cannot limit a test", self.no_limits
            )

    @property
    def no_limits(self) -> str:
        return "leave out --memory, --processes and --cpus, or use a runner with limits"

    def lacking(self, programs: Sequence[str]) -> str:
        """Which of the programs the host has not, as a sentence."""
        found = self.host.run(["sh", "-c", _MISSING, "sh", *programs], check=True).out.split()
        if not found:
            return ""
        return f"the runner {self.name} needs {', '.join(found)} on {self.host.name}"

    def inside(
        self,
        prefix: tuple[str, ...],
        root: str,
        setup: Setup,
        after_deadline: Callable[[], object],
    ) -> Inside:
        host = Entered(
            self.host,
            prefix,
            f"{self.name} {root}",
            root=root,
            exchange=setup.exchange,
            machine=self.facts.machine,
            after_deadline=after_deadline,
        )
        # Two of them: no kernel of ours has looked for the interpreter (see drive/trial.py).
        return Inside(
            host,
            replace(host),
            kernel=lambda: self.facts.release,
            exhausted=lambda: full(self.host, root),
        )


def leaving(host: Host, argv: Sequence[str], what: str, hint: str) -> None:
    """Run `argv`, which cleans up and may be repeated. Raises HostError if it cannot."""
    for attempt in range(_TRIES):
        try:
            done = host.run(argv)
            if done.code == 0:
                return
        except HostError:
            if attempt + 1 == _TRIES:
                raise
    said = (done.err or done.out).strip().splitlines() or [done.how]
    raise HostError(f"cannot {what} on {host.name}: {said[-1]}", hint)


def full(host: Host, root: str) -> str:
    """Whether the file system of `root` has no room left."""
    rows = host.run(["df", "-Pk", root]).out.splitlines()
    with contextlib.suppress(IndexError, ValueError):
        if int(rows[-1].split()[3]) < _LITTLE:
            return "the clone's disk is full"
    return ""


@dataclass(frozen=True)
class SharedKernel(Remote):
    """In a chroot on the host's kernel; on Linux in namespaces of its own."""

    name: str = "chroot"
    namespaces: tuple[str, ...] = ("mount", "net")

    @property
    def capabilities(self) -> frozenset[str]:
        isolated = {"isolation"} if "pid" in self.namespaces else set()
        return super().capabilities | {"loopback"} | isolated

    def missing(self) -> str:
        on_linux = self.facts.system == "Linux"
        if "pid" in self.namespaces and not on_linux:
            return f"the runner {self.name} needs Linux, and {self.host.name} runs {self._system}"
        if not self.facts.root:
            return f"the runner {self.name} needs root on {self.host.name}"
        if self.facts.system not in {"Linux", "FreeBSD"}:
            return f"the runner {self.name} knows Linux and FreeBSD, not {self._system}"
        programs = remote_root.LINUX_PROGRAMS if on_linux else remote_root.FREEBSD_PROGRAMS
        return self.lacking(programs)

    @property
    def _system(self) -> str:
        return self.facts.system

    def unfit(self, release: Release) -> str:
        return runs_there(release, self.facts, self.host)

    @contextlib.contextmanager
    def _entered(self, clone: Clone | None, root: str, setup: Setup) -> Iterator[Inside]:
        del clone
        end = ["sh", "-c", remote_root.END_CHROOTED, "sh", root]

        def die() -> None:
            leaving(self.host, end, f"end what runs in {root}", "look at its processes there")

        with self._devices(root):
            try:
                yield self.inside(self._prefix(root, setup), root, setup, die)
            finally:
                die()

    def _prefix(self, root: str, setup: Setup) -> tuple[str, ...]:
        if self.facts.system != "Linux":
            return ("chroot", root)
        kinds = [kind for kind in self.namespaces if not (kind == "net" and setup.network)]
        return remote_root.surrounded(root, setup.hostname, kinds)

    @contextlib.contextmanager
    def _devices(self, root: str) -> Iterator[None]:
        """Devices for a world that gets no namespace of its own to have them mounted in."""
        if self.facts.system == "Linux":
            yield
            return
        self.host.run(["sh", "-c", remote_root.MOUNT_DEVFS, "sh", root], check=True)
        try:
            yield
        finally:
            umount = ["sh", "-c", remote_root.UMOUNT_VIRTUAL, "sh", root]
            leaving(self.host, umount, f"unmount {root}/dev", f"umount -f {root}/dev")


def runs_there(release: Release, known: Facts, host: Host) -> str:
    """Why the kernel of `host` cannot run the programs of `release`; empty if it can."""
    if release.os == "freebsd" and known.system == "FreeBSD":
        return freebsd.runs_on(release, kernel_of(known, host))
    return runs_here(release, known.system, known.machine)


def kernel_of(known: Facts, host: Host) -> freebsd.Kernel:
    compat, compat32 = freebsd.features(host.run(["sysctl", "kern.features"]).out)
    return freebsd.Kernel(known.release, known.machine, compat, compat32)


@dataclass(frozen=True)
class OnlyHere:
    """A runner of this machine, asked for on `away`: it says that it cannot be had there."""

    here: Runner
    away: str

    @property
    def name(self) -> str:
        return self.here.name

    @property
    def capabilities(self) -> frozenset[str]:
        return self.here.capabilities

    @property
    def needs_root_tree(self) -> bool:
        return self.here.needs_root_tree

    def missing(self) -> str:
        return f"the runner {self.name} works on this machine only, not on {self.away}"

    def unfit(self, release: Release) -> str:
        return self.here.unfit(release)

    def prepared(self, bootenv: BootEnv | None) -> str | None:
        return self.here.prepared(bootenv)

    def prepare(self, release: Release, clone: Clone) -> str:
        return self.here.prepare(release, clone)

    def enter(self, clone: Clone | None, setup: Setup) -> contextlib.AbstractContextManager[Inside]:
        del clone, setup
        raise HostError(self.missing(), f"leave out --host, or --runner {self.name}")


def shared_kernel(host: Host) -> tuple[SharedKernel, SharedKernel]:
    """The runners `chroot` and `namespace` over `host`."""
    return (
        SharedKernel(host, "chroot"),
        SharedKernel(host, "namespace", namespaces=ALL_NAMESPACES),
    )
