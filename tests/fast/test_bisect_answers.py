"""What a hunt leaves behind: cached answers, its log and replay, results and reports."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from behunt_cli import Hunting


def test_a_second_hunt_asks_nothing(hunting: Hunting) -> None:
    first = hunting("--json").json
    asked = list(hunting.asked)
    again = hunting("--json")
    assert (hunting.asked, again.code) == (asked, 0)
    assert again.json["first_bad"] == first["first_bad"]
    assert all(trial["cached"] for trial in again.json["trials"])
    assert again.json["trials"][0]["release"] == "demo-65-amd64"
    assert "cached" in again.err


def test_another_range_takes_what_fits(hunting: Hunting) -> None:
    hunting()
    asked = len(hunting.asked)
    found = hunting("--json", first="33", last="49").json
    assert found["first_bad"] == "demo-40-amd64"
    assert len(hunting.asked) == asked, "both ends and all between were answered before"


@pytest.mark.parametrize(
    "changed",
    [
        ["--env", "LIMIT=9"],
        ["--timeout", "30"],
        ["--network"],
        ["--file", "builds.toml"],
        ["--fresh"],
    ],
)
def test_any_other_input_is_another_question(hunting: Hunting, changed: list[str]) -> None:
    hunting()
    asked = len(hunting.asked)
    assert hunting(*changed).code == 0
    assert len(hunting.asked) == 2 * asked


def test_a_changed_script_never_meets_a_stale_answer(hunting: Hunting) -> None:
    hunting()
    asked = len(hunting.asked)
    hunting.asks('test "$BEHUNT_VERSION" -lt 13')
    assert hunting("--json").json["first_bad"] == "demo-13-amd64"
    assert len(hunting.asked) > asked


def test_a_log_is_replayed_without_asking(hunting: Hunting) -> None:
    first = hunting("--jobs", "2", "--json").json
    asked = list(hunting.asked)
    log = hunting.behunt("bisect", "log").out
    again = hunting.behunt("bisect", "replay", "-", "--json", stdin=log)
    assert (again.code, hunting.asked) == (0, asked)
    told = [
        [(t["release"], t["outcome"], t["verdict"]) for t in found["trials"]]
        for found in (first, again.json)
    ]
    assert told[0] == told[1]
    assert again.json["session"] != first["session"]
    once_more = hunting.behunt("bisect", "log", str(again.json["session"])).out
    assert [line.split("#")[0] for line in once_more.splitlines()] == [
        line.split("#")[0] for line in log.splitlines()
    ]


def test_an_edited_log_is_believed(hunting: Hunting) -> None:
    hunting()
    log = hunting.behunt("bisect", "log").out
    edited = hunting.behunt.place / "edited.log"
    edited.write_text(re.sub(r"^bad (demo-40-amd64).*$", r"unknown \1", log, flags=re.MULTILINE))
    done = hunting.behunt("bisect", "replay", edited, "--json")
    assert (done.json["outcome"], done.code) == ("ambiguous", 3)
    assert [s["release"] for s in done.json["suspects"]] == ["demo-40-amd64"]
    edited.write_text(log + "good demo-50-amd64\n")
    done = hunting.behunt("bisect", "replay", edited, "--json")
    assert (done.json["outcome"], done.code) == ("contradiction", 4)
    assert "demo-50-amd64" in done.json["reason"]


def test_an_unfinished_log_goes_on(hunting: Hunting) -> None:
    hunting("--max-trials", "4")
    log = hunting.behunt("bisect", "log").out.replace("'{\"trials\": 4}'", "'{\"trials\": 99}'")
    done = hunting.behunt("bisect", "replay", "-", "--json", stdin=log)
    assert (done.json["first_bad"], done.code) == ("demo-40-amd64", 0)
    assert len(hunting.asked) == len(set(hunting.asked)) == 8


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("", "empty"),
        ("behunt bisect begin", "line 1"),
        ("behunt bisect start -- ./t\nrelease demo-1\nworse demo-1", "`worse`"),
        ("behunt bisect start -- ./t\nrelease demo-1-amd64\nbad demo-9", "not one of"),
        ("behunt bisect start --find up -- ./t\nrelease demo-1\nrelease demo-2", "cannot be"),
        ("behunt bisect start -- true\nrelease demo-1\nrelease demo-2", "no runner"),
        ("behunt bisect start --runner none -- true\nrelease demo-1", "both ends"),
        ("behunt bisect start --runner none -- true", "both ends"),
        ("behunt bisect start --runner none -- true\nrelease demo-1\nrelease demo-1", "twice"),
    ],
)
def test_a_log_that_is_none(hunting: Hunting, log: str, says: str) -> None:
    file = hunting.behunt.place / "hunt.log"
    file.write_text(log)
    catalogue = ("--catalogue", hunting.catalogue)
    hunting.behunt.fails(2, "bisect", "replay", *catalogue, file, says=says)
    hunting.behunt.fails(2, "bisect", "--resume", says="no bisection")


def test_nothing_to_resume(hunting: Hunting) -> None:
    fails = hunting.behunt.fails
    fails(2, "bisect", "--resume", says="no bisection")
    hunting("--max-trials", "3")
    fails(2, "bisect", "--resume", "7", says="no session 7")
    fails(2, "bisect", "--resume", "--fresh", says="--fresh")
    fails(2, "bisect", "--resume", hunting.test, says="--resume")


def test_a_session_that_has_ended_is_told_again(hunting: Hunting) -> None:
    """It may have been killed after it was done and before anybody heard of it."""
    hunting.asks('test "$BEHUNT_VERSION" != 40 || exit 125; test "$BEHUNT_VERSION" -lt 40')
    first = hunting("--json")
    again = hunting.behunt("bisect", "--resume", "--json")
    assert "session 1 has ended" in again.err
    assert (again.code, first.code) == (3, 3)
    assert again.json["suspects"] == first.json["suspects"]
    assert again.json["trials"] == first.json["trials"]


def test_results_list_every_trial_newest_first(hunting: Hunting) -> None:
    trials = hunting("--json").json["trials"]
    stored = hunting.behunt("results", "--json").json
    assert [t["release"] for t in stored] == [t["release"] for t in reversed(trials)]
    of_one = hunting.behunt("results", "--test", "test.sh", "--release", "demo-40-amd64").out
    assert len(of_one.splitlines()) == 3
    assert "failed" in of_one


def test_reports_in_every_form(hunting: Hunting) -> None:
    hunted = hunting("--json").json
    place = hunting.behunt.place
    files = [f"--{form}={place / form}" for form in ("html", "markdown", "junit", "json")]
    assert hunting.behunt("report", str(hunted["session"]), *files).code == 0
    html = (place / "html").read_text()
    assert html.count("<svg") >= 1
    assert "demo 40" in html
    assert len(html) < 300_000
    assert "demo 40" in (place / "markdown").read_text()
    suite = ET.parse(place / "junit").getroot()
    assert len(suite.findall(".//testcase")) == len(hunted["trials"])
    reported = json.loads((place / "json").read_text())
    ours = {k: v for k, v in hunted.items() if k not in {"started", "seconds"}}
    assert {k: reported[k] for k in ours} == ours
    assert "Broke in demo 40" in hunting.behunt("report").out


def test_html_of_a_hunt(hunting: Hunting) -> None:
    page = hunting.behunt.place / "hunt.html"
    assert str(page) in hunting("--html", page).err
    assert page.read_text().startswith("<!doctype html>")
    nowhere = hunting("--html", "/nowhere/hunt.html")
    assert nowhere.code == 1
    assert "/nowhere/hunt.html cannot be written" in nowhere.err


def test_a_hunt_survives_the_loss_of_the_test(hunting: Hunting) -> None:
    """The home keeps the test as it was, for --resume and to reproduce."""
    hunting("--max-trials", "3")
    hunting.test.unlink()
    assert hunting.behunt("bisect", "--resume", "--max-trials", "99").code == 0
    kept = next((hunting.behunt.home / "sessions").glob("*/test.sh"))
    kept.unlink()
    hunting.asks('test "$BEHUNT_VERSION" -lt 40')
    hunting("--max-trials", "3", "--fresh")
    kept.unlink()
    hunting.behunt.fails(1, "bisect", "--resume", says="the kept copy of test.sh is gone")


def test_a_home_of_its_own_for_results(hunting: Hunting) -> None:
    other = f"sqlite:///{hunting.behunt.place / 'other.db'}"
    words = hunting.words("--from", "1", "--to", "65", "--json")
    found = hunting.behunt("--database", other, *words).json
    stored = hunting.behunt("--database", other, "results", "--json").json
    assert len(stored) == len(found["trials"])
    assert hunting.behunt("results", "--json").json == []
    assert Path(hunting.behunt.place / "other.db").is_file()
