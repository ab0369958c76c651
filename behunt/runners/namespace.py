"""The two runners that share the host's kernel: in namespaces, or in a bare chroot."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace

from behunt.families import runs_here
from behunt.hosts import cgroups
from behunt.hosts.confined import Confined
from behunt.hosts.sandbox import ALL_NAMESPACES, Bind, Sandbox
from behunt.model import BootEnv, Release
from behunt.runners.protocol import AT, Inside, Setup
from behunt.storage.protocol import Clone

_LITTLE = 1 << 16  # bytes; a file system with less free is full


def sandbox_of(
    clone: Clone,
    setup: Setup,
    namespaces: tuple[str, ...] = ALL_NAMESPACES,
    layers: tuple[str, ...] = (),
) -> Sandbox:
    """The clone as a sandbox, the exchange directory bound into it. `layers` lie on top."""
    kept = tuple(name for name in namespaces if not (name == "net" and setup.network))
    return Sandbox(
        namespaces=kept,
        lower=(*layers, *clone.lower) if clone.lower else (),
        upper=clone.upper,
        work=clone.work,
        size=setup.limits.disk or 0,
        root=clone.root,
        stage=clone.stage,
        binds=(Bind(str(setup.exchange), str(AT)),),
        hostname=setup.hostname,
        tame=True,
    )


@contextlib.contextmanager
def confined(sandbox: Sandbox, setup: Setup, name: str) -> Iterator[tuple[Confined, cgroups.Group]]:
    """Enter `sandbox` under the limits of `setup`."""
    with (
        cgroups.limited(setup.limits, setup.owner) as group,
        Confined(replace(sandbox, groups=group.procs), name) as inside,
    ):
        yield inside, group


def full(inside: Confined) -> str:
    """Whether the clone or its outputs have no room left."""
    for path, what in (("/", "the clone's disk"), (str(AT), "the disk of behunt's home")):
        if inside.session.free(path) < _LITTLE:
            return f"{what} is full"
    return ""


@dataclass(frozen=True)
class Shared:
    """A runner on the host's own kernel: its verdicts are about userland."""

    name: str
    capabilities: frozenset[str]
    namespaces: tuple[str, ...]
    needs_root_tree: bool = True

    def missing(self) -> str:
        if platform.system() != "Linux":
            return f"the runner {self.name} needs Linux"
        return "" if os.geteuid() == 0 else f"the runner {self.name} needs root: use sudo"

    def unfit(self, release: Release) -> str:
        return runs_here(release)

    def prepared(self, bootenv: BootEnv | None) -> str | None:
        del bootenv
        return ""

    def prepare(self, release: Release, clone: Clone) -> str:
        del release, clone
        return ""

    @contextlib.contextmanager
    def enter(self, clone: Clone | None, setup: Setup) -> Iterator[Inside]:
        if clone is None:
            raise ValueError(f"the runner {self.name} needs a clone")
        sandbox = sandbox_of(clone, setup, self.namespaces)
        with confined(sandbox, setup, self.name) as (inside, group):
            yield Inside(
                inside,
                inside,
                kernel=platform.release,
                exhausted=lambda: full(inside),
                exceeded=lambda: memory_limit(group, setup),
            )


def memory_limit(group: cgroups.Group, setup: Setup) -> str:
    if group.out_of_memory():
        return f"out of memory: the limit is {setup.limits.memory} bytes"
    return ""


NAMESPACE = Shared(
    "namespace",
    frozenset({"root", "isolation", "network", "loopback", "limits"}),
    ALL_NAMESPACES,
)
# No view of its own of processes, IPC and host name: for hosts, and tests, that mind those.
CHROOT = Shared("chroot", frozenset({"root", "network", "loopback", "limits"}), ("mount", "net"))
