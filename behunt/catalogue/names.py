"""Which release a name means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from behunt.catalogue.expand import Entry
from behunt.catalogue.load import Catalogue, load, operating_systems, system_of
from behunt.errors import UsageError
from behunt.model import Release

DEFAULT_OS = "freebsd"
_NEAR = 5  # names in a hint


def find(
    catalogue: Catalogue, name: str, *, os: str | None = None, arch: str | None = None
) -> Release:
    """The release called name: 11, bullseye, debian-11, debian-bullseye-amd64, latest, oldest.

    Case does not matter. A name with an OS in front needs no os; a bare one is of os, of the
    only OS in the catalogue, or of FreeBSD. The architecture is arch, the one in the name, or
    the release's default. Raises UsageError, with near names.
    """
    entry, named_arch = resolve(catalogue, name, os=os)
    return built_for(entry, arch or named_arch)


def resolve(catalogue: Catalogue, name: str, *, os: str | None = None) -> tuple[Entry, str | None]:
    """The release called name, and the architecture if the name has one. Raises UsageError."""
    os, rest = split_os(name, catalogue.systems, os)
    entries = catalogue.of(os)
    by_name = {
        known + suffix: entry
        for entry in entries
        for known in entry.names
        for suffix in ("", *entry.suffixes)
    }
    if rest in by_name:
        return by_name[rest], None
    settled = [entry for entry in entries if not entry.builds[0].moving] or list(entries)
    if rest in {"latest", "oldest"} and settled:
        return settled[-1 if rest == "latest" else 0], None
    stem, _, arch = rest.rpartition("-")
    if stem in by_name and arch in {build.arch for e in entries for build in e.builds}:
        return by_name[stem], built_for(by_name[stem], arch).arch
    raise UsageError(f"no release of {os} is called {name!r}", _hint(rest, os, entries))


def built_for(entry: Entry, arch: str | None) -> Release:
    """The entry's build for arch, None meaning the default one. Raises UsageError."""
    release = entry.build(arch) if arch else entry.default
    if release is None:
        raise UsageError(
            f"{entry.os} {entry.version} was not built for {arch}",
            f"Its architectures are {', '.join(entry.builds[0].arches)}.",
        )
    return release


def split_os(name: str, systems: Sequence[str], os: str | None) -> tuple[str, str]:
    """`("debian", "11")` for debian-11; a name without an OS in front gets os or the default."""
    name = name.strip().lower()
    prefix, _, rest = name.partition("-")
    if rest and prefix in systems:
        return prefix, rest
    only = systems[0] if len(systems) == 1 else DEFAULT_OS
    return os or only, name


def os_of(selectors: Iterable[str], *, os: str | None = None, extra: Sequence[Path] = ()) -> str:
    """The one OS that a command line is about, to load no more than its catalogue.

    That is os, the OS in front of a name, the OS of the first of the user's catalogues, or
    FreeBSD. Raises UsageError where they contradict.
    """
    own = [system_of(file) for file in extra]
    systems = (*operating_systems(), *own)
    named = {os} if os else set()
    for name in single_names(selectors):
        prefix, _, rest = name.lower().partition("-")
        if rest and prefix in systems:
            named.add(prefix)
    if len(named) > 1:
        raise UsageError(
            f"one command is about one operating system, not {' and '.join(sorted(named))}",
            "Run it once for each.",
        )
    return named.pop() if named else (own[0] if own else DEFAULT_OS)


def single_names(selectors: Iterable[str]) -> list[str]:
    """The names in lists and ranges."""
    parts = (part.strip() for text in selectors for part in re.split(r",|\.\.", text))
    return [part for part in parts if part]


def _hint(wanted: str, os: str, entries: Sequence[Entry]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only where a name is wrong

    names = [name for entry in entries for name in entry.names]
    near = [name for name in names if name.startswith(f"{wanted}.")]
    near = (near or get_close_matches(wanted, names, n=5, cutoff=0.5))[:_NEAR]
    stem = wanted.partition("-")[2] or wanted
    others = [
        other
        for other in operating_systems()
        if other != os and any(stem in entry.names for entry in load(other).entries)
    ]
    hints = [
        f"near it: {', '.join(near)}" if near else "",
        f"it is one of {' and '.join(others)}: use --os {others[0]}" if others else "",
        f"`behunt releases --os {os}` lists all",
    ]
    text = "; ".join(hint for hint in hints if hint)
    return f"{text[0].upper()}{text[1:]}."
