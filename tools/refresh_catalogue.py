#!/usr/bin/env python3
"""Compare releases/*.toml with osinfo-db and distro-info-data, and update its rows.

A date belongs to the source that the catalogue names for it (date_source, eol_source). Only the
owner may change it; what others say is reported as kept, with the reason that `kept` in the
file gives, or with the owner's name. Releases that the catalogue lacks are added once they
have a date. Prints the report and the difference; writes only with --write, and then nothing
but the rows that change: comments and everything else stay as they are.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import difflib
import re
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from behunt.catalogue.expand import expand
from behunt.catalogue.versions import version_key
from behunt.datafiles import data_dir
from behunt.model import Release

_OSINFO_DIRECTORY = {
    "freebsd": "freebsd.org",
    "openbsd": "openbsd.org",
    "netbsd": "netbsd.org",
    "dragonfly": "dragonflybsd.org",
}
_ROW = re.compile(r'^\s*\{ version = "(?P<version>[^"]+)"')
_AFTER = {"date": "version", "eol": "date"}  # where a new key goes in a row


@dataclass(frozen=True)
class Said:
    """What a source says of one release."""

    version: str
    date: dt.date | None
    eol: dt.date | None
    codename: str = ""


@dataclass(frozen=True)
class Change:
    kind: str  # "added", "changed" or "kept"
    version: str
    field: str
    ours: dt.date | None
    theirs: dt.date | None
    reason: str = ""

    def __str__(self) -> str:
        if self.kind == "added":
            return f"added    {self.version}: {self.theirs}"
        said = f"{self.field} {self.ours or 'none'}"
        if self.kind == "kept":
            return f"kept     {self.version}: {said}, not {self.theirs}: {self.reason}"
        return f"changed  {self.version}: {said} -> {self.theirs}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--osinfo", type=Path, default=Path("/usr/share/osinfo/os"))
    parser.add_argument("--distro-info", type=Path, default=Path("/usr/share/distro-info"))
    parser.add_argument("--releases", type=Path, default=data_dir("releases"))
    parser.add_argument("--write", action="store_true", help="write the files")
    options = parser.parse_args()
    for os, directory in _OSINFO_DIRECTORY.items():
        said = read_osinfo(options.osinfo / directory)
        refresh(options.releases / f"{os}.toml", "osinfo-db", said, write=options.write)
    said = read_distro_info(options.distro_info / "debian.csv")
    refresh(options.releases / "debian.toml", "distro-info-data", said, write=options.write)


def refresh(file: Path, source: str, said: list[Said], *, write: bool) -> list[Change]:
    """Print what source has to say about one catalogue file, and write it if asked to."""
    before = file.read_text(encoding="utf-8")
    data = tomllib.loads(before)
    changes = list(compare(data, file, source, said))
    after = edited(before, data, source, changes, said)
    tomllib.loads(after)  # never leave a file that cannot be read
    print(f"{file.name} against {source}: {len(said)} releases")
    for change in changes:
        print(f"  {change}")
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    print("".join(difflib.unified_diff(old, new, file.name, file.name, n=0)), end="")
    if write and after != before:
        file.write_text(after, encoding="utf-8")
    return changes


def read_osinfo(directory: Path) -> list[Said]:
    found = []
    for file in sorted(directory.glob("*.xml")):
        os = ET.parse(file).getroot().find("os")
        version = os.findtext("version") if os is not None else None
        if os is not None and version and version[0].isdigit():
            date, eol = os.findtext("release-date"), os.findtext("eol-date")
            found.append(Said(version, _day(date), _day(eol)))
    return found


def read_distro_info(file: Path) -> list[Said]:
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [
        Said(row["version"], _day(row["release"]), _day(row["eol"]), row["series"])
        for row in rows
        if row["version"]
    ]


def compare(data: Mapping[str, Any], file: Path, source: str, said: list[Said]) -> Iterator[Change]:
    entries = expand(data, file)
    known = {name: entry.builds[0] for entry in entries for name in entry.names}
    for other in said:
        release = known.get(other.version.lower()) or known.get(other.codename or other.version)
        if release is None:
            if other.date:
                yield Change("added", other.version, "date", None, other.date)
            continue
        yield from _differences(release, other, source, data.get("kept", ()))


def _differences(
    release: Release, other: Said, source: str, kept: list[Mapping[str, Any]]
) -> Iterator[Change]:
    owners = {"date": release.date_source, "eol": release.trait("eol_source")}
    for field, owner in owners.items():
        ours, theirs = getattr(release, field), getattr(other, field)
        if theirs is None or ours == theirs:
            continue
        reasons = [
            entry["reason"]
            for entry in kept
            if (entry["version"], entry["field"], entry["source"], entry["says"])
            == (release.version, field, source, theirs)
        ]
        if reasons or owner not in {"", source}:
            reason = reasons[0] if reasons else f"its {field} is by {owner}"
            yield Change("kept", release.version, field, ours, theirs, reason)
        else:
            yield Change("changed", release.version, field, ours, theirs)


def edited(
    text: str, data: Mapping[str, Any], source: str, changes: list[Change], said: list[Said]
) -> str:
    """The file's text with the changes in its rows."""
    lines = text.splitlines(keepends=True)
    for change in changes:
        if change.kind == "changed":
            at = _line_of(lines, change.version)
            lines[at] = _with(lines[at], change.field, change.theirs)
        elif change.kind == "added":
            other = next(s for s in said if s.version == change.version)
            lines.insert(_place_for(lines, change.version), _row(other, source, data))
    return "".join(lines)


def _line_of(lines: list[str], version: str) -> int:
    found = (_ROW.match(line) for line in lines)
    return next(at for at, row in enumerate(found) if row and row["version"] == version)


def _place_for(lines: list[str], version: str) -> int:
    """Before the first row of a newer release, or after the last row."""
    rows = [(at, row["version"]) for at, line in enumerate(lines) if (row := _ROW.match(line))]
    newer = [at for at, other in rows if version_key(other) > version_key(version)]
    in_list = [at for at in newer if at <= _end_of_list(lines)]
    return in_list[0] if in_list else _end_of_list(lines)


def _end_of_list(lines: list[str]) -> int:
    start = lines.index("release = [\n")
    return lines.index("]\n", start)


def _with(line: str, field: str, day: dt.date | None) -> str:
    if re.search(rf"\b{field} = ", line):
        return re.sub(rf"\b{field} = [\d-]+", f"{field} = {day}", line)
    before = _AFTER[field] if re.search(rf"\b{_AFTER[field]} = ", line) else "version"
    return re.sub(rf'(\b{before} = (?:"[^"]*"|[\d-]+))', rf"\1, {field} = {day}", line, count=1)


def _row(other: Said, source: str, data: Mapping[str, Any]) -> str:
    parts = [f'version = "{other.version}"', f"date = {other.date}"]
    if other.eol:
        parts.append(f"eol = {other.eol}")
    if other.codename:
        parts.append(f'codename = "{other.codename}"')
    if data["era"][0].get("date_source") != source:
        parts.append(f'date_source = "{source}"')
    return f"  {{ {', '.join(parts)} }},\n"


def _day(text: str | None) -> dt.date | None:
    return dt.date.fromisoformat(text) if text else None


if __name__ == "__main__":
    main()
