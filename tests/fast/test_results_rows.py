"""How values become rows and back, and which index a question is answered from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from behunt.model import Build, Metric, Outcome, Package, Trial
from behunt.results.store import Results
from behunt.results.tables import TRIALS, build_of, build_row

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
INTEGERS = st.integers(-(2**31), 2**31 - 1)


@settings(max_examples=60)
@given(
    st.builds(
        Trial,
        release=TEXT,
        test=TEXT,
        runner=TEXT,
        outcome=st.sampled_from(Outcome),
        key=TEXT,
        reason=TEXT,
        exit_code=st.none() | INTEGERS,
        metrics=st.lists(st.builds(Metric, st.text(), st.floats(allow_nan=False), st.text())).map(
            tuple
        ),
        seconds=st.floats(allow_nan=False, allow_infinity=False),
        log=TEXT,
        attempt=INTEGERS,
    )
)
def test_any_trial_comes_back(trial: Trial) -> None:
    with Results.open("sqlite://") as results:
        assert [results.add_trial(trial)] == results.trials()


@given(
    st.builds(
        Build,
        recipe=st.text(),
        origins=st.lists(st.tuples(st.text(), st.text())).map(tuple),
        packages=st.lists(st.builds(Package, st.text(), st.text(), st.text())).map(tuple),
        notes=st.lists(st.text()).map(tuple),
    ).filter(lambda build: not any("\ud800" <= c <= "\udfff" for c in repr(build)))
)
def test_any_build_comes_back(build: Build) -> None:
    assert build_of(build_row(build)) == build


def test_the_columns_of_trials_are_the_fields_of_a_trial() -> None:
    assert set(TRIALS.c.keys()) == {field.name for field in fields(Trial)}


@pytest.fixture
def planned(tmp_path: Path) -> Iterator[tuple[Results, list[str]]]:
    """A store, and SQLite's plan of every SELECT it is asked."""
    plans: list[str] = []
    with Results.open(tmp_path / "results.db") as results:

        @sa.event.listens_for(results._engine, "before_cursor_execute")
        def explain(
            _c: object, cursor: sa.DBAPICursor, statement: str, given: tuple[object], *_r: object
        ) -> None:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", given)
            plans.append("; ".join(row[3] for row in cursor.fetchall()))

        yield results, plans


INDICES = [
    "trials_by_key",
    "trials_by_test",
    "trials_by_release",
    "trials_by_session",
    "trials_by_outcome",
    "answers_by_session",
    "steps_by_session",
]


def test_questions_are_answered_from_an_index(planned: tuple[Results, list[str]]) -> None:
    """Without sorting and without reading all rows: the cost does not grow with the store."""
    results, plans = planned
    results.answer_for("k")
    results.trials(test="t", limit=20)
    results.trials(release="r", limit=20)
    results.trials(session=1, limit=20)
    results.trials(outcome=Outcome.FAILED, limit=20)
    results.answers(1)
    results.unfinished(1)
    for plan, index in zip(plans, INDICES, strict=True):
        assert plan.startswith(f"SEARCH {index.partition('_by_')[0]} USING INDEX {index} (")
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan


def test_all_trials_are_read_in_the_order_of_their_key(
    planned: tuple[Results, list[str]],
) -> None:
    results, plans = planned
    results.trials(limit=20)
    assert plans == ["SCAN trials"]  # backwards, up to the limit: no "USE TEMP B-TREE"
