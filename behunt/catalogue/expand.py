"""From the rows and eras of one catalogue file to releases."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from behunt.catalogue.versions import VersionKey, version_key
from behunt.errors import CatalogueError
from behunt.model import Release

Table: TypeAlias = Mapping[str, Any]  # as tomllib reads it

_SAME_MACHINE = {"x86_64": "amd64", "aarch64": "arm64", "i686": "i386", "i586": "i386"}
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One release, whatever its architecture."""

    builds: tuple[Release, ...]  # one for each architecture
    names: tuple[str, ...]  # lower case, without the name of the OS: 11, bullseye
    suffixes: tuple[str, ...] = ()  # what may follow a name: -release

    @property
    def os(self) -> str:
        return self.builds[0].os

    @property
    def version(self) -> str:
        return self.builds[0].version

    @property
    def default(self) -> Release:
        """For this machine's architecture if there is one, else amd64, else the first."""
        return self.build(host_arch()) or self.build("amd64") or self.builds[0]

    def build(self, arch: str) -> Release | None:
        return next((release for release in self.builds if release.arch == arch), None)


def host_arch() -> str:
    machine = platform.machine().lower()
    return _SAME_MACHINE.get(machine, machine)


def expand(data: Table, file: Path) -> tuple[Entry, ...]:
    """The releases of one catalogue file, in its order.

    Eras that hold for a version apply in the order of the file: their traits and machine names
    add up, everything else of theirs is replaced by the later one, and by the row. Texts may
    hold {version} {major} {minor} {nodot} {arch} {machine} {branch} {codename} {day}, where
    machine is what the OS itself calls the architecture.
    """
    eras = [(_span(era), era) for era in data.get("era", ())]
    return tuple(_entry(data, row, eras, file) for row in data["release"])


def _span(era: Table) -> tuple[VersionKey | None, VersionKey | None]:
    start, end = era.get("from"), era.get("to")
    return (version_key(start) if start else None, version_key(end) if end else None)


def _entry(
    data: Table,
    row: Table,
    eras: Sequence[tuple[tuple[VersionKey | None, VersionKey | None], Table]],
    file: Path,
) -> Entry:
    merged = {"arches": [host_arch()]} | _merge(row, eras)
    if "source" in row:
        merged |= _local(row, file)
    own = {"sha256": row["sha256"]} if "sha256" in row else {}
    pinned = data.get("pinned", {}).get(row["version"], {})
    names = [row["version"], row.get("codename", ""), *row.get("names", ())]
    return Entry(
        builds=tuple(
            _release(data["os"], merged, arch, {**own, **pinned.get(arch, {})}, file)
            for arch in merged["arches"]
        ),
        names=tuple(dict.fromkeys(name.lower() for name in names if name)),
        suffixes=tuple(suffix.lower() for suffix in data.get("suffixes", ())),
    )


def _merge(
    row: Table, eras: Sequence[tuple[tuple[VersionKey | None, VersionKey | None], Table]]
) -> dict[str, Any]:
    version = version_key(row["version"])
    merged: dict[str, Any] = {"traits": {}, "machine": {}}
    held = [
        era
        for (start, end), era in eras
        if (start is None or start <= version) and (end is None or version <= end)
    ]
    for layer in (*held, row):
        added = {key: merged[key] | layer.get(key, {}) for key in ("traits", "machine")}
        merged |= {**layer, **added}
    return merged


def _local(row: Table, file: Path) -> dict[str, Any]:
    """What a user's own source decides: a directory or a tarball beside the catalogue."""
    path = (file.parent / row["source"]).resolve()
    if not path.exists():
        raise CatalogueError(
            f"{file}, version {row['version']}: its source {path} is not there",
            "Name a directory or a tarball, relative to the catalogue's own directory.",
        )
    kind = "directory" if path.is_dir() else "tarball"
    traits = {"installer": "tree", "set_format": kind} | row.get("traits", {})
    return {"sources": [str(path)], "traits": traits}


def _release(os: str, row: Table, arch: str, pinned: Table, file: Path) -> Release:
    version, date = row["version"], row.get("date")
    numbers = re.findall(r"\d+", version)
    words = {
        "version": version,
        "major": numbers[0] if numbers else version,
        "minor": numbers[1] if len(numbers) > 1 else "0",
        "nodot": version.replace(".", ""),
        "arch": arch,
        "machine": row["machine"].get(arch, arch),
        "codename": row.get("codename", ""),
        "day": f"{date:%Y%m%d}" if date else "",
    }
    words["branch"] = _fill(row.get("branch", ""), words, file)
    return Release(
        id=f"{os}-{version}-{arch}",
        os=os,
        version=version,
        arch=arch,
        branch=words["branch"],
        codename=words["codename"],
        date=date,
        date_source=row.get("date_source", "") if date else "",
        eol=row.get("eol"),
        arches=tuple(row["arches"]),
        sources=tuple(_fill(url, words, file) for url in row.get("sources", ())),
        traits=tuple((k, _fill(v, words, file)) for k, v in sorted(row["traits"].items())),
        pinned=tuple(sorted(pinned.items())),
        moving=row.get("moving", False),
    )


def _fill(text: str, words: Mapping[str, str], file: Path) -> str:
    def word(found: re.Match[str]) -> str:
        try:
            return words[found[1]]
        except KeyError:
            raise CatalogueError(
                f"{file}: {{{found[1]}}} in {text!r} stands for nothing",
                f"Known are {', '.join(f'{{{known}}}' for known in words)}.",
            ) from None

    return _PLACEHOLDER.sub(word, text) if "{" in text else text
