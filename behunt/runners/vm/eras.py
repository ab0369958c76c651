"""Which machine a release finds its way in: the tables of releases/machines/."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from behunt.datafiles import data_dir
from behunt.errors import CatalogueError, UsageError
from behunt.families import numbers
from behunt.model import Release
from behunt.runners.vm.machine import Bus, Card, Chipset, Firmware, Hardware

Row: TypeAlias = Mapping[str, Any]

ARCHES = ("amd64", "i386")
_OTHERS = ("bhyve", "vmm")  # have devices of their own, QEMU has them all
_UNKNOWN = "other"  # the file for systems that have none

_DEVICES: dict[str, type] = {"firmware": Firmware, "disk": Bus, "device": str, "nic": Card}
_KEYS: Mapping[str, type] = (
    {"from": str, "to": str, "arch": str}
    | {"cpu": str, "cpus": int, "memory": int, "chipset": Chipset, "vga": bool, "qemu": int}
    | _DEVICES
    | {"bhyve": dict, "vmm": dict}
)
_NEEDED = ("cpu", "cpus", "memory", "chipset", "firmware", "disk", "nic")
_CALLED = {str: "a text", int: "a whole number above 0", bool: "true or false", dict: "a table"}


def hardware_of(release: Release, hypervisor: str = "qemu") -> Hardware:
    """The machine for `release`. Raises UsageError where there is none: see `unfit`."""
    if why := unfit(release, hypervisor):
        raise UsageError(f"{release.id} gets no machine: {why}", "use another runner")
    known = _known(release, hypervisor)
    return Hardware(
        arch=release.arch,
        cpu=known["cpu"],
        cpus=known["cpus"],
        memory=known["memory"] << 20,
        chipset=Chipset(known["chipset"]),
        firmware=Firmware(known["firmware"]),
        disk=Bus(known["disk"]),
        device=known.get("device", ""),
        nic=Card(known["nic"]),
        vga=known.get("vga", False),
        qemu=known.get("qemu", 0),
    )


def unfit(release: Release, hypervisor: str = "qemu") -> str:
    """Why there is no machine for `release`; empty if there is one."""
    if release.arch not in ARCHES:
        return f"machines are {' or '.join(ARCHES)}, and this is for {release.arch}"
    if hypervisor in _OTHERS and hypervisor not in _merged(release):
        return f"{hypervisor} emulates no disk that it has a driver for"
    return ""


def _known(release: Release, hypervisor: str) -> Row:
    merged = _merged(release)
    return {**merged, **(merged[hypervisor] if hypervisor in _OTHERS else {})}


def _merged(release: Release) -> Row:
    """All that the rows say of it, later ones over earlier ones."""
    merged: dict[str, Any] = {}
    for row in _rows(release.os):
        if _applies(row, release):
            tables = {
                name: {**merged.get(name, {}), **row[name]} for name in _OTHERS if name in row
            }
            merged |= {**row, **tables}
    return merged


def _applies(row: Row, release: Release) -> bool:
    version = numbers(release.version)
    reached = "from" not in row or version >= numbers(row["from"])
    past = "to" in row and version > numbers(row["to"])
    return reached and not past and row.get("arch", release.arch) == release.arch


@cache
def _rows(os: str) -> tuple[Row, ...]:
    directory = data_dir("releases") / "machines"
    file = directory / f"{os}.toml"
    return load(file if file.is_file() else directory / f"{_UNKNOWN}.toml")


def load(file: Path) -> tuple[Row, ...]:
    """The checked rows of one table. Raises CatalogueError."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CatalogueError(
            f"{file} cannot be read: {error}", "A table of machines is a TOML file of [[era]] rows."
        ) from error
    rows = data.get("era", ())
    for place, problem, hint in _problems(data, rows):
        raise CatalogueError(f"{file}, {place}: {problem}", hint)
    return tuple(rows)


def _problems(data: Row, rows: Sequence[Row]) -> Iterator[tuple[str, str, str]]:
    for key in data.keys() - {"era"}:
        yield "at the top", f"unknown key {key!r}", "It may hold [[era]] tables."
    for number, row in enumerate(rows, 1):
        place = f"era {number}" + (f" (from {row['from']})" if "from" in row else "")
        yield from _in_table(row, _KEYS, place)
        if Bus.NFS in {row.get("disk"), row.get("vmm", {}).get("disk")}:
            yield place, "only bhyve has roots by NFS", 'disk = "nfs" is for the table bhyve.'
        for name in _OTHERS:
            if isinstance(own := row.get(name), dict):
                yield from _in_table(own, _DEVICES, f"{place}, {name}")
    if missing := [key for key in _NEEDED if not rows or key not in rows[0]]:
        yield "era 1", f"{missing[0]!r} is missing", f"It needs {', '.join(_NEEDED)}."
    yield from _contradictions(rows)


def _in_table(row: Row, keys: Mapping[str, type], place: str) -> Iterator[tuple[str, str, str]]:
    for key, value in row.items():
        if key not in keys:
            yield place, f"unknown key {key!r}", f"It may hold: {', '.join(keys)}."
        elif not _is(value, keys[key]):
            yield place, f"{key} = {value!r} will not do", f"It must be {_called(keys[key])}."
    if row.get("arch", ARCHES[0]) not in ARCHES:
        yield place, f"there is no arch {row['arch']!r}", f"It must be {' or '.join(ARCHES)}."


def _contradictions(rows: Sequence[Row]) -> Iterator[tuple[str, str, str]]:
    merged: dict[str, Any] = {}
    for number, row in enumerate(rows, 1):
        merged |= row
        if (merged["chipset"], merged["disk"]) == (Chipset.Q35, Bus.IDE):
            yield (
                f"era {number}",
                "a q35 has no IDE",
                'Let disk be "ahci", or chipset "pc".',
            )


def _is(value: object, kind: type) -> bool:
    if issubclass(kind, StrEnum):
        return value in set(kind)
    if kind is int:
        return type(value) is int and value > 0
    return isinstance(value, kind)


def _called(kind: type) -> str:
    return " or ".join(kind) if issubclass(kind, StrEnum) else _CALLED[kind]
