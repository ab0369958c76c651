"""`behunt report`: a hunt for people, for an issue, for CI or for a program."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from behunt.cli.resuming import program
from behunt.errors import HostError, UsageError

if TYPE_CHECKING:
    from behunt.cli.options import Place
    from behunt.report.data import Evidence

_STDOUT = "-"


def _file_option(name: str, what: str) -> Callable[[click.decorators.FC], click.decorators.FC]:
    return click.option(
        name,
        metavar="[FILE]",
        is_flag=False,
        flag_value=_STDOUT,
        help=f"{what}, into FILE; without one, or with -, on standard output.",
    )


@click.command(
    epilog="""\b
Examples:
  behunt report
  behunt report 7 --html crypt.html
  behunt report 7 --markdown | gh issue create --title 'crypt' --body-file -
  behunt report 7 --junit results.xml --html report.html"""
)
@click.argument("session", type=int, required=False)
@_file_option("--html", "One self-contained page")
@_file_option("--markdown", "GitHub-flavoured Markdown")
@_file_option("--junit", "JUnit XML")
@_file_option("--json", "The object of `behunt bisect --json`")
@click.pass_context
def report(ctx: click.Context, /, session: int | None, **wanted: str | None) -> None:
    """Report a bisection: the one with this SESSION number, else the latest.

    SESSION goes before the options. Without any, the summary is printed.
    """
    targets = {form: target for form, target in wanted.items() if target is not None}
    _check(session, targets)
    evidence = _evidence(ctx, session)
    for form, target in targets.items():
        write(target, _FORMS[form](evidence))
    if not targets:
        click.echo(_summary(evidence), nl=False)


def _check(session: int | None, targets: Mapping[str, str]) -> None:
    if list(targets.values()).count(_STDOUT) > 1:
        raise UsageError(
            "only one report fits on standard output", "name a FILE for the others: --html out.html"
        )
    for form, target in targets.items():
        if session is None and target.isdecimal():
            raise UsageError(
                f"--{form} {target} names a file; is {target} the session?",
                f"behunt report {target} --{form}, or --{form} ./{target} for the file",
            )


def _evidence(ctx: click.Context, number: int | None) -> Evidence:
    from behunt.drive import evidence  # noqa: PLC0415  slow to import
    from behunt.drive.asked import from_params  # noqa: PLC0415
    from behunt.report.data import gather  # noqa: PLC0415
    from behunt.results.store import Results  # noqa: PLC0415

    place: Place = ctx.obj
    with Results.open(place.results_path) as results:
        session = evidence.session_of(results, number)
        hunt = evidence.hunt_of(results, session.id)
        asked = from_params(session.params)
        return gather(results, hunt, evidence.reproductions(hunt, asked, program(ctx)))


def write(target: str, text: str) -> None:
    if target == _STDOUT:
        click.echo(text, nl=False)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise HostError(
            f"{target} cannot be written: {error.strerror}", "name a file in a directory of yours"
        ) from error
    click.echo(f"The report is in {target}", err=True)


def _html(evidence: Evidence) -> str:
    from behunt.report.page import html  # noqa: PLC0415  each form imports what only it needs

    return html(evidence)


def _markdown(evidence: Evidence) -> str:
    from behunt.report.markdown import markdown  # noqa: PLC0415

    return markdown(evidence)


def _junit(evidence: Evidence) -> str:
    from behunt.report.junit import junit  # noqa: PLC0415

    return junit(evidence)


def _json(evidence: Evidence) -> str:
    from behunt.report.objects import as_json  # noqa: PLC0415

    return json.dumps(as_json(evidence.hunt), indent=2) + "\n"


def _summary(evidence: Evidence) -> str:
    from behunt.report.summary import summary  # noqa: PLC0415

    return summary(evidence.hunt, evidence.reproduce)


_FORMS = {"html": _html, "markdown": _markdown, "junit": _junit, "json": _json}
