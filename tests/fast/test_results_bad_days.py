"""Databases that cannot be had: one sentence, a hint, no traceback.

Full disks and read-only file systems are in tests/real/test_results_disk.py.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import behunt
from behunt.errors import HostError, UsageError
from behunt.model import Outcome, Trial
from behunt.results.store import Results

TRIAL = Trial("r", "t", "none", Outcome.PASSED, "k")


def refusal(where: str | Path) -> HostError:
    with pytest.raises(HostError) as raised:
        Results.open(where)
    assert raised.value.hint
    assert "\n" not in raised.value.message
    return raised.value


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    path.write_text("these are my notes " * 100)
    assert refusal(path).message == f"{path} is not a results database"
    assert path.read_text().startswith("these are my notes")


def test_a_database_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with Results.open(path) as results:
        for _ in range(100):
            results.add_trial(TRIAL)
    os.truncate(path, path.stat().st_size // 2)
    assert "damaged" in refusal(path).message


def test_a_database_that_another_program_holds(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with Results.open(path) as results, closing(sqlite3.connect(path)) as other:
        with results._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=0")  # do not wait half a minute
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HostError, match="held by another program") as raised:
            results.add_trial(TRIAL)
        assert str(path) in raised.value.message
        assert str(path) in raised.value.hint
        assert results.trials() == []  # reading goes on meanwhile
        other.rollback()
        assert results.add_trial(TRIAL).id == 1


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    path.mkdir()
    assert f"{path} cannot be opened" in refusal(path).message


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    path = tmp_path / "home" / "results.db"
    error = refusal(path)
    assert str(path) in error.message
    assert "BEHUNT_HOME" in error.hint


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("mysql://localhost/behunt", "cannot be kept in mysql"),
        ("://", "not the URL of a database"),
    ],
)
def test_a_url_behunt_cannot_use(url: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as raised:
        Results.open(url)
    assert "postgresql" in raised.value.hint


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(behunt.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def test_postgresql_without_its_driver() -> None:
    said = python(
        "import sys; sys.modules['psycopg'] = None  # as if it were not installed\n"
        "from behunt.errors import HostError\n"
        "from behunt.results.store import Results\n"
        "try: Results.open('postgresql://me:secret@localhost/db')\n"
        "except HostError as error: print(error.message, error.hint)\n"
    )
    assert "needs the Python module psycopg" in said
    assert "pip install" in said
    assert "secret" not in said


def test_nothing_but_the_store_imports_sqlalchemy() -> None:
    """It takes longer than `behunt --help` may."""
    said = python(
        "import sys, behunt.cli.results, behunt.results.log, behunt.results.sessions\n"
        "print('sqlalchemy' in sys.modules, 'tabulate' in sys.modules)\n"
    )
    assert said == "False False\n"
