"""What fills a boot environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.model import Build, Release, sha256_of

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be installed."""

    release: Release
    packages: tuple[str, ...] = ()  # beyond what the installer puts in by itself
    mirror: str = ""  # tried before the release's own sources
    keyring: str = ""  # a file instead of the release's own, or a directory that has it
    timeout: float = 1800.0  # seconds
    host: Host = field(default_factory=LocalHost)  # where the root lies that is filled
    sets: tuple[str, ...] = ()  # distribution sets instead of the usual ones
    downloads: Path | None = None  # kept by digest; needed where sources are URLs of sets

    def key_file(self, name: str, usual: Sequence[Path]) -> Path:
        """The user's, or the first of its `name` in the `usual` directories. It may be absent."""
        if self.keyring:
            given = Path(self.keyring).resolve()
            return given / name if given.is_dir() else given
        known = [directory / name for directory in usual]
        return next((path for path in known if path.is_file()), known[0])


@dataclass(frozen=True, slots=True)
class Origin:
    """Where it will be taken from, found and read once before anything is installed."""

    url: str
    digest: str  # SHA-256 of what vouches for the content: Release file, MANIFEST, tarball
    expired: bool = False
    notes: tuple[str, ...] = ()


class Installer(Protocol):
    """Fills an empty root. The same order and origin give the same packages.

    `archived`: what it installed is worth an archive of its own, being faster to unpack.
    `anywhere`: it fills a root on `order.host`, whichever that is; others only work here.
    """

    @property
    def name(self) -> str: ...

    @property
    def archived(self) -> bool: ...

    @property
    def anywhere(self) -> bool: ...

    def local(self, order: Order) -> bool:
        """Whether its source is files that their owner may change: looked at each time."""
        ...

    def missing(self, order: Order) -> str:
        """What this machine lacks for `order`, as a sentence with the command; empty if nothing.

        Raises UsageError for an order that no machine can fill.
        """
        ...

    def recipe(self, order: Order) -> str:
        """All of the order that decides what is installed, for people and for the identity."""
        ...

    def resolve(self, order: Order) -> Origin:
        """Find the source that has it. Raises InstallError naming every one tried."""
        ...

    def install(self, order: Order, origin: Origin, root: Path, say: Say) -> Build:
        """Fill `root`. Raises InstallError; what is half done is the caller's to remove."""
        ...


def archive_key(recipe: str, origin: Origin) -> str:
    """Names the archive of what this recipe makes out of this origin."""
    return sha256_of({"recipe": recipe, "origin": origin.digest})
