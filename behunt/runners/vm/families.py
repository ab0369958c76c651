"""What machines of each family of systems are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from behunt.model import Release
from behunt.runners.vm import freebsd, linux, netbsd, openbsd_disk
from behunt.runners.vm.job import System
from behunt.runners.vm.machine import Boot, Hardware
from behunt.runners.vm.qemu_args import Emulator
from behunt.storage.protocol import Clone


class Family(Protocol):
    """A module for one family.

    `MEMORY` is what the system itself takes, in bytes. It is `FOREIGN` where this machine's kernel
    cannot run its programs.
    """

    MEMORY: int
    FOREIGN: bool

    def unfit(self, release: Release) -> str:
        """Why no machine can boot `release` here; empty if one can."""
        ...

    def make(
        self, release: Release, clone: Clone, hardware: Hardware, place: Path, emulator: Emulator
    ) -> None:
        """Fill `place`, an empty directory, and write there what was Made at last.

        `emulator` is for what takes a machine to be made. Raises InstallError and HostError.
        """
        ...

    def system(self, version: str) -> System: ...

    def boot(self, place: Path) -> Boot: ...

    def recipe(self) -> str:
        """What is the same for all that is made: another one makes another thing."""
        ...


FAMILIES: dict[str, Family] = {
    "debian": linux,
    "freebsd": freebsd,
    "netbsd": netbsd,
    "openbsd": openbsd_disk,
}
