"""`behunt doctor`: what this machine can do, and what brings the rest."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import click

from behunt.cli import options as opt

if TYPE_CHECKING:
    from behunt.cli.options import Place
    from behunt.model import Check

_WIDEST = 100
_COLOURS = {"ok": "green", "missing": "red", "optional": "yellow"}
_STATE = max(map(len, _COLOURS))


@click.command(
    epilog="""\b
Examples:
  behunt doctor
  sudo behunt doctor --online
  behunt doctor --host root@fbsd.lab --store zfs:zroot/behunt
  behunt doctor --json | jq '.[] | select(.ok | not)'

Exit status: 0 if nothing is missing but what is optional, else 1."""
)
@opt.keeping
@click.option("--online", is_flag=True, help="Also ask whether the mirrors answer.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_context
def doctor(ctx: click.Context, /, *, online: bool, as_json: bool, host: str, store: str) -> None:
    """Tell what this machine can do, what is missing, and the command that brings it.

    Clones are really mounted, and namespaces entered; nothing stays behind. With --host and
    --store also what is there.
    """
    from behunt.drive.doctor import checks  # noqa: PLC0415 - slow to import

    place: Place = ctx.obj
    found = checks(place.home, results=place.results_path, online=online, host=host, store=store)
    missing = [check for check in found if not check.ok and not check.optional]
    if as_json:
        click.echo(json.dumps([asdict(check) for check in found], indent=2))
    else:
        for line in lines(found, min(shutil.get_terminal_size().columns, _WIDEST)):
            click.echo(line)
    ctx.exit(1 if missing else 0)


def lines(found: Iterable[Check], width: int = 80) -> Iterator[str]:
    """The table, area by area; a fix is alone on its line, to be copied."""
    found = list(found)
    name_width = max((len(check.name) for check in found), default=0)
    for area, group in groupby(found, attrgetter("area")):
        yield click.style(area, bold=True)
        for check in group:
            yield from _rows(check, name_width, width)
    missing = [check.name for check in found if not check.ok and not check.optional]
    yield ""
    yield f"missing: {', '.join(missing)}" if missing else "everything behunt needs is here"


def _rows(check: Check, name_width: int, width: int) -> Iterator[str]:
    state = "ok" if check.ok else "optional" if check.optional else "missing"
    indent = " " * (2 + _STATE + 2 + name_width + 2)
    first, *rest = textwrap.wrap(check.detail, max(20, width - len(indent))) or [""]
    label = click.style(state.ljust(_STATE), fg=_COLOURS[state])
    yield f"  {label}  {check.name:<{name_width}}  {first}".rstrip()
    yield from (indent + line for line in rest)
    if check.fix:
        yield indent + click.style(check.fix, bold=True)
