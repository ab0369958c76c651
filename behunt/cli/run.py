"""`behunt run`: ask one release."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from behunt.cli import options as opt
from behunt.cli.groups import TakesCommand, rest_of

if TYPE_CHECKING:
    from behunt.model import Answered

TIMED_OUT = 124  # as timeout(1)
NOT_ANSWERED = 125  # as chroot(1) and env(1) when they fail themselves


@click.command(
    cls=TakesCommand,
    epilog="""\b
Examples:
  behunt run debian-12 test.sh
  behunt run debian-12 test.sh -- --with its-arguments
  behunt run debian-12 --package python3 -- python3 -c 'import crypt'
  behunt run --runner uml debian-11 -- uname -r

The exit status is the test's own; 124 when it timed out, 128+N when signal N
ended it, 125 when it was skipped or could not be run: git bisect skips that.""",
)
@click.argument("release", shell_complete=opt.complete_release)
@click.argument("test", required=False, type=click.Path(path_type=Path))
@opt.where
@opt.installing
@opt.testing
@click.option("--json", "as_json", is_flag=True, help="Print the trial as JSON.")
@opt.verbose
@click.pass_context
def run(ctx: click.Context, /, release: str, test: Path | None, **options: Any) -> None:
    """Run TEST, or the command after `--`, inside RELEASE.

    The test's output is shown as it comes. An answer to exactly the same inputs is not asked
    for twice: --fresh does.
    """
    from behunt.cli.machines import asking  # noqa: PLC0415
    from behunt.cli.progress import watching  # noqa: PLC0415 - --help must not pay for these
    from behunt.drive.choosing import choose  # noqa: PLC0415
    from behunt.drive.installing import check  # noqa: PLC0415
    from behunt.drive.lab import opened  # noqa: PLC0415
    from behunt.drive.trial import answer  # noqa: PLC0415

    place: opt.Place = ctx.obj
    asked = opt.test_of(test, rest_of(ctx), options)
    chosen = opt.release_of(release, options)
    settings = opt.settings_of(options)
    runner = choose(opt.runners_of(place, options), options["runner"], [chosen], asked)
    with (
        watching(verbose=options["verbose"]) as emit,
        opened(
            place.home,
            runner,
            results=place.results_path,
            settings=settings,
            emit=emit,
            ask=asking(emit),
        ) as lab,
    ):
        check(lab, [chosen], asked)
        sink = None if options["as_json"] else _show
        answered = answer(lab, chosen, asked, sink=sink)
    ctx.exit(_told(answered, as_json=options["as_json"]))


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _told(answered: Answered, *, as_json: bool) -> int:
    from behunt.report.objects import trial_as_json  # noqa: PLC0415

    trial = answered.trial
    if as_json:
        click.echo(json.dumps(trial_as_json(answered), indent=2))
    elif answered.cached and trial.log:
        _show(Path(trial.log).read_bytes() if Path(trial.log).is_file() else b"")
        click.echo(f"behunt: answered before, on {trial.started}; --fresh asks again", err=True)
    elif "cannot execute" in trial.why:
        click.echo("  --package NAME installs what a release does not have by itself", err=True)
    if trial.note and not as_json:
        click.echo(f"behunt: {trial.note}", err=True)
    return _exit_code(answered)


def _exit_code(answered: Answered) -> int:
    from behunt.model import Outcome  # noqa: PLC0415

    trial = answered.trial
    if trial.outcome is Outcome.TIMEOUT:
        return TIMED_OUT
    if trial.outcome is Outcome.BROKEN:
        return NOT_ANSWERED
    if trial.exit_code is None:
        return 1
    return trial.exit_code if trial.exit_code >= 0 else 128 - trial.exit_code
