"""The tables as SQLAlchemy sees them, and how model values become rows and back.

Types, constraints and indices are the migrations' business; a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from behunt.model import Build, Metric, Outcome, Package, Trial

METADATA = sa.MetaData()


def _table(name: str, *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(name, METADATA, *columns)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer)


def _text(*names: str) -> tuple[sa.Column[str], ...]:
    return tuple(sa.Column(name, sa.Text) for name in names)


SCHEMA_VERSION = _table(
    "schema_version",
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    *_text("applied", "behunt"),
)
SESSIONS = _table("sessions", _id(), *_text("kind", "params", "created", "version", "host"))
SESSION_EVENTS = _table(
    "session_events", _id(), _integer("session"), *_text("state", "at", "detail")
)
STEPS = _table("steps", _id(), _integer("session"), *_text("kind", "subject", "owner", "began"))
STEP_ENDS = _table(
    "step_ends",
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    *_text("ended", "detail"),
)
BUILDS = _table(
    "builds",
    sa.Column("identity", sa.Text, primary_key=True),
    *_text("recipe", "origins", "packages", "notes"),
)
TRIALS = _table(
    "trials",
    _id(),
    _integer("session"),
    *_text("release", "test", "runner", "outcome", "key", "reason"),
    _integer("exit_code"),
    *_text("metrics", "started"),
    sa.Column("seconds", sa.Double),
    *_text("log", "out", "identity", "kernel"),
    _integer("attempt"),
    *_text("note"),
)
ANSWERS = _table(
    "answers",
    _id(),
    _integer("session"),
    _integer("trial"),
    *_text("verdict"),
    sa.Column("cached", sa.Boolean),
)


def storable(text: str) -> str:
    r"""Write what databases refuse (NUL, lone surrogates of undecodable bytes) as `\x00`."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def trial_row(trial: Trial) -> dict[str, Any]:
    """The row of a trial, without `id`: the database gives it."""
    row = {
        name: storable(value) if isinstance(value, str) else value
        for name in TRIALS.c.keys()  # noqa: SIM118 -- a collection of columns, not a dict
        if name != "id"
        for value in [getattr(trial, name)]
    }
    row["outcome"] = str(trial.outcome)
    row["metrics"] = json.dumps([[m.name, m.value, m.unit] for m in trial.metrics])
    return row


def trial_of(row: Mapping[str, Any]) -> Trial:
    """The trial of a row that may hold more columns than a trial's."""
    values = {column.name: row[column.name] for column in TRIALS.c}
    values["outcome"] = Outcome(values["outcome"])
    values["metrics"] = tuple(Metric(*metric) for metric in json.loads(values["metrics"]))
    return Trial(**values)


def build_row(build: Build) -> dict[str, Any]:
    return {
        "identity": build.identity(),
        "recipe": build.recipe,
        "origins": json.dumps(build.origins),
        "packages": json.dumps([[p.name, p.version, p.arch] for p in build.packages]),
        "notes": json.dumps(build.notes),
    }


def build_of(row: Mapping[str, Any]) -> Build:
    return Build(
        recipe=row["recipe"],
        origins=tuple((url, digest) for url, digest in json.loads(row["origins"])),
        packages=tuple(Package(*package) for package in json.loads(row["packages"])),
        notes=tuple(json.loads(row["notes"])),
    )
