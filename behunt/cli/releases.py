"""`behunt releases`: what the catalogue knows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import click

from behunt import catalogue
from behunt.cli.groups import DefaultGroup
from behunt.cli.options import complete_release, where
from behunt.model import Release

_EXAMPLES = """\b
Examples:
  behunt releases                                    every FreeBSD release
  behunt releases 9.3..11.1                          a range, ends included
  behunt releases '11.*' 12.4 latest                 globs and single ones
  behunt releases --os debian --exclude 'sid,testing'
  behunt releases --between 2014-01-01..2017-12-31 --order date
  behunt releases --catalogue mine.toml              yours, in your order
  behunt releases show freebsd-10.1                  all that is known of it
"""


class _ListUnlessShow(DefaultGroup):
    """`releases SELECTOR…` is the hidden command `list`."""

    default = "list"

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "| show NAME"]


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=_ListUnlessShow, epilog=_EXAMPLES)
def releases() -> None:
    """List the releases behunt knows, or show one.

    A SELECTOR is a release by any of its names, a range A..B, a glob, latest or oldest;
    several may be given, also with commas between.
    """


@releases.command("list", hidden=True, epilog=_EXAMPLES)
@click.argument("selectors", nargs=-1, metavar="[SELECTOR]...")
@where
@click.option("--between", metavar="DAY..DAY", help="Released in that time; a day may be left out.")
@click.option(
    "--order",
    type=click.Choice(["version", "date", "branch"]),
    default="version",
    show_default=True,
    help="Also decides what lies between the ends of a range.",
)
@click.option("--exclude", multiple=True, metavar="SELECTOR", help="Leave these out.")
@_json
def list_releases(
    *,
    selectors: tuple[str, ...],
    os: str | None,
    between: str | None,
    order: str,
    exclude: tuple[str, ...],
    arch: str | None,
    own: tuple[Path, ...],
    as_json: bool,
) -> None:
    """List releases."""
    os = catalogue.os_of(selectors, os=os, extra=own)
    selection = catalogue.Selection(
        names=selectors,
        between=catalogue.parse_days(between) if between is not None else None,
        order=cast("catalogue.Order", order),
        exclude=exclude,
        arch=arch,
        os=os,
    )
    found = catalogue.select(catalogue.load(os, extra=own), selection)
    if as_json:
        click.echo(json.dumps([as_object(release) for release in found], indent=2))
    else:
        click.echo(_table(found))


@releases.command(epilog="Example: behunt releases show debian-bookworm")
@click.argument("name", shell_complete=complete_release)
@where
@_json
def show(
    *, name: str, os: str | None, arch: str | None, own: tuple[Path, ...], as_json: bool
) -> None:
    """Print all that is known of one release."""
    os = catalogue.os_of([name], os=os, extra=own)
    release = catalogue.find(catalogue.load(os, extra=own), name, os=os, arch=arch)
    found = as_object(release)
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(_lines(found)))


def as_object(release: Release) -> dict[str, Any]:
    """A release as JSON: dates as ISO 8601 or null, traits and pinned digests as objects."""
    return {
        "id": release.id,
        "os": release.os,
        "version": release.version,
        "codename": release.codename,
        "arch": release.arch,
        "arches": list(release.arches),
        "branch": release.branch,
        "moving": release.moving,
        "date": release.date.isoformat() if release.date else None,
        "date_source": release.date_source,
        "eol": release.eol.isoformat() if release.eol else None,
        "set_format": release.set_format,
        "sources": list(release.sources),
        "traits": dict(release.traits),
        "pinned": dict(release.pinned),
    }


def _table(found: Iterable[Release]) -> str:
    from tabulate import tabulate  # noqa: PLC0415 - not for --help and --json

    rows = [
        (
            " ".join(
                filter(None, (f"{r.os}-{r.version}", f"({r.codename})" if r.codename else ""))
            ),
            r.date or ("moving" if r.moving else "-"),
            r.eol or "-",
            r.branch or "-",
            " ".join(r.arches),
            r.set_format or "-",
        )
        for r in found
    ]
    head = ("RELEASE", "DATE", "EOL", "BRANCH", "ARCHES", "SETS")
    return tabulate(rows, head, tablefmt="plain", disable_numparse=True)


def _lines(found: dict[str, Any]) -> list[str]:
    width = max(map(len, found)) + 2
    lines = []
    for key, value in found.items():
        if isinstance(value, dict):
            texts = [f"{name} = {text}" for name, text in value.items() if text]
        else:
            texts = value if isinstance(value, list) and key == "sources" else [_said(value)]
        for label, text in zip([key, *[""] * len(texts)], texts or ["-"], strict=False):
            lines.append(f"{label:<{width}}{text}")
    return lines


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(value) if isinstance(value, list) else str(value or "-")
