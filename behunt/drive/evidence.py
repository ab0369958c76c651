"""What was stored of a hunt, put together again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from behunt.drive.asked import Asked, from_params
from behunt.drive.bisect import Search
from behunt.drive.lab import Settings
from behunt.errors import UsageError
from behunt.model import Find, Hunt, HuntOutcome, Test
from behunt.results.sessions import Session
from behunt.results.store import Results


def session_of(results: Results, number: int | None) -> Session:
    """The bisection with that number, or the latest. UsageError if there is none."""
    if number is not None:
        session = results.session(number)
        if session.kind != "bisect":
            raise UsageError(
                f"session {number} is a {session.kind}, not a bisection", "see `behunt results`"
            )
        return session
    latest = results.sessions("bisect", limit=1)
    if not latest:
        raise UsageError(
            "there is no bisection yet", "behunt bisect --os debian --from 11 --to 13 test.sh"
        )
    return latest[0]


def hunt_of(results: Results, number: int | None = None) -> Hunt:
    """A hunt as far as it came."""
    session = session_of(results, number)
    search = Search(session.id, from_params(session.params), resumed=session.resumed)
    for answered in results.answers(session.id):
        search.take(answered)
    ended = session.conclusion or {}
    return search.hunt(
        started=session.created,
        seconds=float(ended.get("seconds", 0.0)),
        installs=results.installs(session.id),
        spent=ended.get("outcome") == HuntOutcome.BUDGET,
    )


def reproductions(
    hunt: Hunt, asked: Asked, program: Sequence[str] = ("behunt",)
) -> tuple[tuple[str, str], ...]:
    """(label, command) that asks the two neighbours of the change again.

    `program` is how behunt is called so that it finds the same home.
    """
    fixed = hunt.find is Find.FIX
    labels = ("last bad", "first good") if fixed else ("last good", "first bad")
    pairs = zip(labels, (hunt.before, hunt.after), strict=True)
    return tuple((label, rerun(asked, release, program)) for label, release in pairs if release)


def rerun(asked: Asked, release: str, program: Sequence[str] = ("behunt",)) -> str:
    """The command line that asks `release` once more, whatever is cached."""
    words = [*program, "run", "--fresh", "--runner", asked.runner, *_terms(asked)]
    files = {file.name: str(file.path) for file in asked.test.files}
    program, *arguments = asked.test.argv
    script = files.pop(program.removeprefix("./"), None)
    for path in files.values():
        words += ["--file", path]
    words.append(release)
    if script is None:
        return shlex.join([*words, "--", *asked.test.argv])
    return shlex.join([*words, script, *(["--", *arguments] if arguments else [])])


def _terms(asked: Asked) -> list[str]:
    """Options for all that is not as usual."""
    test, usual, limits = asked.test, Test("", ()), asked.test.limits
    words = []
    if asked.settings.host:
        words += ["--host", asked.settings.host]
    if asked.settings.store != Settings().store:
        words += ["--store", asked.settings.store]
    if test.timeout != usual.timeout:
        words += ["--timeout", f"{test.timeout:g}"]
    if test.network:
        words.append("--network")
    for file in asked.catalogues:
        words += ["--catalogue", file]
    for package in asked.settings.packages:
        words += ["--package", package]
    for name, value in (
        ("--memory", limits.memory),
        ("--processes", limits.processes),
        ("--cpus", limits.cpus),
        ("--disk", limits.disk),
    ):
        if value is not None:
            words += [name, f"{value:g}" if isinstance(value, float) else str(value)]
    for pair in test.env:
        words += ["--env", "=".join(pair)]
    return words
