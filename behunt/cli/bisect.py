"""`behunt bisect`: find the release where the answer changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast

import click

from behunt.cli import options as opt
from behunt.cli import resuming
from behunt.cli.amounts import Duration
from behunt.cli.groups import DefaultGroup, TakesCommand, rest_of
from behunt.cli.report import write
from behunt.errors import UsageError

if TYPE_CHECKING:
    from behunt import catalogue
    from behunt.drive.asked import Asked
    from behunt.drive.lab import Lab
    from behunt.model import Hunt, Release

# DESIGN: exit codes of `behunt bisect`; 1 is an error, 2 usage, 130 interrupted.
EXIT_CODES = {
    "found": 0,
    "ambiguous": 3,
    "contradiction": 4,
    "broken": 5,
    "budget": 6,
    "unfinished": 1,
}
_EXAMPLES = """\b
Examples:
  behunt bisect --os debian --from 11 --to sid test.sh
  behunt bisect --os debian --to sid --jobs 2 test.sh     look for the old end
  behunt bisect --find fix --from debian-12 --to sid test.sh
  behunt bisect --from debian-11 --to 12 -- sh -c 'test ! -L /bin'
  behunt bisect --catalogue builds.toml --from 1 --to 65 test.sh
  behunt bisect --resume                                  the latest session
  behunt bisect log 3 > hunt.log; behunt bisect replay hunt.log

