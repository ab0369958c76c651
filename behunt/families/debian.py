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
APT_PROXY = "Acquire::http::Proxy"
_ONE_LINE = re.compile(
    r"^[ \t]*deb[ \t]+(?:\[[^\]\n]*\][ \t]+)?(?P<uri>\S+)[ \t]+\S+", re.MULTILINE
)
# Debian policy 5.6.1
_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")


def mirrors(sources: Iterable[str]) -> list[str]:
    """Mirrors of the Debian archive in the texts of sources.list and *.sources files, in order.

    The archive's own layout tells: its path ends in `/debian` (security and third-party
    archives have other names). Only http: a minimal root has no certificates for https, and
    signatures are checked in any case.
    """
    uris = (uri.rstrip("/") for text in sources for uri in _uris(text))
    plain = (uri for uri in uris if uri.startswith("http://") and uri.endswith("/debian"))
    return list(dict.fromkeys(plain))


def _uris(text: str) -> Iterator[str]:
    """What the text takes packages from: its lines `deb …`, and its paragraphs (deb822)."""
    yield from (match["uri"] for match in _ONE_LINE.finditer(text))
    for fields in _paragraphs(text):
        enabled = fields.get("enabled", "yes").lower() not in {"no", "false", "0", "off"}
        if enabled and "deb" in fields.get("types", "").split():
            yield from fields.get("uris", "").split()


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Fields of each paragraph, their names in lower case: deb822(5)."""
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for paragraph in re.split(r"\n\s*\n", kept):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1].isspace() and name:
                fields[name] += "\n" + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.lower()
                fields[name] = value.strip()
        yield fields


def apt_option(dump: str, name: str) -> str:
    """The value of `name` in what apt-config dump printed; empty if it is not set."""
    match = re.search(rf'^{re.escape(name)} "(.*)";$', dump, re.MULTILINE)
    return match[1] if match else ""


def is_package_name(text: str) -> bool:
    return _PACKAGE_NAME.fullmatch(text) is not None


def valid_until(release_file: str) -> dt.datetime | None:
    """The date after which apt refuses this (In)Release file, None where it has no valid one."""
    match = re.search(r"^Valid-Until: (.+)$", release_file, re.MULTILINE)
    if match is None:
        return None
    try:
        until = email.utils.parsedate_to_datetime(match[1])
    except ValueError:
        return None
    # RFC 2822; Debian writes the zone as UTC, which email.utils takes for unknown (-0000).
    return until if until.tzinfo else until.replace(tzinfo=dt.UTC)


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
    found = [
        Package(fields["package"], fields["version"], fields.get("architecture", ""))
        for fields in _paragraphs(status)
        if fields.get("status", "").endswith(" installed")
    ]
    return tuple(sorted(found, key=lambda p: (p.name, p.arch)))
