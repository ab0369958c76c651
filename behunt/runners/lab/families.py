"""What machines of each family of systems boot from the network."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from behunt.model import Release
from behunt.netboot.lab import Dhcp, Machine
from behunt.runners.lab import freebsd, linux, netbsd, openbsd
from behunt.runners.lab.root import Offer, Root
from behunt.runners.vm.job import System
from behunt.storage.protocol import Clone


class Family(Protocol):
    """A module for one family. It is `FOREIGN` where this machine cannot run its programs."""

    FOREIGN: bool

    def unfit(self, release: Release, dhcp: Dhcp) -> str:
        """Why no machine can boot `release` in a lab with this DHCP; empty if one can."""
        ...

    def make(self, release: Release, clone: Clone, place: Path) -> str:
        """Fill `place`, an empty directory; the version of the kernel.

        Raises InstallError and HostError.
        """
        ...

    def recipe(self) -> str:
        """What is the same for all that is made: another one makes another thing."""
        ...

    def layered(self, clone: Clone, place: Path, machine: Machine) -> Clone:
        """`clone`, with the layers that `machine` needs on top of it. Raises HostError."""
        ...

    def offer(self, machine: Machine, root: Root, place: Path, init: str = "") -> Offer:
        """What `machine` is told and given, to boot `root` and do a run's job there.

        With an `init` there is no job: that is process 1, or the system's own if it takes no other.
        """
        ...

    def system(self, version: str) -> System:
        """How a job does there what no two systems do alike."""
        ...


FAMILIES: dict[str, Family] = {
    "debian": linux,
    "freebsd": freebsd,
    "netbsd": netbsd,
    "openbsd": openbsd,
}


def unfit(release: Release, dhcp: Dhcp) -> str:
    """Why no machine can boot `release` in a lab with this DHCP; empty if one can."""
    if family := FAMILIES.get(release.os):
        return family.unfit(release, dhcp)
    return f"behunt cannot boot {release.label} over the network yet"
