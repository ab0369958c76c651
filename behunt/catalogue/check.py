"""Says what is wrong with a catalogue, in the words of releases/schema.json.

The schema is the only place that knows what a row may hold. Its few keywords are read here,
because a user's file deserves the row's version and what to do, and start-up no library.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from behunt.datafiles import data_dir
from behunt.errors import CatalogueError

Schema: TypeAlias = Mapping[str, Any]
Place: TypeAlias = tuple[str | int, ...]

_TYPES: Mapping[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool}


def check(data: Mapping[str, Any], file: Path) -> None:
    """Raise CatalogueError for the first thing that is wrong in what tomllib read from file."""
    schema = json.loads((data_dir("releases") / "schema.json").read_text(encoding="utf-8"))
    for place, problem, hint in chain(_problems(data, schema, schema, ()), _contradictions(data)):
        raise CatalogueError(f"{file}, {_where(data, place)}{problem}", hint)


def _problems(
    value: object, schema: Schema, root: Schema, place: Place
) -> Iterator[tuple[Place, str, str]]:
    if "$ref" in schema:
        schema = {**root["$defs"][schema["$ref"].rpartition("/")[2]], **schema}
    must_be = f"It must be {schema.get('description', 'a ' + schema['type'])}."
    if schema.get("format") == "date":
        if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
            yield place, f"{_shown(value)} is no date", must_be
    elif not isinstance(value, _TYPES[schema["type"]]):
        yield place, f"{_shown(value)} is no {_called(schema['type'])}", must_be
    elif isinstance(value, str):
        if not re.search(schema.get("pattern", ""), value):
            yield place, f"{value!r} will not do", must_be
    elif isinstance(value, list):
        yield from _in_array(value, schema, root, place)
    elif isinstance(value, dict):
        yield from _in_table(value, schema, root, place)


def _in_array(
    value: list[Any], schema: Schema, root: Schema, place: Place
) -> Iterator[tuple[Place, str, str]]:
    if len(value) < schema.get("minItems", 0):
        yield place, "the list is empty", "Put at least one entry into it, or leave it out."
    for index, item in enumerate(value):
        yield from _problems(item, schema["items"], root, (*place, index))


def _in_table(
    value: dict[str, Any], schema: Schema, root: Schema, place: Place
) -> Iterator[tuple[Place, str, str]]:
    known = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in value:
            yield place, f"{key!r} is missing", _required_hint(schema, key)
    for key, item in value.items():
        rest = known.get(key, schema.get("additionalProperties", False))
        if rest is False:
            yield place, f"unknown key {key!r}", f"{_meant(key, known)}It may hold: {_list(known)}."
        else:
            yield from _problems(item, rest, root, (*place, key))


def _contradictions(data: Mapping[str, Any]) -> Iterator[tuple[Place, str, str]]:
    """What no schema can say, of data that fits it."""
    seen: set[str] = set()
    for index, row in enumerate(data.get("release", ())):
        place, version = ("release", index), row["version"]
        if version.lower() in seen:
            yield place, "the version is there twice", "Remove one of the rows, or rename it."
        seen.add(version.lower())
        if "date" in row and "eol" in row and row["eol"] < row["date"]:
            yield (
                (*place, "eol"),
                f"{row['eol']} is before the release's date, {row['date']}",
                "Correct one of the two dates.",
            )
        if "source" in row and "sources" in row:
            yield place, "both source and sources", "Keep one of the two."


def _where(data: Mapping[str, Any], place: Place) -> str:
    """`release 3 (version 9), eol: ` for ("release", 2, "eol"), counted as a reader counts."""
    if not place:
        return "at the top: "
    words = [f"{key}" if isinstance(key, str) else f"{key + 1}" for key in place]
    if place[0] != "release" or len(place) == 1:
        return f"{' '.join(words)}: "
    row = data["release"][place[1]]
    version = row.get("version") if isinstance(row, dict) else None
    named = f" (version {version})" if isinstance(version, str) else ""
    key = f", {' '.join(words[2:])}" if len(words) > 2 else ""  # noqa: PLR2004 - "release", n
    return f"release {words[1]}{named}{key}: "


def _required_hint(schema: Schema, key: str) -> str:
    example = "[[release]] tables" if key == "release" else f'{key} = "…"'
    return f"Add {example}; needed are: {_list(schema['required'])}."


def _meant(key: str, known: Mapping[str, Any]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only where something is wrong

    near = get_close_matches(key, known, n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


def _list(keys: Mapping[str, Any] | list[str]) -> str:
    return ", ".join(keys)


def _called(json_type: str) -> str:
    return {"object": "table", "array": "list", "string": "text"}.get(json_type, json_type)


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value).lower()
