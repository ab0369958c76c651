"""Reads catalogue files: the shipped ones, and a user's own."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from behunt.catalogue.check import check
from behunt.catalogue.expand import Entry, expand
from behunt.catalogue.versions import version_key
from behunt.datafiles import data_dir
from behunt.errors import CatalogueError, UsageError
from behunt.model import Release


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Releases in version order; those of an OS that only a user knows, in his file's order."""

    entries: tuple[Entry, ...]

    @property
    def releases(self) -> tuple[Release, ...]:
        """Each release once, for the architecture that suits this machine."""
        return tuple(entry.default for entry in self.entries)

    @property
    def systems(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.os for entry in self.entries))

    def of(self, os: str) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.os == os)


def operating_systems() -> tuple[str, ...]:
    """What ships with behunt: one file each in releases/."""
    return tuple(sorted(file.stem for file in data_dir("releases").glob("*.toml")))


def load(os: str | None = None, *, extra: Sequence[Path] = ()) -> Catalogue:
    """The shipped catalogue of one OS (None: of all), and what the user's files say of it.

    A user's file may name an OS that ships: its rows are added, in version order. A release
    that is there already is a CatalogueError, as is whatever is wrong in such a file. An OS
    that neither knows is a UsageError.
    """
    shipped = operating_systems()
    wanted = shipped if os is None else tuple({os} & set(shipped))
    entries = {name: _shipped(name) for name in wanted}
    for file in extra:
        data = _checked(file)
        if os in {None, data["os"]}:
            known = entries.get(data["os"], ())
            entries[data["os"]] = _added(known, expand(data, file), file)
    if os is not None and os not in entries:
        raise UsageError(f"no catalogue knows the operating system {os!r}", _known(shipped, extra))
    for name in set(wanted) & set(entries):
        entries[name] = tuple(sorted(entries[name], key=lambda e: version_key(e.version)))
    return Catalogue(tuple(entry for of_one in entries.values() for entry in of_one))


def system_of(file: Path) -> str:
    """The OS that a user's catalogue is about."""
    return str(_checked(file)["os"])


def _shipped(os: str) -> tuple[Entry, ...]:
    file = data_dir("releases") / f"{os}.toml"
    return expand(tomllib.loads(file.read_text(encoding="utf-8")), file)


def _checked(file: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogueError(
            f"{file} cannot be read: {error.strerror}", "Check the path given to --catalogue."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogueError(
            f"{file} is not TOML: {error}", 'Correct that line. A catalogue begins with os = "…".'
        ) from error
    check(data, file)
    return data


def _added(known: tuple[Entry, ...], new: tuple[Entry, ...], file: Path) -> tuple[Entry, ...]:
    versions = {entry.version.lower() for entry in known}
    for entry in new:
        if entry.version.lower() in versions:
            raise CatalogueError(
                f"{file}: {entry.os} {entry.version} is in another catalogue already",
                "Give the release another version, or the file another os.",
            )
    return known + new


def _known(shipped: tuple[str, ...], extra: Sequence[Path]) -> str:
    return f"Known are {', '.join((*shipped, *(system_of(file) for file in extra)))}."
