"""The store's verbs, on SQLite and on a PostgreSQL cluster started for these tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

import behunt
from behunt.errors import HostError, UsageError
from behunt.model import Answered, Build, Metric, Outcome, Package, Trial, Verdict
from behunt.results.sessions import State
from behunt.results.store import Results
from behunt.results.tables import METADATA

TRIAL = Trial(
    release="debian-12-amd64",
    test="crypt.sh",
    runner="namespace",
    outcome=Outcome.FAILED,
    key="k1",
    reason="exit code 1",
    exit_code=1,
    metrics=(Metric("boot", 1.25, "s"), Metric("pages", 7.0)),
    started="2026-01-02T03:04:05+00:00",
    seconds=0.75,
    log="/runs/1/log",
    out="/runs/1/out",
    identity="i1",
    kernel="6.1.0-13-amd64",
    attempt=2,
)
BUILD = Build(
    recipe="mmdebstrap --variant=minbase",
    origins=(("https://deb.debian.org/dists/bookworm/Release", "ab" * 32),),
    packages=(Package("bash", "5.2.15-2", "amd64"), Package("tzdata", "2024a-0", "all")),
    notes=("the Release file has expired",),
)


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """URL of a throw-away PostgreSQL, less the name of a database."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL's server programs are not installed")
    pytest.importorskip("psycopg", reason='needs: pip install "psycopg[binary]"')
    owner = "postgres" if os.geteuid() == 0 else None  # initdb refuses root
    # Not tmp_path: only its owner can enter that, and a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="pg-") as directory:
        if owner:
            shutil.chown(directory, owner)

        def run(program: str, *arguments: str) -> None:
            path = programs[-1].with_name(program)
            with Path(directory, "output").open("a") as output:
                subprocess.run(
                    [path, "-D", f"{directory}/data", *arguments],
                    user=owner,
                    stdout=output,
                    stderr=output,
                    cwd=directory,
                    check=True,
                )

        run("initdb", "--auth=trust", "--username=behunt", "--no-sync")
        run("pg_ctl", "start", "-w", "-o", f"-k {directory} -c listen_addresses= -c fsync=off")
        try:
            yield f"postgresql://behunt@/{{}}?host={directory}"
        finally:
            run("pg_ctl", "stop", "-m", "immediate")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "home" / "results.db")
    cluster: str = request.getfixturevalue("cluster")
    name = f"t{uuid.uuid4().hex}"
    admin = sa.create_engine(
        cluster.format("postgres").replace(":", "+psycopg:", 1), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.dispose()
    return cluster.format(name)


@pytest.fixture
def results(where: str) -> Iterator[Results]:
    with Results.open(where) as opened:
        yield opened


def child(code: str, *arguments: str, **pipes: int) -> subprocess.Popen[str]:
    """Start another Python that can import what we can."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(behunt.__file__).parents[1])},
        text=True,
        **pipes,
    )


# -- sessions


def test_session_comes_back_as_it_was_given(results: Results) -> None:
    params = {"os": "debian", "releases": ["a", "b"], "jobs": 2, "budget": None, "thorough": True}
    number = results.new_session("bisect", params)
    session = results.session(number)
    assert (session.id, session.kind, session.params) == (number, "bisect", params)
    assert (session.version, session.host) == (behunt.__version__, os.uname().nodename)
    assert session.state is State.STARTED
    assert session.conclusion is None


def test_state_of_a_session_is_its_last_event(results: Results) -> None:
    number = results.new_session("bisect", {})
    results.add_event(number, State.INTERRUPTED)
    results.add_event(number, State.RESUMED, {"owner": "pid 7"})
    assert results.session(number).state is State.RESUMED
    assert results.session(number).conclusion is None
    results.add_event(number, State.ENDED, {"outcome": "found", "after": "debian-12-amd64"})
    session = results.session(number)
    assert [event.state for event in session.events] == [
        State.STARTED,
        State.INTERRUPTED,
        State.RESUMED,
        State.ENDED,
    ]
    assert session.resumed == 1
    assert session.conclusion == {"outcome": "found", "after": "debian-12-amd64"}


def test_unknown_session_is_the_users_mistake(results: Results) -> None:
    with pytest.raises(UsageError, match="no session 7"):
        results.session(7)


def test_sessions_are_listed_newest_first(results: Results) -> None:
    bisect, run, again = (results.new_session(kind, {}) for kind in ("bisect", "run", "bisect"))
    assert [s.id for s in results.sessions()] == [again, run, bisect]
    assert [s.id for s in results.sessions("bisect")] == [again, bisect]
    assert [s.id for s in results.sessions(limit=1)] == [again]
    assert all(s.state is State.STARTED for s in results.sessions())


# -- trials


def test_trial_comes_back_whole(results: Results) -> None:
    trial = replace(TRIAL, session=results.new_session("run", {}))
    stored = results.add_trial(trial)
    assert stored.id is not None
    assert stored == replace(trial, id=stored.id)
    assert results.trials() == [stored]


def test_a_trial_needs_no_session(results: Results) -> None:
    stored = results.add_trial(replace(TRIAL, exit_code=None, metrics=()))
    assert results.trials() == [stored]


def test_what_a_database_refuses_is_written_out(results: Results) -> None:
    undecodable = b"it said \xff".decode("utf-8", "surrogateescape")
    results.add_trial(replace(TRIAL, reason=f"{undecodable} \0"))
    assert results.trials()[0].reason == r"it said \udcff \x00"


def test_listing_filters_and_is_newest_first(results: Results) -> None:
    session = results.new_session("run", {})
    first = results.add_trial(TRIAL)
    second = results.add_trial(replace(TRIAL, release="debian-11-amd64", session=session))
    third = results.add_trial(replace(TRIAL, test="other", outcome=Outcome.PASSED))
    assert results.trials() == [third, second, first]
    assert results.trials(limit=2) == [third, second]
    assert results.trials(test="crypt.sh") == [second, first]
    assert results.trials(release="debian-12-amd64") == [third, first]
    assert results.trials(session=session) == [second]
    assert results.trials(outcome=Outcome.PASSED) == [third]
    assert results.trials(test="other", release="debian-11-amd64") == []


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_but_broken_answers(results: Results, outcome: Outcome) -> None:
    stored = results.add_trial(replace(TRIAL, outcome=outcome))
    assert results.answer_for("k1") == (None if outcome is Outcome.BROKEN else stored)


def test_the_latest_answer_to_the_same_inputs_counts(results: Results) -> None:
    results.add_trial(TRIAL)
    latest = results.add_trial(replace(TRIAL, outcome=Outcome.PASSED))
    results.add_trial(replace(TRIAL, outcome=Outcome.BROKEN))
    results.add_trial(replace(TRIAL, key="k2"))
    assert results.answer_for("k1") == latest
    assert results.answer_for("k3") is None


# -- answers and steps


def test_answers_come_back_in_the_order_of_the_hunt(results: Results) -> None:
    earlier = results.add_trial(replace(TRIAL, session=results.new_session("bisect", {})))
    session = results.new_session("bisect", {})
    mine = replace(TRIAL, release="debian-sid-amd64", session=session)
    bad = results.add_trial(mine, verdict=Verdict.BAD)
    results.add_answer(session, Answered(earlier, Verdict.GOOD, cached=True))
    lost = results.add_trial(replace(mine, outcome=Outcome.BROKEN), verdict=Verdict.UNKNOWN)
    assert results.answers(session) == (
        Answered(bad, Verdict.BAD),
        Answered(earlier, Verdict.GOOD, cached=True),
        Answered(lost, Verdict.UNKNOWN),
    )
    assert results.answers(session + 1) == ()


def test_steps_without_an_end_are_unfinished(results: Results) -> None:
    session = results.new_session("bisect", {})
    install = results.begin(session, "install", "debian-11-amd64", "pid 7")
    trial = results.begin(session, "trial", "debian-11-amd64", "pid 7")
    outside = results.begin(None, "install", "debian-12-amd64", "pid 8")
    results.end(install, "sealed")
    (step,) = results.unfinished(session)
    assert (step.id, step.session, step.kind) == (trial, session, "trial")
    assert (step.subject, step.owner) == ("debian-11-amd64", "pid 7")
    assert [s.id for s in results.unfinished()] == [trial, outside]


def test_a_trial_ends_its_step_and_answers_at_once(results: Results) -> None:
    session = results.new_session("bisect", {})
    step = results.begin(session, "trial", TRIAL.release, "pid 7")
    stored = results.add_trial(replace(TRIAL, session=session), step=step, verdict=Verdict.BAD)
    assert results.unfinished() == []
    assert results.answers(session) == (Answered(stored, Verdict.BAD),)


def test_trial_step_and_answer_are_stored_together_or_not_at_all(results: Results) -> None:
    session = results.new_session("bisect", {})
    step = results.begin(session, "trial", TRIAL.release, "pid 7")
    results.end(step)
    with pytest.raises(sa.exc.IntegrityError):  # the step has ended already
        results.add_trial(replace(TRIAL, session=session), step=step, verdict=Verdict.BAD)
    assert results.trials() == []
    assert results.answers(session) == ()


def test_rows_that_refer_to_nothing_are_refused(results: Results) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        results.end(99)
    with pytest.raises(sa.exc.IntegrityError):
        results.add_trial(replace(TRIAL, session=99))


# -- builds


def test_build_comes_back_by_its_identity(results: Results) -> None:
    results.add_build(BUILD)
    results.add_build(replace(BUILD, notes=()))  # the same identity: the first one stays
    assert results.build(BUILD.identity()) == BUILD
    assert results.build("unknown") is None


# -- all of it


def test_rows_are_only_ever_inserted(results: Results) -> None:
    said: list[str] = []

    @sa.event.listens_for(results._engine, "before_cursor_execute")
    def note(_c: object, _k: object, statement: str, *_rest: object) -> None:
        said.append(statement.partition(" ")[0])

    session = results.new_session("bisect", {})
    step = results.begin(session, "trial", TRIAL.release, "pid 7")
    stored = results.add_trial(replace(TRIAL, session=session), step=step, verdict=Verdict.BAD)
    results.end(results.begin(session, "install", TRIAL.release, "pid 7"))
    results.add_answer(session, Answered(stored, Verdict.BAD, cached=True))
    results.add_event(session, State.ENDED)
    results.add_build(BUILD)
    assert set(said) == {"INSERT"}


def test_tables_match_the_migrations(results: Results) -> None:
    made = sa.MetaData()
    made.reflect(results._engine)

    def shape(metadata: sa.MetaData) -> dict[str, list[tuple[str, bool]]]:
        return {
            name: [(column.name, column.primary_key) for column in table.columns]
            for name, table in metadata.tables.items()
        }

    assert shape(made) == shape(METADATA)


def test_threads_share_one_store(results: Results) -> None:
    session = results.new_session("bisect", {})

    def work(number: int) -> int:
        step = results.begin(session, "trial", f"r{number}", "pid 7")
        trial = replace(TRIAL, session=session, release=f"r{number}")
        return results.add_trial(trial, step=step, verdict=Verdict.BAD).id or 0

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(work, range(200)))
    assert len(set(ids)) == 200
    assert results.unfinished() == []
    assert {a.trial.release for a in results.answers(session)} == {f"r{n}" for n in range(200)}


INSERT = """
import sys
from behunt.model import Outcome, Trial
from behunt.results.store import Results
where, name, count = sys.argv[1:]
sys.stdin.readline()
with Results.open(where) as results:
    for number in range(int(count)):
        step = results.begin(None, "trial", "r", name)
        trial = Trial("r", name, "none", Outcome.PASSED, f"{name}{number}")
        print(results.add_trial(trial, step=step).id, flush=True)
"""


def test_processes_open_and_write_at_once(where: str) -> None:
    """The first open of a database by several, too: each wants to migrate it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    writers = [child(INSERT, where, name, "200", **pipes) for name in ("a", "b")]
    writers += [child(INSERT, where, name, "0", **pipes) for name in ("c", "d")]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate(timeout=60) for writer in writers]
    assert [errors for _, errors in said] == ["", "", "", ""]
    with Results.open(where) as results:
        stored = {trial.id: trial for trial in results.trials()}
        assert {stored[int(number)].test for number in said[0][0].split()} == {"a"}
        assert sorted(trial.key for trial in stored.values()) == sorted(
            f"{name}{number}" for name in "ab" for number in range(200)
        )
        assert results.unfinished() == []


def test_a_killed_writer_loses_nothing_it_had_committed(where: str) -> None:
    writer = child(INSERT, where, "a", "1000000", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
        committed = [int(writer.stdout.readline()) for _ in range(50)]
        writer.kill()
        committed += [
            int(line)
            for line in writer.stdout.read().splitlines(keepends=True)
            if line.endswith("\n")
        ]
    with Results.open(where) as results:
        stored = {trial.id for trial in results.trials()}
        assert stored.issuperset(committed)
        assert len(stored) - len(committed) <= 1  # committed, killed before it was told
        assert len(results.unfinished()) <= 1
        results.add_trial(TRIAL)


@pytest.mark.real
def test_a_postgresql_that_is_not_there(cluster: str) -> None:
    with pytest.raises(HostError, match="no_such") as raised:
        Results.open(cluster.format("no_such"))
    assert raised.value.hint
