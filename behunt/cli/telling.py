"""Events in words: the lines that stay, on a terminal and in a log alike."""

from __future__ import annotations

import math

from behunt import events
from behunt.cli.strip import STYLES, Row
from behunt.cli.watched import Watched
from behunt.events import Event
from behunt.model import Answered, Outcome, Trial
from behunt.report.clean import one_line
from behunt.report.wording import count, span

_LONGEST = 300  # characters of what others wrote; the logs have all of it
_REASON = 80
_MINUTE = 60


def shown(text: str, longest: int = _LONGEST) -> str:
    """What a test, a mirror or a file's name says, as one harmless line."""
    line = one_line(text[: 4 * longest])
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def clock(seconds: float) -> str:
    """A time that is still running: no tenths, which would only flicker."""
    return f"{math.floor(seconds)} s" if seconds < _MINUTE else span(seconds)


def header(hunt: events.HuntStarted) -> Row:
    return (
        (f"{'resuming' if hunt.resumed else 'hunting'} ", ""),
        (shown(hunt.test, 60), "bold"),
        (f" in {count(len(hunt.releases), 'release')}", ""),
        (f", runner {hunt.runner}, session {hunt.session}", "dim"),
    )


def lasting(before: Watched, event: Event) -> Row | None:
    """The line that is worth keeping of what happened after `before`, also on a terminal."""
    match event:
        case events.Note(text, warning):
            return _note("warning" if warning else "note", text)
        case events.InstallEnded(release, _, seconds, error) if error:
            return ((f"{release}  ", ""), ("not installed", "red"), _after(seconds, error))
        case events.TrialStarted(release, attempt=attempt) if attempt > 1:
            why = before.broken.get(release, "")
            return ((f"{release}  ", ""), ("broken", "yellow"), _reason(why), (", once more", ""))
        case events.Narrowed(answered):
            return _answer(before, answered, event.left)
        case events.TrialEnded(trial) if before.hunt is None:
            return _outcome(trial)
    return None


def passing(event: Event, *, verbose: bool) -> Row | None:
    """The line of what a terminal shows only while it lasts."""
    match event:
        case events.HuntStarted(_, releases):
            return (*header(event), (f": {releases[0].id} to {releases[-1].id}", ""))
        case events.InstallStarted(release, how):
            return ((f"installing {release} ({how})", ""),)
        case events.InstallProgress(release, text) if verbose and text.strip():
            return ((f"{release}: {shown(text)}", "dim"),)
        case events.InstallEnded(release, _, seconds, ""):
            return ((f"installed {release}  {span(seconds)}", ""),)
        case events.TrialStarted(release, _, runner, attempt=1):
            return ((f"testing {release} ({runner})", ""),)
    return None


def _note(kind: str, text: str) -> Row:
    return ((f"{kind}: ", "bold yellow" if kind == "warning" else "bold"), (shown(text, 1000), ""))


def _after(seconds: float, error: str) -> tuple[str, str]:
    return f" after {span(seconds)}: {shown(error)}", ""


def _reason(text: str) -> tuple[str, str]:
    return (f": {shown(text, _REASON)}" if text else "", "")


def _answer(watched: Watched, answered: Answered, left: int) -> Row:
    trial, verdict = answered.trial, answered.verdict
    width = max(map(len, watched.index), default=0)
    took = "cached" if answered.cached else span(trial.seconds)
    return (
        (f"{trial.release:<{width}}  ", ""),
        (f"{verdict:<7}", f"bold {STYLES[verdict]}"),
        (f"  {trial.outcome:<8}  {took:>7}", ""),
        (f"  ({left} left)" if left else "", "dim"),
        (f"  {shown(trial.why, _REASON)}" if trial.why else "", "dim"),
    )


def _outcome(trial: Trial) -> Row:
    style = {Outcome.PASSED: "bold green", Outcome.FAILED: "bold red", Outcome.PANICKED: "bold red"}
    return (
        (f"{trial.release}  ", ""),
        (str(trial.outcome), style.get(trial.outcome, "bold yellow")),
        (f"  {span(trial.seconds)}", ""),
        (f"  {shown(trial.why, _REASON)}" if trial.why else "", "dim"),
    )
