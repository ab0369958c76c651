"""What gets inside a boot environment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from behunt.hosts.protocol import Host
from behunt.model import UNLIMITED, BootEnv, Limits, Release
from behunt.storage.protocol import Clone

# What a test may need and a runner may offer.
CAPABILITIES = {
    "root": "runs as root, and may write anywhere",
    "isolation": "sees no process, host name or IPC object of the host",
    "own_kernel": "the kernel is the release's own",
    "network": "can reach the network when asked to (--network)",
    "loopback": "127.0.0.1 answers, without --network too",
    "limits": "memory, processes and cpu can be limited",
    "reboot": "the machine can be rebooted",
    "modules": "kernel modules can be loaded",
}
AT = PurePosixPath("/behunt")  # where a run's exchange directory is seen inside a clone


def nothing() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Setup:
    """One run's surroundings. `exchange` is the directory shared with the inside.

    With `reboots` the test may reboot its machine, where it has one: it is then run again.
    """

    exchange: Path
    hostname: str
    owner: str  # token of the behunt that runs it
    home: str = ""  # id of that behunt's home
    limits: Limits = UNLIMITED
    network: bool = False
    reboots: bool = False


@dataclass(frozen=True, slots=True)
class Inside:
    """Inside a clone: where commands run, and where the exchange directory is seen.

    `files` looks at the same files, without the cost of starting anything. `exhausted` tells,
    after a run, which resource of the harness gave out (the run says nothing about the release
    then), `exceeded` which of the test's own limits it ran into, `note` what its answer leaves in
    doubt. All answer with an empty string for nothing.
    """

    host: Host
    files: Host
    at: PurePosixPath = AT
    home: str = "/root"  # HOME of the test
    kernel: Callable[[], str] = nothing
    exhausted: Callable[[], str] = nothing
    exceeded: Callable[[], str] = nothing
    note: Callable[[], str] = nothing


class Runner(Protocol):
    """Gets inside a clone of a boot environment.

    `capabilities` are what a test may count on. `needs_root_tree` is false where a release
    needs no installed root at all.
    """

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> frozenset[str]: ...

    @property
    def needs_root_tree(self) -> bool: ...

    def missing(self) -> str:
        """What this machine lacks, as a sentence with the way to get it; empty if nothing."""
        ...

    def unfit(self, release: Release) -> str:
        """Why this release cannot be entered this way here; empty if it can."""
        ...

    def prepared(self, bootenv: BootEnv | None) -> str | None:
        """What `prepare` would return, where that is known without any work."""
        ...

    def prepare(self, release: Release, clone: Clone) -> str:
        """Once per boot environment, before its first run. Raises InstallError.

        Returns the runner's part in an answer's identity: the version of the kernel it brings,
        or nothing.
        """
        ...

    def enter(self, clone: Clone | None, setup: Setup) -> AbstractContextManager[Inside]:
        """Go inside; all that runs there is dead on leaving. Raises HostError."""
        ...
