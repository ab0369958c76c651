"""The results store: every trial, kept for good, and the journal a killed behunt resumes from.

Rows are inserted, never changed and never deleted. One `Results` may be shared by threads, and
any number of processes may open the same database.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from behunt import __version__
from behunt.errors import UsageError
from behunt.model import Answered, Build, Outcome, Trial, Verdict
from behunt.results.database import connect, explained, make_directory
from behunt.results.schema import migrate
from behunt.results.sessions import Session, SessionEvent, State, Step
from behunt.results.tables import (
    ANSWERS,
    BUILDS,
    SESSION_EVENTS,
    SESSIONS,
    STEP_ENDS,
    STEPS,
    TRIALS,
    build_of,
    build_row,
    storable,
    trial_of,
    trial_row,
)


class Results:
    """An open results database. Every verb raises HostError where the database cannot serve it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, where: str | Path) -> Self:
        """Open, make or migrate the database at a path or SQLAlchemy URL.

        HostError: it cannot be read and written, is no results database or is a newer behunt's.
        """
        engine = connect(where)
        make_directory(engine.url)
        try:
            with explained(engine.url):
                migrate(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- sessions

    def new_session(self, kind: str, params: Mapping[str, Any]) -> int:
        """Record a session as STARTED. `params` (JSON-able) is all that is needed to resume it."""
        row = {
            "kind": kind,
            "params": json.dumps(dict(params)),
            "created": _now(),
            "version": __version__,
            "host": os.uname().nodename,
        }
        with self._write() as db:
            session = _insert(db, SESSIONS, row)
            _insert(db, SESSION_EVENTS, _event_row(session, State.STARTED, {}))
        return session

    def add_event(
        self, session: int, state: State, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Record what became of a session; `detail` (JSON-able) of ENDED is its conclusion."""
        with self._write() as db:
            _insert(db, SESSION_EVENTS, _event_row(session, state, detail or {}))

    def session(self, number: int) -> Session:
        """One session by its id. UsageError: there is none."""
        found = self._sessions(sa.select(SESSIONS).where(SESSIONS.c.id == number))
        if not found:
            raise UsageError(
                f"there is no session {number}", "behunt results lists trials with their sessions"
            )
        return found[0]

    def sessions(self, kind: str | None = None, *, limit: int | None = None) -> list[Session]:
        """Sessions of a kind or of all, newest first."""
        wanted = sa.select(SESSIONS).order_by(SESSIONS.c.id.desc()).limit(limit)
        return self._sessions(wanted if kind is None else wanted.where(SESSIONS.c.kind == kind))

    def _sessions(self, wanted: sa.Select[Any]) -> list[Session]:
        rows = self._read(wanted)
        ids = [row["id"] for row in rows]
        events: dict[int, list[SessionEvent]] = {number: [] for number in ids}
        of_these = SESSION_EVENTS.c.session.in_(ids)
        for row in self._read(
            sa.select(SESSION_EVENTS).where(of_these).order_by(SESSION_EVENTS.c.id)
        ):
            event = SessionEvent(State(row["state"]), row["at"], json.loads(row["detail"]))
            events[row["session"]].append(event)
        return [
            Session(
                **{**row, "params": json.loads(row["params"]), "events": tuple(events[row["id"]])}
            )
            for row in rows
        ]

    # -- steps

    def begin(self, session: int | None, kind: str, subject: str, owner: str) -> int:
        """Record that a step ("install", "trial") on a release begins, before it does."""
        row = {
            "session": session,
            "kind": kind,
            "subject": subject,
            "owner": owner,
            "began": _now(),
        }
        with self._write() as db:
            return _insert(db, STEPS, row)

    def end(self, step: int, detail: str = "") -> None:
        """Record that a step is over. Once only: a second end is an IntegrityError."""
        with self._write() as db:
            db.execute(sa.insert(STEP_ENDS), _end_row(step, detail))

    def unfinished(self, session: int | None = None) -> list[Step]:
        """Steps, of one session or of all, that were begun and not ended, oldest first."""
        wanted = (
            sa.select(STEPS)
            .outerjoin(STEP_ENDS, STEP_ENDS.c.step == STEPS.c.id)
            .where(STEP_ENDS.c.step.is_(None))
            .order_by(STEPS.c.id)
        )
        if session is not None:
            wanted = wanted.where(STEPS.c.session == session)
        return [Step(**row) for row in self._read(wanted)]

    def installs(self, session: int) -> int:
        """How many installations a session has finished."""
        wanted = (
            sa.select(STEPS.c.id)
            .join(STEP_ENDS, STEP_ENDS.c.step == STEPS.c.id)
            .where(STEPS.c.session == session, STEPS.c.kind == "install")
        )
        return len(self._read(wanted))

    # -- trials and answers

    def add_trial(
        self, trial: Trial, *, step: int | None = None, verdict: Verdict | None = None
    ) -> Trial:
        """Record a trial and return it with its id.

        In the same transaction: `step` ends with the outcome as its detail, and, with a `verdict`,
        the trial becomes its session's next answer. So no kill can part them.
        """
        with self._write() as db:
            stored = replace(trial, id=_insert(db, TRIALS, trial_row(trial)))
            if step is not None:
                db.execute(sa.insert(STEP_ENDS), _end_row(step, str(trial.outcome)))
            if verdict is not None:
                _insert(db, ANSWERS, _answer_row(stored.session, Answered(stored, verdict)))
        return stored

    def add_answer(self, session: int, answered: Answered) -> None:
        """Record that a session took a stored trial, its own or a cached one, as next answer."""
        with self._write() as db:
            _insert(db, ANSWERS, _answer_row(session, answered))

    def answers(self, session: int) -> tuple[Answered, ...]:
        """The answers of a session, in the order in which it got them."""
        wanted = (
            sa.select(*TRIALS.c, ANSWERS.c.verdict, ANSWERS.c.cached)
            .join(ANSWERS, ANSWERS.c.trial == TRIALS.c.id)
            .where(ANSWERS.c.session == session)
            .order_by(ANSWERS.c.id)
        )
        return tuple(
            Answered(trial_of(row), Verdict(row["verdict"]), row["cached"])
            for row in self._read(wanted)
        )

    def answer_for(self, key: str) -> Trial | None:
        """The latest answer to exactly these inputs.

        SKIPPED and TIMEOUT count: the test was asked and that is what it said; its time limit is
        part of the key. BROKEN does not: then the test was never asked.
        """
        wanted = (
            sa.select(TRIALS)
            .where(TRIALS.c.key == key, TRIALS.c.outcome != str(Outcome.BROKEN))
            .order_by(TRIALS.c.id.desc())
            .limit(1)
        )
        return next(map(trial_of, self._read(wanted)), None)

    def trials(
        self,
        *,
        test: str | None = None,
        release: str | None = None,
        session: int | None = None,
        outcome: Outcome | None = None,
        limit: int | None = None,
    ) -> list[Trial]:
        """Trials that match all that is given, newest first.

        Those of a `session` are the ones it ran itself; for cached ones ask `answers`.
        """
        filters = {"test": test, "release": release, "session": session, "outcome": outcome}
        wanted = sa.select(TRIALS).order_by(TRIALS.c.id.desc()).limit(limit)
        for name, value in filters.items():
            if value is not None:
                wanted = wanted.where(TRIALS.c[name] == value)
        return [trial_of(row) for row in self._read(wanted)]

    # -- builds

    def add_build(self, build: Build) -> None:
        """Keep what was installed. An identity that is known already keeps its first notes."""
        # Two may add the same at once; both databases then refuse the second, which is right.
        with suppress(sa.exc.IntegrityError), self._write() as db:
            db.execute(sa.insert(BUILDS), build_row(build))

    def build(self, identity: str) -> Build | None:
        wanted = sa.select(BUILDS).where(BUILDS.c.identity == identity)
        return next(map(build_of, self._read(wanted)), None)

    # -- the two ways to the database

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        """One transaction, committed at the end of the block."""
        with explained(self._engine.url), self._engine.begin() as connection:
            yield connection

    def _read(self, wanted: sa.Select[Any]) -> list[dict[str, Any]]:
        with explained(self._engine.url), self._engine.connect() as connection:
            return [row._asdict() for row in connection.execute(wanted)]


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


def _insert(db: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> int:
    """Insert a row and return the id it was given."""
    # Typed as optional for inserts of many rows only.
    key: Sequence[Any] = db.execute(sa.insert(table), row).inserted_primary_key or ()
    return int(key[0])


def _event_row(session: int, state: State, detail: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "session": session,
        "state": str(state),
        "at": _now(),
        "detail": json.dumps(dict(detail)),
    }


def _end_row(step: int, detail: str) -> dict[str, Any]:
    return {"step": step, "ended": _now(), "detail": storable(detail)}


def _answer_row(session: int | None, answered: Answered) -> dict[str, Any]:
    return {
        "session": session,
        "trial": answered.trial.id,
        "verdict": str(answered.verdict),
        "cached": answered.cached,
    }
