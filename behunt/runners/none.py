"""The runner that does not get inside anything: the test runs on the host.

For trying things out, and for releases of a user's own catalogue that the test finds by itself
from its environment.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from behunt.hosts import cgroups
from behunt.hosts.confined import Confined
from behunt.hosts.sandbox import Sandbox
from behunt.model import BootEnv, Release
from behunt.runners.namespace import memory_limit
from behunt.runners.protocol import Inside, Setup
from behunt.storage.protocol import Clone


@dataclass(frozen=True)
class Bare:
    name: str = "none"
    capabilities: frozenset[str] = frozenset({"network", "loopback", "limits"})
    needs_root_tree: bool = False

    def missing(self) -> str:
        return ""

    def unfit(self, release: Release) -> str:
        del release
        return ""

    def prepared(self, bootenv: BootEnv | None) -> str | None:
        del bootenv
        return ""

    def prepare(self, release: Release, clone: Clone) -> str:
        del release, clone
        return ""

    @contextlib.contextmanager
    def enter(self, clone: Clone | None, setup: Setup) -> Iterator[Inside]:
        del clone
        with (
            cgroups.limited(setup.limits, setup.owner) as group,
            Confined(Sandbox(groups=group.procs), "none") as inside,
        ):
            yield Inside(
                inside,
                inside,
                at=PurePosixPath(setup.exchange),
                home=str(Path.home()),
                kernel=platform.release,
                exceeded=lambda: memory_limit(group, setup),
            )


NONE = Bare()
