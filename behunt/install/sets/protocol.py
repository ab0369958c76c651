"""What a family of distribution sets knows of its own.

Finding them, fetching, checking, unpacking and asking the root for its version is the same for
all, and is written once beside this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from behunt.errors import InstallError
from behunt.install.protocol import Order
from behunt.model import Release


class NotAsPinnedError(InstallError):
    """A set is not the one that the catalogue knows: not as it was published."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One file. All that is known of it is checked before anything is unpacked."""

    path: str  # below the directory of the release: "base.txz", "base/base.aa"
    digests: tuple[tuple[str, str], ...]  # ("sha256", hex); also md5, sha512; the best first
    size: int | None = None  # bytes
    crc: int | None = None  # of POSIX cksum(1)


@dataclass(frozen=True, slots=True)
class DistSet:
    """One distribution set: its pieces, one after the other, are one archive."""

    name: str  # as people say it: "base", "kernels/generic"
    pieces: tuple[Piece, ...]
    target: str = ""  # the directory below the root that it is unpacked in: "usr/src"
    entries: int | None = None  # members of the archive, where its manifest counts them
    mtree: str = ""  # the mtree(5) description of what it unpacks to, where there is one
    described: str = ""  # the directory below `target` that the description is of
    devices: str = ""  # where its device nodes belong: there they are left out, not refused
    file: str = ""  # no archive: its one piece is copied to this name below the root: "bsd"


@dataclass(frozen=True, slots=True)
class Oracle:
    """Where an unpacked root says what it is. One that says nothing is only noted."""

    path: str  # below the root; a file, also a binary one
    pattern: str  # extended regular expression of grep(1): what it says, whichever version it is
    wanted: str  # regular expression of Python: all of what it says if it is this release


class Family(Protocol):
    """How one system and era publishes its sets. Pure, but for `missing`, `vouch` and `finish`."""

    def missing(self, order: Order) -> str:
        """What the controller lacks beyond what all sets need; empty if nothing."""
        ...

    def directories(self, release: Release) -> Sequence[str]:
        """Where a mirror may keep the release, relative to what people give as the mirror."""
        ...

    def sets(self, order: Order) -> tuple[str, ...]:
        """Names of the sets to install: the usual ones, and what the order adds.

        Raises UsageError for names that this release cannot have.
        """
        ...

    def vouchers(self, release: Release, sets: Sequence[str]) -> Sequence[str]:
        """Files, as `Piece.path`, that say what the sets must be.

        The first tells a place that has the release from one that has not; others may be absent.
        """
        ...

    def read(
        self, release: Release, sets: Sequence[str], texts: Mapping[str, bytes]
    ) -> tuple[DistSet, ...]:
        """The sets, in the order they are unpacked in, from the vouchers that were found.

        Raises InstallError where the texts are damaged or contradict each other, and UsageError
        for a set that they do not have.
        """
        ...

    def vouch(
        self, order: Order, sets: Sequence[DistSet], texts: Mapping[str, bytes]
    ) -> tuple[str, ...]:
        """Check who vouches for the vouchers: a signature, a digest of the catalogue's own.

        Returns notes for the reader of a report, where nobody does. Raises InstallError.
        """
        ...

    def oracles(self, release: Release) -> tuple[Oracle, ...]: ...

    def finish(self, order: Order, root: PurePosixPath) -> None:
        """What is left to do in the unpacked root, by `order.host`. Raises InstallError."""
        ...
