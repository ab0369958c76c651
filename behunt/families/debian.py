"""What is particular to Debian: its mirrors, Release files and package database. Pure."""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from behunt.model import Package

DEFAULT_MIRROR = "http://deb.debian.org/debian"
KEYRINGS = Path("/usr/share/keyrings")
_ONE_LINE = re.compile(r"^\s*deb\s+(?:\[[^\]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)")


def mirrors(sources: Iterable[str]) -> list[str]:
    """Mirrors of the Debian archive in the texts of sources.list and *.sources files, in order.

    The archive's own layout tells: its path ends in `/debian` (security and third-party
    archives have other names).
    """
    found: dict[str, None] = {}
    for text in sources:
        for uri in _uris(text):
            if uri.rstrip("/").endswith("/debian"):
                found[uri.rstrip("/")] = None
    return list(found)


def _uris(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if match := _ONE_LINE.match(line):
            yield match["uri"]
        elif line.startswith("URIs:"):
            yield from line.removeprefix("URIs:").split()


def valid_until(release_file: str) -> dt.datetime | None:
    """The date after which apt refuses this (In)Release file, None where it has none."""
    match = re.search(r"^Valid-Until: (.+)$", release_file, re.MULTILINE)
    if match is None:
        return None
    # RFC 2822; Debian writes the zone as UTC, which email.utils takes for unknown (-0000).
    return email.utils.parsedate_to_datetime(match[1]).replace(tzinfo=dt.UTC)


def source_line(mirror: str, suite: str, components: str, keyring: str, *, expired: bool) -> str:
    """A sources.list line that trusts `keyring` and nothing else.

    mmdebstrap's --keyring only adds to what the host trusts; `signed-by` replaces it. `expired`
    accepts a Release file past its Valid-Until (archived suites, frozen mirrors); its signature
    is checked all the same.
    """
    options = f"signed-by={keyring}"
    if expired:
        options = f"check-valid-until=no {options}"
    return f"deb [{options}] {mirror} {suite} {components}"


def packages(status: str) -> tuple[Package, ...]:
    """The installed packages in the text of /var/lib/dpkg/status, by name."""
    found = []
    for paragraph in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in paragraph.splitlines()
            if ": " in line and not line.startswith(" ")
        )
        if fields.get("Status", "").endswith(" installed"):
            package = Package(fields["Package"], fields["Version"], fields.get("Architecture", ""))
            found.append(package)
    return tuple(sorted(found, key=lambda p: (p.name, p.arch)))
