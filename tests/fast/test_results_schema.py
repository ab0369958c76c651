"""Migrations: an old database, a newer one, one of somebody else's, one that fails half-way."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

import behunt
from behunt.errors import HostError
from behunt.model import Answered, Metric, Outcome, Package, Trial, Verdict
from behunt.results.database import connect
from behunt.results.schema import MIGRATIONS, migrate
from behunt.results.sessions import State
from behunt.results.store import Results

VERSIONS = [(number,) for number in range(1, len([*MIGRATIONS.iterdir()]) + 1)]
NEXT = len(VERSIONS) + 1
STORED_V1 = Path(__file__).with_name("test_results_v1.sql")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def run(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Run SQL, any number of statements, behind behunt's back; the rows of the last."""
    with closing(sqlite3.connect(path)) as database:
        *script, last = sql.split(";\n")
        database.executescript(";\n".join(script))
        rows = database.execute(last).fetchall()
        database.commit()
        return rows


def test_a_stored_database_of_version_1_is_read(path: Path) -> None:
    run(path, STORED_V1.read_text())
    with Results.open(path) as results:
        (session,) = results.sessions()
        assert session.kind == "bisect"
        assert session.params == {"releases": ["debian-11-amd64", "debian-sid-amd64"]}
        assert [event.state for event in session.events] == [State.STARTED, State.ENDED]
        assert session.conclusion == {"outcome": "found"}
        failed = Trial(
            id=2,
            session=1,
            release="debian-sid-amd64",
            test="crypt.sh",
            runner="namespace",
            outcome=Outcome.FAILED,
            key="cd" * 32,
            reason="exit code 1",
            exit_code=1,
            metrics=(Metric("boot", 1.5, "s"),),
            started="2026-01-02T03:05:06+00:00",
            seconds=0.5,
            log="/runs/2/log",
            identity="ab" * 32,
            kernel="6.1.0-13-amd64",
        )
        assert results.answers(1)[1] == Answered(failed, Verdict.BAD)
        assert results.answers(1)[0].cached
        assert results.answer_for("cd" * 32) == failed
        assert [step.subject for step in results.unfinished()] == ["debian-12-amd64"]
        build = results.build("ab" * 32)
        assert build is not None
        assert build.packages == (Package("bash", "5.2.15-2", "amd64"),)
        assert results.add_trial(failed).id == 3


def test_a_newer_database_is_left_alone(path: Path) -> None:
    Results.open(path).close()
    run(path, "INSERT INTO schema_version VALUES (9999, '', '9.0')")
    with pytest.raises(HostError, match="has schema 9999") as raised:
        Results.open(path)
    assert "newer behunt" in raised.value.hint


def test_somebody_elses_database_is_left_alone(path: Path) -> None:
    run(path, "CREATE TABLE recipes (cake TEXT)")
    with pytest.raises(HostError, match=r"belongs to another program.*recipes"):
        Results.open(path)
    assert run(path, "SELECT name FROM sqlite_master") == [("recipes",)]


OPEN = """
import sys
from behunt.results.store import Results
print("ready", flush=True)
for path in sys.stdin:
    Results.open(path.strip()).close()
    print("opened", flush=True)
"""


def test_a_new_database_may_be_opened_by_several_at_once(tmp_path: Path) -> None:
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN],
            env=os.environ | {"PYTHONPATH": str(Path(behunt.__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    ends = [(opener.stdin, opener.stdout) for opener in openers]
    said = {out.readline() for _, out in ends if out}
    for number in range(40):  # the window is narrow: give each round a new database
        for into, _ in ends:
            assert into is not None
            print(tmp_path / f"{number}.db", file=into, flush=True)
        said |= {out.readline() for _, out in ends if out}
    assert [opener.communicate()[1] for opener in openers] == [""] * 4
    assert said == {"ready\n", "opened\n"}
    for number in range(40):
        assert run(tmp_path / f"{number}.db", "SELECT version FROM schema_version") == VERSIONS


@pytest.fixture
def engine(path: Path) -> Iterator[sa.Engine]:
    engine = connect(path)
    yield engine
    engine.dispose()


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """A copy of the real ones, for tests to add to."""
    return Path(shutil.copytree(MIGRATIONS, tmp_path / "migrations"))


def test_the_next_migration_keeps_what_is_stored(
    path: Path, engine: sa.Engine, migrations: Path
) -> None:
    run(path, STORED_V1.read_text())
    (migrations / f"{NEXT:04}_flaky.sql").write_text(
        "-- Comments; with semicolons; and more than one statement.\n"
        "ALTER TABLE trials ADD COLUMN flaky INTEGER;\n"
        "CREATE INDEX trials_by_flaky ON trials (flaky); -- done;\n"
    )
    assert migrate(engine, migrations) == NEXT
    assert run(path, "SELECT id, flaky FROM trials") == [(1, None), (2, None)]
    assert run(path, "SELECT version FROM schema_version") == [*VERSIONS, (NEXT,)]
    assert migrate(engine, migrations) == NEXT  # and then there is nothing to do
    assert run(path, "SELECT version FROM schema_version") == [*VERSIONS, (NEXT,)]


def test_a_migration_that_fails_changes_nothing(
    path: Path, engine: sa.Engine, migrations: Path
) -> None:
    migrate(engine)
    before = run(path, "SELECT sql FROM sqlite_master")
    good = "ALTER TABLE trials ADD COLUMN flaky INTEGER;\n"
    (migrations / f"{NEXT:04}_good.sql").write_text(good)
    (migrations / f"{NEXT + 1:04}_bad.sql").write_text(
        "CREATE TABLE half (a TEXT);\nALTER TABLE nowhere ADD COLUMN a TEXT;\n"
    )
    with pytest.raises(sa.exc.OperationalError, match="nowhere"):
        migrate(engine, migrations)
    assert run(path, "SELECT sql FROM sqlite_master") == before
    assert run(path, "SELECT version FROM schema_version") == VERSIONS


def test_migrations_are_numbered_without_a_gap() -> None:
    names = sorted(path.name for path in MIGRATIONS.iterdir())
    assert [name[:5] for name in names] == [f"{n:04}_" for n in range(1, len(names) + 1)]
