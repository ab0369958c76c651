"""The object of `behunt bisect --json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from behunt.model import Answered, Hunt


def as_json(hunt: Hunt) -> dict[str, Any]:
    """JSON-able, with the same keys whatever the outcome; release ids, null where not proved."""
    return {
        "session": hunt.session,
        "outcome": hunt.outcome.value,
        "reason": hunt.reason,
        "find": hunt.find.value,
        "last_good": hunt.last_good,
        "first_bad": hunt.first_bad,
        "last_bad": hunt.last_bad,
        "first_good": hunt.first_good,
        "suspects": [asdict(suspect) for suspect in hunt.suspects],
        "releases": [release.id for release in hunt.releases],
        "trials": [trial_as_json(answered) for answered in hunt.answers],
        "test": hunt.test.name,
        "runner": hunt.runner,
        "installs": hunt.installs,
        "started": hunt.started,
        "seconds": round(hunt.seconds, 3),
    }


def trial_as_json(answered: Answered) -> dict[str, Any]:
    """One answer; `log` and `out` are paths, `seconds` the time it took when it was asked."""
    trial = answered.trial
    return {
        "release": trial.release,
        "outcome": trial.outcome.value,
        "verdict": answered.verdict.value,
        "cached": answered.cached,
        "seconds": round(trial.seconds, 3),
        "log": trial.log,
        "out": trial.out,
        "exit_code": trial.exit_code,
        "reason": trial.reason,
        "runner": trial.runner,
        "kernel": trial.kernel,
        "note": trial.note,
        "metrics": [asdict(metric) for metric in trial.metrics],
    }
