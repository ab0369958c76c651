"""`behunt results`: what was answered, newest first."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from behunt.errors import UsageError
from behunt.model import Outcome, Trial

if TYPE_CHECKING:
    from pathlib import Path

    from behunt.cli.options import Place

HEADERS = (
    "id",
    "session",
    "when (UTC)",
    "release",
    "test",
    "runner",
    "outcome",
    "reason",
    "seconds",
)
REASON_WIDTH = 60  # characters; --json has all of it, and a machine's last screen


@click.command(
    epilog="""\b
Examples:
  behunt results --release debian-12-amd64
  behunt results --outcome failed --limit 5
  behunt results --session 3 --json"""
)
@click.option("--test", metavar="NAME", help="Only trials of the test with this name.")
@click.option("--release", metavar="RELEASE", help="Only trials on this release.")
@click.option("--session", metavar="SESSION", type=int, help="Only trials that this session ran.")
@click.option("--outcome", type=click.Choice([str(o) for o in Outcome]), help="Only these.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="At most this many.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_obj
def results(place: Place, /, *, limit: int, as_json: bool, **filters: Any) -> None:
    """List stored trials, newest first."""
    if filters["release"]:
        filters["release"] = _id_of(filters["release"])
    trials = _stored(place.results_path, limit=limit, **filters)
    if as_json:
        click.echo(json.dumps([asdict(trial) for trial in trials], indent=2))
    else:
        click.echo(_table(trials) if trials else "no trial matches")


def _id_of(name: str) -> str:
    """The id of the release that `name` means; `name` itself where no shipped catalogue knows."""
    from behunt.cli.options import release_of  # noqa: PLC0415 -- reads a catalogue

    with contextlib.suppress(UsageError):
        return release_of(name, {"os": None, "arch": None, "own": ()}).id
    return name


def _stored(
    path: Path | str, *, session: int | None, outcome: str | None, **filters: Any
) -> list[Trial]:
    from behunt.results.store import Results  # noqa: PLC0415 -- SQLAlchemy is slow to import

    with Results.open(path) as store:
        if session is not None:
            store.session(session)  # says so if there is none
        wanted = None if outcome is None else Outcome(outcome)
        return store.trials(session=session, outcome=wanted, **filters)


def _table(trials: list[Trial]) -> str:
    from tabulate import tabulate  # noqa: PLC0415 -- only here

    return tabulate(
        [_row(trial) for trial in trials],
        headers=HEADERS,
        disable_numparse=True,  # a release "11.10" is no number
        colalign=["right", "right", *["left"] * 6, "right"],
    )


def _row(trial: Trial) -> tuple[str, ...]:
    return (
        str(trial.id),
        "" if trial.session is None else str(trial.session),
        trial.started[:19].replace("T", " "),
        trial.release,
        trial.test,
        trial.runner,
        str(trial.outcome),
        _shortened(trial.why),
        f"{trial.seconds:.2f}",
    )


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= REASON_WIDTH else line[: REASON_WIDTH - 1] + "…"
