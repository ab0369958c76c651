"""Settings: what an option is where it is not given. BEHUNT_* variables, then a behunt.toml.

A setting is called as its option: `--max-trials` is `max-trials` in a file, BEHUNT_MAX_TRIALS in
the environment. So named it holds for every command that has it, and under `[bisect]`, or as
BEHUNT_BISECT_MAX_TRIALS, for that one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from behunt.cli.groups import DefaultGroup
from behunt.errors import UsageError


def file() -> Path | None:
    """The first behunt.toml there is: here, the user's, the machine's."""
    return _first("behunt.toml", Path("/etc/behunt.toml"))


def lab() -> Path | None:
    """The first lab.toml there is: here, the user's, the machine's."""
    return _first("lab.toml", Path("/etc/behunt/lab.toml"))


def _first(name: str, machines: Path) -> Path | None:
    xdg = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for path in (Path(name), xdg / "behunt" / name, machines):
        with contextlib.suppress(PermissionError):  # HOME is another's, as under `sudo -u`
            if path.is_file():
                return path
    return None


def listen(command: click.Command, path: str = "") -> None:
    """Have the options of `command`, and of all below, listen to their variables."""
    for name, option in _options(command):
        option.envvar = [f"BEHUNT_{path}{name}".upper(), f"BEHUNT_{name}".upper()]
    for name, below in _commands(command):
        hidden = isinstance(command, DefaultGroup) and name == command.default
        listen(below, path if hidden else f"{path}{name}_")


def defaults(command: click.Command, source: Path) -> dict[str, Any]:
    """What `source` says, as click takes it. Raises UsageError for what is no setting."""
    import tomllib  # noqa: PLC0415 - only where there is a file

    try:
        table = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read the settings in {source}: {error}", "correct it, or remove it"
        ) from error
    _check(command, table, source)
    return _mapped(command, table, {})


def _mapped(
    command: click.Command, table: Mapping[str, Any], inherited: Mapping[str, Any]
) -> dict[str, Any]:
    said = {name.replace("-", "_"): value for name, value in table.items()}
    held = {**inherited, **{name: v for name, v in said.items() if not isinstance(v, dict)}}
    found = {option.name: held[name] for name, option in _options(command) if name in held}
    below = {name: _mapped(sub, _table(table, name), held) for name, sub in _commands(command)}
    return {**{name: value for name, value in found.items() if name}, **below}


def _table(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = table.get(name, {})
    return found if isinstance(found, dict) else {}


def _check(command: click.Command, table: Mapping[str, Any], source: Path) -> None:
    below = dict(_commands(command))
    known = {name.replace("_", "-") for name in _all_options(command)}
    for name, value in table.items():
        if isinstance(value, dict) and name in below:
            _check(below[name], value, source)
        elif isinstance(value, dict) or name.replace("_", "-") not in known:
            import difflib  # noqa: PLC0415

            near = difflib.get_close_matches(name, {*known, *below}, 1) or sorted(known)
            raise UsageError(f"{source}: there is no setting {name}", f"known: {', '.join(near)}")


def _all_options(command: click.Command) -> set[str]:
    names = {name for name, _ in _options(command)}
    return names.union(*(_all_options(below) for _, below in _commands(command)))


def _options(command: click.Command) -> Iterator[tuple[str, click.Option]]:
    """Each option with what settings call it. --version is for once only."""
    for option in command.params:
        if isinstance(option, click.Option) and option.name != "version":
            longest = max(option.opts, key=len)
            yield longest.lstrip("-").replace("-", "_"), option


def _commands(command: click.Command) -> list[tuple[str, click.Command]]:
    return list(command.commands.items()) if isinstance(command, click.Group) else []
