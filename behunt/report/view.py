"""What the HTML and the Markdown template are given."""

from __future__ import annotations

from typing import Any

from behunt.model import Hunt, Outcome
from behunt.report import wording
from behunt.report.clean import ends, lines_of
from behunt.report.compare import Part, side_by_side
from behunt.report.data import Evidence
from behunt.report.packages import Change, package_changes
from behunt.report.timeline import timeline

# Of the 300 kB that a report of 20 releases may have.
_OTHER_LOGS, _SCREENS, _SCRIPT = 40_000, 40_000, 16_000  # bytes
_PACKAGES = 400  # rows


def view(evidence: Evidence) -> dict[str, Any]:
    """The values of both templates, by name."""
    hunt = evidence.hunt
    return {
        "e": evidence,
        "hunt": hunt,
        "headline": wording.headline(hunt),
        "sentence": wording.sentence(hunt),
        "open": list(wording.still_open(hunt)),
        "grounds": wording.grounds(hunt),
        "neighbours": _neighbours(evidence),
        "days": wording.days_between(hunt),
        "cached": sum(answered.cached for answered in hunt.answers),
        "timeline": timeline(hunt, evidence.made or hunt.started),
        "labels": {release.id: wording.named(release) for release in hunt.releases},
        "dates": {release.id: wording.date_of(hunt, release) for release in hunt.releases},
        "other_logs": _other_logs(evidence),
        "screens": _screens(hunt),
        "packages": _packages(evidence),
        "script": ends(lines_of(evidence.script), _SCRIPT).text(),
        "builds": [(wording.named(r), b) for r in hunt.releases if (b := evidence.build(r.id))],
    }


def _neighbours(evidence: Evidence) -> list[dict[str, Any]]:
    hunt = evidence.hunt
    last = {answered.trial.release: answered for answered in hunt.answers}
    today = (evidence.made or hunt.started)[:10]
    return [
        {
            "role": role,
            "name": wording.named(release),
            "date": wording.date_of(hunt, release),
            "support": wording.support(release, today),
            "answered": last.get(release.id),
        }
        for role, release in wording.neighbours(hunt)
    ]


def comparison(evidence: Evidence, budget: int) -> tuple[Part, ...]:
    """The neighbours' logs side by side; empty where there are not two, or neither has a log."""
    hunt = evidence.hunt
    before, after = evidence.log(hunt.before), evidence.log(hunt.after)
    if not (hunt.before and hunt.after and (before or after)):
        return ()
    return side_by_side(before, after, budget)


def _other_logs(evidence: Evidence) -> list[tuple[str, str]]:
    """(label, text) of the logs that say why a trial was not good, beside the compared ones."""
    hunt = evidence.hunt
    compared = {hunt.before, hunt.after} if hunt.before and hunt.after else set()
    wanted = {
        a.trial.release: evidence.log(a.trial.release)
        for a in hunt.answers
        if a.trial.outcome is not Outcome.PASSED and a.trial.release not in compared
    }
    budget = _OTHER_LOGS // max(len(wanted), 1)
    return [
        (wording.named(hunt.release(release)), ends(lines_of(log), budget).text())
        for release, log in wanted.items()
        if log
    ]


def _screens(hunt: Hunt) -> dict[str, str]:
    """What the machines that went down showed last, by the names of their releases."""
    down = {a.trial.release: a.trial.screen for a in hunt.answers if a.trial.screen}
    budget = _SCREENS // max(len(down), 1)
    return {
        wording.named(hunt.release(release)): ends(lines_of(screen), budget, len).text()
        for release, screen in down.items()
    }


def _packages(evidence: Evidence) -> dict[str, Any] | None:
    hunt = evidence.hunt
    before, after = evidence.build(hunt.before), evidence.build(hunt.after)
    if not (before and after and before.packages and after.packages):
        return None
    texts = "\n".join((evidence.script, evidence.log(hunt.before), evidence.log(hunt.after)))
    changes = package_changes(before, after, texts)
    kinds = [change.change for change in changes]
    return {
        "shown": changes[:_PACKAGES],
        "left_out": len(changes[_PACKAGES:]),
        "counts": {kind.value: kinds.count(kind) for kind in Change if kind in kinds},
        "total": (len(before.packages), len(after.packages)),
    }
