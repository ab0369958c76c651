"""`behunt bisect`, the whole command: every way it ends, and every way to ask for less or more."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from behunt_cli import Hunting, executable, releases
from jsonschema import validate

_NAME = {"type": ["string", "null"]}
_TRIAL = {
    "type": "object",
    "required": ["release", "outcome", "verdict", "cached", "seconds", "log"],
    "properties": {
        "release": {"type": "string"},
        "outcome": {"enum": ["passed", "failed", "skipped", "timeout", "panicked", "broken"]},
        "verdict": {"enum": ["good", "bad", "unknown"]},
        "cached": {"type": "boolean"},
        "seconds": {"type": "number"},
        "log": {"type": "string"},
    },
}
_SUSPECT = {
    "type": "object",
    "required": ["release", "reason"],
    "properties": {"release": {"type": "string"}, "reason": {"type": "string", "minLength": 1}},
}
RESULT = {
    "type": "object",
    "required": ["outcome", "last_good", "first_bad", "suspects", "trials", "session"],
    "properties": {
        "outcome": {"enum": ["found", "ambiguous", "contradiction", "broken", "budget"]},
        "last_good": _NAME,
        "first_bad": _NAME,
        "suspects": {"type": "array", "items": _SUSPECT},
        "trials": {"type": "array", "items": _TRIAL},
        "session": {"type": "integer"},
    },
}
SKIP_30_TO_39 = 'case $BEHUNT_VERSION in 3?) exit 125;; esac; test "$BEHUNT_VERSION" -lt 40'


def test_it_is_found_and_told(hunting: Hunting) -> None:
    done = hunting()
    assert done.code == 0
    for words in ("Broke in demo 40", "last good  demo 39", "first bad  demo 40", "8 trials"):
        assert words in done.out
    assert "demo-40-amd64" in done.err, "progress is told on standard error"


def test_json_is_one_object_with_both_ends_first(hunting: Hunting) -> None:
    done = hunting("--json")
    found = done.json
    validate(found, RESULT)
    assert (found["outcome"], done.code) == ("found", 0)
    assert (found["last_good"], found["first_bad"]) == ("demo-39-amd64", "demo-40-amd64")
    trials = found["trials"]
    assert [(t["release"], t["verdict"]) for t in trials[:2]] == [
        ("demo-65-amd64", "bad"),
        ("demo-1-amd64", "good"),
    ]
    assert [t["release"].split("-")[1] for t in trials] == hunting.asked
    assert len(hunting.asked) <= 2 + 6
    assert all(Path(t["log"]).is_file() for t in trials)


def test_the_command_to_reproduce_reproduces(hunting: Hunting) -> None:
    lines = [line.split() for line in hunting().out.splitlines() if " run --fresh " in line]
    codes = {f"{a} {b}": hunting.behunt(*words).code for a, b, _, *words in lines}
    assert codes == {"last good": 0, "first bad": 1}


def test_what_was_not_tested_is_said(hunting: Hunting) -> None:
    hunting.asks(SKIP_30_TO_39)
    done = hunting("--json")
    found = done.json
    validate(found, RESULT)
    assert (found["outcome"], done.code) == ("ambiguous", 3)
    assert (found["last_good"], found["first_bad"]) == ("demo-29-amd64", "demo-40-amd64")
    assert [s["release"] for s in found["suspects"]] == [f"demo-{n}-amd64" for n in range(30, 40)]
    reasons = {s["reason"] for s in found["suspects"]}
    assert "not tested" in reasons
    assert any("exit 125" in reason for reason in reasons)


def test_thorough_tests_what_is_presumed_untestable(hunting: Hunting) -> None:
    hunting.asks(SKIP_30_TO_39)
    assert hunting("--thorough").code == 3
    assert {str(n) for n in range(30, 40)} <= set(hunting.asked)


@pytest.mark.parametrize(
    ("body", "code", "outcome", "reason"),
    [
        ("exit 0", 4, "contradiction", "the newest release, is good"),
        ("exit 1", 4, "contradiction", "the oldest release, is bad"),
        ("test $BEHUNT_VERSION != 1 || exit 125; exit 1", 5, "broken", "demo-1-amd64, the oldest"),
        ("test $BEHUNT_VERSION != 65 || exit 125", 5, "broken", "demo-65-amd64, the newest"),
    ],
)
def test_an_end_that_does_not_fit(
    hunting: Hunting, body: str, code: int, outcome: str, reason: str
) -> None:
    hunting.asks(body)
    done = hunting("--json")
    validate(done.json, RESULT)
    assert (done.json["outcome"], done.code) == (outcome, code)
    assert reason in done.json["reason"]
    assert len(hunting.asked) <= 2


def test_what_cannot_start_is_broken_and_never_bad(hunting: Hunting) -> None:
    executable(hunting.test, "exit 1", interpreter="/no/such/interpreter")
    done = hunting("--json")
    assert (done.json["outcome"], done.code) == ("broken", 5)
    assert {t["verdict"] for t in done.json["trials"]} == {"unknown"}
    assert "interpreter it asks for" in done.json["trials"][0]["reason"]
    stored = hunting.behunt("results", "--json").json
    assert [t["attempt"] for t in stored] == [2, 1], "it is tried again once"


@pytest.mark.parametrize("budget", [("--max-trials", "4"), ("--max-time", "0.001")])
def test_a_spent_budget(hunting: Hunting, budget: tuple[str, str]) -> None:
    done = hunting(*budget, "--json")
    validate(done.json, RESULT)
    assert (done.json["outcome"], done.code) == ("budget", 6)
    assert len(hunting.asked) <= 4
    rest = hunting.behunt("bisect", "--resume", "--max-trials", "99", "--json")
    assert (rest.json["outcome"], rest.code) == ("found", 0)
    assert len(hunting.asked) == 8, "what was asked before is not asked again"


def test_jobs_do_not_overspend(hunting: Hunting) -> None:
    assert hunting("--jobs", "3", "--max-trials", "4").code == 6
    assert len(hunting.asked) == 4


def test_jobs(hunting: Hunting) -> None:
    found = hunting("--jobs", "3", "--json").json
    assert (found["outcome"], found["first_bad"]) == ("found", "demo-40-amd64")
    assert len(hunting.asked) == len(set(hunting.asked))
    # What still ran when it was decided was ended, and is no answer.
    told = {trial["release"] for trial in found["trials"]}
    assert told <= {f"demo-{version}-amd64" for version in hunting.asked}
    assert len(hunting.asked) - len(told) <= 2


def test_find_a_fix(hunting: Hunting) -> None:
    hunting.asks("test $BEHUNT_VERSION -ge 17")
    found = hunting("--find", "fix", "--json").json
    assert (found["outcome"], found["find"]) == ("found", "fix")
    assert (found["last_bad"], found["first_good"]) == ("demo-16-amd64", "demo-17-amd64")
    assert (found["last_good"], found["first_bad"]) == (None, None)
    assert hunting("--find", "break").code == 4


@pytest.mark.parametrize(("operator", "kind"), [("-ge", "fix"), ("-lt", "break")])
def test_find_a_change_from_either_end(hunting: Hunting, operator: str, kind: str) -> None:
    hunting.asks(f"test $BEHUNT_VERSION {operator} 17")
    found = hunting("--find", "change", "--json", first="65", last="1").json
    assert (found["outcome"], found["find"]) == ("found", kind)
    ends = {found["last_bad"] or found["last_good"], found["first_good"] or found["first_bad"]}
    assert ends == {"demo-16-amd64", "demo-17-amd64"}


def test_without_from_it_walks_back_with_growing_steps(hunting: Hunting) -> None:
    hunting.asks("test $BEHUNT_VERSION -lt 60")
    done = hunting.behunt(*hunting.words("--to", "65", "--json"))
    assert (done.json["first_bad"], done.code) == ("demo-60-amd64", 0)
    back = [65 - int(v) for v in hunting.asked]
    steps = back[: back.index(max(back)) + 1]
    assert steps[0] == 0
    assert all(b >= 2 * a for a, b in pairwise(steps))
    assert max(steps) < 12, "it goes no further than it has to"


def test_what_lies_between_can_be_chosen(hunting: Hunting) -> None:
    found = hunting("--exclude", "38..40", "--exclude", "2?", "--json").json
    assert (found["last_good"], found["first_bad"]) == ("demo-37-amd64", "demo-41-amd64")
    assert found["suspects"] == [], "what is left out is no suspect"
    assert not any(version.startswith("2") for version in hunting.asked)


def test_dates_choose_and_order(hunting: Hunting) -> None:
    days = ["2019-05-01", "2018-05-01", "2020-05-01", "2021-05-01"]
    lines = [f'[[release]]\nversion = "{n}"\ndate = {day}' for n, day in enumerate(days, 1)]
    hunting.catalogue.write_text("\n".join(['os = "demo"', *lines]))
    hunting.asks("case $BEHUNT_VERSION in 1|2) ;; *) false;; esac")
    by_date = hunting("--order", "date", "--json", first="2", last="4").json
    assert [r.split("-")[1] for r in by_date["releases"]] == ["2", "1", "3", "4"]
    assert by_date["first_bad"] == "demo-3-amd64"
    of_time = ("--between", "2019-01-01..2020-12-31", "--json")
    between = hunting.behunt(*hunting.words(*of_time, "--from", "1", "--to", "3")).json
    assert [r.split("-")[1] for r in between["releases"]] == ["1", "3"]


def test_a_command_instead_of_a_script(hunting: Hunting) -> None:
    words = hunting.words("--from", "1", "--to", "65", "--json")[:-1]
    done = hunting.behunt(*words, "--", "sh", "-c", 'test "$BEHUNT_VERSION" -lt 3')
    assert (done.json["first_bad"], done.code) == ("demo-3-amd64", 0)


def test_two_catalogues_stay_apart(hunting: Hunting) -> None:
    other = releases(hunting.behunt.place / "other.toml", range(1, 4))
    hunting.behunt.fails(
        1, *hunting.words("--catalogue", other, "--from", "1", "--to", "3"), says="another"
    )
