"""`behunt results` as a user sees it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from behunt.cli.results import results
from behunt.errors import UsageError
from behunt.model import Metric, Outcome, Trial
from behunt.results.store import Results

TRIAL = Trial(
    release="debian-12-amd64",
    test="crypt.sh",
    runner="namespace",
    outcome=Outcome.FAILED,
    key="k",
    reason="exit code 1",
    exit_code=1,
    metrics=(Metric("boot", 1.5, "s"),),
    started="2026-01-02T03:04:05.678+00:00",
    seconds=0.75,
)


@dataclass(frozen=True)
class Home:
    results_path: Path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "results.db")


@pytest.fixture
def stored(home: Home) -> list[Trial]:
    """Three trials, newest first."""
    with Results.open(home.results_path) as store:
        trials = [
            store.add_trial(TRIAL),
            store.add_trial(replace(TRIAL, release="debian-11.10-i386", outcome=Outcome.PASSED)),
            store.add_trial(
                replace(TRIAL, test="o", session=store.new_session("run", {}), reason="why " * 40)
            ),
        ]
    return trials[::-1]


def invoke(home: Home, *arguments: str) -> Result:
    return CliRunner().invoke(results, arguments, obj=home)


def test_table(home: Home, stored: list[Trial]) -> None:
    assert len(stored) == 3
    shown = invoke(home, "--test", "crypt.sh")
    assert shown.exit_code == 0
    assert [" ".join(line.split()) for line in shown.output.splitlines()[2:]] == [
        "2 2026-01-02 03:04:05 debian-11.10-i386 crypt.sh namespace passed exit code 1 0.75",
        "1 2026-01-02 03:04:05 debian-12-amd64 crypt.sh namespace failed exit code 1 0.75",
    ]
    for header in ("session", "when (UTC)", "release", "runner", "outcome", "reason", "seconds"):
        assert header in shown.output.splitlines()[0]


def test_a_long_reason_is_cut(home: Home, stored: list[Trial]) -> None:
    line = invoke(home, "--session", str(stored[0].session)).output.splitlines()[-1]
    assert "why why why" in line
    assert "… " in line
    assert len(line) < 180


def test_the_table_has_a_panic_without_its_screen(home: Home, stored: list[Trial]) -> None:
    reason = "panic: page fault\ncpuid = 0"
    with Results.open(home.results_path) as store:
        store.add_trial(replace(stored[0], test="p", reason=reason, id=None))
    assert "panic: page fault " in invoke(home, "--test", "p").output
    assert "cpuid" not in invoke(home, "--test", "p").output
    (trial,) = json.loads(invoke(home, "--test", "p", "--json").output)
    assert trial["reason"] == reason


def test_json_has_everything(home: Home, stored: list[Trial]) -> None:
    shown = json.loads(invoke(home, "--json").output)
    assert shown == json.loads(json.dumps([asdict(trial) for trial in stored]))
    assert shown[2]["metrics"] == [{"name": "boot", "value": 1.5, "unit": "s"}]


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (["--release", "debian-12-amd64"], [3, 1]),
        (["--outcome", "passed"], [2]),
        (["--test", "o"], [3]),
        (["--session", "1"], [3]),
        (["--limit", "1"], [3]),
        (["--release", "debian-99-amd64"], []),
    ],
)
def test_filters(home: Home, stored: list[Trial], arguments: list[str], ids: list[int]) -> None:
    assert len(stored) == 3
    shown = json.loads(invoke(home, "--json", *arguments).output)
    assert [trial["id"] for trial in shown] == ids


def test_nothing_stored_yet(home: Home) -> None:
    assert invoke(home).output == "no trial matches\n"
    assert invoke(home, "--json").output == "[]\n"


def test_a_session_that_is_not_there(home: Home) -> None:
    shown = invoke(home, "--session", "7")
    assert isinstance(shown.exception, UsageError)
    assert shown.exception.message == "there is no session 7"


@pytest.mark.parametrize("arguments", [["--outcome", "odd"], ["--limit", "0"], ["extra"]])
def test_wrong_usage(home: Home, arguments: list[str]) -> None:
    assert invoke(home, *arguments).exit_code == 2
