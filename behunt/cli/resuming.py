"""`behunt bisect --resume`: which session goes on, with what, and the line that asks for it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from behunt.errors import UsageError

if TYPE_CHECKING:
    from behunt.cli.options import Place
    from behunt.drive.asked import Asked
    from behunt.model import Hunt
    from behunt.results.sessions import Session

LATEST = 0  # what --resume without a number stands for
_OPTIONS = {"resume", "jobs", "max_trials", "max_time", "html", "as_json", "verbose"}


def session(place: Place, number: int) -> tuple[Session, Hunt | None]:
    """The session to go on with, and how it ended if there is nothing to go on with."""
    from behunt.drive.evidence import hunt_of, session_of  # noqa: PLC0415 - slow to import
    from behunt.model import HuntOutcome  # noqa: PLC0415
    from behunt.results.store import Results  # noqa: PLC0415

    with Results.open(place.results_path) as results:
        found = session_of(results, None if number == LATEST else number)
        over = (found.conclusion or {}).get("outcome", HuntOutcome.BUDGET) != HuntOutcome.BUDGET
        return found, hunt_of(results, found.id) if over else None


def changed(ctx: click.Context, asked: Asked, options: dict[str, Any]) -> Asked:
    """What the session asked, but for what is asked of this run: --jobs and its own budget."""
    from behunt.drive.asked import Budget  # noqa: PLC0415

    given = {n for n in ctx.params if ctx.get_parameter_source(n) is ParameterSource.COMMANDLINE}
    if other := given - _OPTIONS:
        names = ", ".join(param.opts[0] for param in ctx.command.params if param.name in other)
        raise UsageError(
            f"--resume goes on with what its session asked: {names} cannot be changed",
            "leave it away, or hunt anew: answers are kept",
        )
    budget = Budget(options["max_trials"], options["max_time"])
    return replace(
        asked,
        jobs=options["jobs"] if "jobs" in given else asked.jobs,
        budget=budget if given & {"max_trials", "max_time"} else asked.budget,
    )


def program(ctx: click.Context) -> list[str]:
    """How behunt is called to find the same home and results, in whatever directory."""
    place: Place = ctx.obj
    words = ["behunt"]
    if ctx.find_root().get_parameter_source("home") is not ParameterSource.DEFAULT:
        words += ["--home", str(place.home)]
    if place.database:
        words += ["--database", place.database]
    return words


def command(ctx: click.Context, session: int) -> str:
    """The line that goes on with `session`."""
    return shlex.join([*program(ctx), "bisect", "--resume", str(session)])
