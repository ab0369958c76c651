"""What was stored of a hunt, put together again."""

from __future__ import annotations

import shlex

from behunt.drive.asked import from_params
from behunt.drive.bisect import Search
from behunt.errors import UsageError
from behunt.model import Hunt, HuntOutcome, Test
from behunt.results.sessions import Session
from behunt.results.store import Results


def session_of(results: Results, number: int | None) -> Session:
    """The bisection with that number, or the latest. UsageError if there is none."""
    if number is not None:
        return results.session(number)
    latest = results.sessions("bisect", limit=1)
    if not latest:
        raise UsageError(
            "nothing was hunted yet", "behunt bisect --os debian --from 11 --to 13 test.sh"
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


def reproductions(hunt: Hunt) -> tuple[tuple[str, str], ...]:
    """(label, command) that asks the two neighbours of the change again."""
    labels = (
        ("last bad", "first good")
        if hunt.first_good or hunt.last_bad
        else ("last good", "first bad")
    )
    pairs = zip(labels, (hunt.before, hunt.after), strict=True)
    return tuple((label, rerun(hunt, release)) for label, release in pairs if release)


def rerun(hunt: Hunt, release: str) -> str:
    """The command line that asks `release` the hunt's question once more."""
    test = hunt.test
    words = ["behunt", "run", "--fresh", "--runner", hunt.runner]
    if test.timeout != Test("", ()).timeout:
        words += ["--timeout", f"{test.timeout:g}"]
    if test.network:
        words.append("--network")
    files = {file.name: str(file.path) for file in test.files}
    script = files.pop(test.argv[0].removeprefix("./"), None)
    for path in files.values():
        words += ["--file", path]
    if script:
        return shlex.join([*words, release, script, *test.argv[1:]])
    return shlex.join([*words, release, "--", *test.argv])