Exit status: 0 found, 1 error, 2 usage, 3 ambiguous (an interval remains), 4 an
end point contradicts, 5 too much was broken, 6 budget spent, 130 interrupted."""


class _Bisect(DefaultGroup):
    default = "start"


@click.group(cls=_Bisect, epilog=_EXAMPLES)
def bisect() -> None:
    """Find the release where the answer of TEST, or of the command after `--`, changed.

    TEST exits with 0 on a good release, 125 where it cannot tell, and anything else on a bad
    one. Both ends are proved first, then the range between them is halved.
    """


@bisect.command("start", hidden=True, cls=TakesCommand, epilog=_EXAMPLES)
@click.argument("test", required=False, type=click.Path(path_type=Path))
@click.option(
    "--from",
    "from_",
    metavar="RELEASE",
    shell_complete=opt.complete_release,
    help="One end; left out, the search walks back from --to with growing steps.",
)
@click.option(
    "--to",
    metavar="RELEASE",
    shell_complete=opt.complete_release,
    help="The other end; left out, the newest.",
)
@opt.where
@click.option("--between", metavar="DAY..DAY", help="Only releases of that time.")
@click.option(
    "--order",
    type=click.Choice(["version", "date", "branch"]),
    default="version",
    show_default=True,
    help="Also decides what lies between the ends.",
)
@click.option("--exclude", multiple=True, metavar="SELECTOR", help="Leave these out; repeat.")
@click.option(
    "--find",
    type=click.Choice(["break", "fix", "change"]),
    default="break",
    show_default=True,
    help="What changed, from the older end to the newer.",
)
@click.option("--thorough", is_flag=True, help="Also test what is presumed untestable.")
@click.option(
    "--jobs", "-j", type=click.IntRange(1), default=1, metavar="N", help="Trials at a time."
)
@click.option(
    "--timeout-is",
    type=click.Choice(["unknown", "bad", "good"]),
    default="unknown",
    show_default=True,
    help="What a trial that timed out says.",
)
@click.option("--max-trials", type=click.IntRange(1), metavar="N", help="Stop after so many.")
@click.option("--max-time", type=Duration(), metavar="TIME", help="Begin no trial after it.")
@opt.installing
@opt.testing
@click.option(
    "--resume",
    type=int,
    is_flag=False,
    flag_value=resuming.LATEST,
    metavar="[SESSION]",
    help="Go on with an interrupted session, by default the latest.",
)
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a report.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@opt.verbose
@click.pass_context
def start(ctx: click.Context, /, test: Path | None, resume: int | None, **options: Any) -> None:
    """Bisect."""
    from behunt.drive.asked import from_params  # noqa: PLC0415 - slow to import
    from behunt.drive.bisect import bisect as hunt_for  # noqa: PLC0415
    from behunt.drive.bisect import resume as go_on  # noqa: PLC0415

    rest = rest_of(ctx)
    if resume is None:
        asked = _asked(ctx.obj, test, rest, options)
        _hunt(ctx, asked, options, lambda lab: hunt_for(lab, asked))
        return
    if test is not None or rest:
        raise UsageError("--resume goes on with the test of its session", "leave the test away")
    session, ended = resuming.session(ctx.obj, resume)
    going_on = resuming.changed(ctx, from_params(session.params), options)
    if ended:
        click.echo(f"session {session.id} has ended; this is what it found", err=True)
        _tell(ctx, ended, options)
    else:
        _hunt(ctx, going_on, options, lambda lab: go_on(lab, session, going_on))


def _asked(
    place: opt.Place, test: Path | None, rest: list[str] | None, options: dict[str, Any]
) -> Asked:
    from behunt.drive.asked import Asked, Budget  # noqa: PLC0415
    from behunt.drive.choosing import choose  # noqa: PLC0415
    from behunt.model import Find  # noqa: PLC0415

    releases, open_start = _range(options)
    asked = opt.test_of(test, rest, options)
    return Asked(
        releases=releases,
        test=asked,
        runner=choose(opt.runners_of(place, options), options["runner"], releases, asked),
        find=Find(options["find"]),
        thorough=options["thorough"],
        open_start=open_start,
        jobs=options["jobs"],
        budget=Budget(options["max_trials"], options["max_time"]),
        settings=opt.settings_of(options),
        catalogues=tuple(str(path.absolute()) for path in options["own"]),
    )


def _range(options: dict[str, Any]) -> tuple[tuple[Release, ...], bool]:
    """The releases to search, oldest first, and whether the old end has to be found."""
    from behunt import catalogue  # noqa: PLC0415

    from_, to = options["from_"], options["to"]
    if from_ is None and to is None and not options["own"]:
        raise UsageError(
            "a range is missing", "name its ends: --from 12.4 --to 14.0, or only --to latest"
        )
    ends = [end for end in (from_, to) if end is not None]
    os = catalogue.os_of(ends, os=options["os"], extra=options["own"])
    known = catalogue.load(os, extra=options["own"])
    selection = catalogue.Selection(
        from_=from_,
        to=to,
        between=catalogue.parse_days(options["between"]) if options["between"] else None,
        order=cast("catalogue.Order", options["order"]),
        exclude=options["exclude"],
        arch=options["arch"],
        os=os,
    )
    return catalogue.select(known, selection), from_ is None and to is not None


def _hunt(
    ctx: click.Context, asked: Asked, options: dict[str, Any], drive: Callable[[Lab], Hunt]
) -> None:
    """Open a lab for `asked`, drive the hunt in it, and tell the result."""
    from behunt.cli.machines import asking  # noqa: PLC0415
    from behunt.cli.progress import watching  # noqa: PLC0415
    from behunt.drive.bisect import InterruptedHuntError  # noqa: PLC0415
    from behunt.drive.lab import opened  # noqa: PLC0415

    place: opt.Place = ctx.obj
    try:
        with (
            watching(verbose=options["verbose"]) as emit,
            opened(
                place.home,
                asked.runner,
                results=place.results_path,
                settings=asked.settings,
                emit=emit,
                ask=asking(emit),
            ) as lab,
        ):
            hunt = drive(lab)
    except InterruptedHuntError as error:
        error.hint = f"go on with: {resuming.command(ctx, error.session)}"
        raise
    _tell(ctx, hunt, options)


def _tell(ctx: click.Context, hunt: Hunt, options: dict[str, Any]) -> NoReturn:
    """Tell the result, and exit as it deserves."""
    from behunt.drive.asked import from_params  # noqa: PLC0415
    from behunt.drive.evidence import reproductions, session_of  # noqa: PLC0415
    from behunt.report.data import gather  # noqa: PLC0415
    from behunt.report.objects import as_json  # noqa: PLC0415
    from behunt.report.summary import summary  # noqa: PLC0415
    from behunt.results.store import Results  # noqa: PLC0415

    place: opt.Place = ctx.obj
    with Results.open(place.results_path) as results:
        asked = from_params(session_of(results, hunt.session).params)
        again = reproductions(hunt, asked, resuming.program(ctx))
        if options["as_json"]:
            click.echo(json.dumps(as_json(hunt), indent=2))
        else:
            click.echo(summary(hunt, again), nl=False)
        if options["html"]:
            from behunt.report.page import html  # noqa: PLC0415 - pandas and jinja2

            write(str(options["html"]), html(gather(results, hunt, again)))
    ctx.exit(EXIT_CODES[hunt.outcome])


@bisect.command(epilog="Example: behunt bisect log 3 > hunt.log")
@click.argument("session", type=int, required=False)
@click.pass_obj
def log(place: opt.Place, session: int | None) -> None:
    """Print what a hunt was asked and told, as `behunt bisect replay` takes it."""
    from behunt.drive.asked import brief, from_params  # noqa: PLC0415
    from behunt.drive.evidence import session_of  # noqa: PLC0415
    from behunt.results.log import write_log  # noqa: PLC0415
    from behunt.results.store import Results  # noqa: PLC0415

    with Results.open(place.results_path) as results:
        found = session_of(results, session)
        asked = from_params(found.params)
        click.echo(write_log(brief(asked), results.answers(found.id), asked.releases), nl=False)


@bisect.command(
    epilog="Example: behunt bisect log 3 | sed s/^bad/unknown/ | behunt bisect replay -"
)
@click.argument("file", type=click.File("r", encoding="utf-8"))
@opt.where
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a report.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@opt.verbose
@click.pass_context
def replay(ctx: click.Context, /, file: IO[str], **options: Any) -> None:
    """Begin a hunt with the answers in FILE, and ask for what they leave open."""
    from behunt.drive.asked import from_brief  # noqa: PLC0415
    from behunt.drive.bisect import replay as hunt_for  # noqa: PLC0415
    from behunt.results.log import read_log  # noqa: PLC0415

    params, answers = read_log(file.read())
    own = [*options["own"], *map(Path, params.get("catalogues", ()))]
    options["own"] = tuple(dict.fromkeys(path.absolute() for path in own))
    releases = [opt.release_of(name, options) for name in params.get("releases", ())]
    asked = from_brief(params, releases)
    # What is not in the log was left out for a reason: it is asked, not remembered.
    fresh = replace(asked, settings=replace(asked.settings, fresh=True))
    _hunt(ctx, fresh, options, lambda lab: hunt_for(lab, asked, answers))
