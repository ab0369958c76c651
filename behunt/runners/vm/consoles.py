"""What consoles of each system show: releases/consoles/*.toml."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from functools import cache
from typing import Any

from behunt.datafiles import data_dir
from behunt.errors import CatalogueError
from behunt.hosts.console import LOOPING
from behunt.hosts.dialogue import Row, fault

_ANY, _DEATH, _REBOOTED = "any", "death", "rebooted"
_BOOTS = {_REBOOTED, LOOPING}


def deaths(os: str, *, up: bool = False, reboots: bool = False) -> tuple[Row, ...]:
    """What means that a machine with the system `os` is dead. Raises CatalogueError.

    One that is `up` has shown the banner of its boot loader elsewhere: to see it once is enough.
    In one that `reboots` because it shall, a banner or a login means nothing, however often.
    """
    rows = dialogue(os, _DEATH)
    if reboots:
        return tuple(row for row in rows if row.reached not in _BOOTS)
    if not up:
        return rows
    return tuple(replace(row, times=1) if row.reached == _REBOOTED else row for row in rows)


def dialogue(os: str, name: str) -> tuple[Row, ...]:
    """The dialogue `name` of the system `os`, its own rows first. Raises CatalogueError."""
    rows = tuple(row for of in dict.fromkeys([os, _ANY]) for row in _tables(of).get(name, ()))
    if not rows:
        raise CatalogueError(
            f"there is no dialogue {name} for {os}", f"add rows [[{name}]] to consoles/{os}.toml"
        )
    return rows


@cache
def _tables(os: str) -> dict[str, tuple[Row, ...]]:
    file = data_dir("releases") / "consoles" / f"{os}.toml"
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CatalogueError(
            f"it is not known what a console of {os} shows", f"it would be in {file}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{file} is not valid TOML: {error}") from error
    return {
        name: tuple(row(table, f"{file.name}: {name}") for table in rows)
        for name, rows in tables.items()
    }


def row(table: dict[str, Any], where: str) -> Row:
    """One row of a dialogue as data. Raises CatalogueError."""
    kinds = {field.name: type(field.default) for field in fields(Row)}
    if unknown := set(table) - set(kinds):
        raise CatalogueError(f"{where}: a row with {', '.join(sorted(unknown))}")
    for name, value in table.items():
        if type(value) is not kinds[name]:
            raise CatalogueError(f"{where}: {name} of a row is not a {kinds[name].__name__}")
    made = Row(**table)
    if wrong := fault(made):
        raise CatalogueError(f"{where}: {wrong}")
    return made
