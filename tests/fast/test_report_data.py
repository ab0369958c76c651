from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from click.testing import CliRunner
from report_evidence import build, debian, hunt

from behunt.cli.report import report
from behunt.errors import UsageError
from behunt.model import Hunt, Outcome, Test, TestFile
from behunt.report.data import Evidence, gather
from behunt.report.page import html
from behunt.results.store import Results


def hunted(path: Path, results: Results) -> Hunt:
    """A hunt with real logs and builds in a real store."""
    found = hunt(debian(), (0, Outcome.PASSED), (2, Outcome.FAILED), first_bad=2)
    answers = []
    for answer, serial in zip(found.answers, (12, 13), strict=True):
        log = path / f"{serial}.log"
        log.write_bytes(f"{serial}: \x1b[31m".encode() + b"\xff\xfe\0\n")
        results.add_build(build(serial))
        identity = build(serial).identity()
        answers.append(
            replace(answer, trial=replace(answer.trial, log=str(log), identity=identity))
        )
    script = path / "test.sh"
    script.write_text("#!/bin/sh\nexit 1\n")
    test = Test("test.sh", ("./test.sh", "a b"), (TestFile("test.sh", script),))
    session = results.new_session("bisect", {})
    return replace(found, session=session, answers=tuple(answers), test=test)


def gathered(path: Path) -> Evidence:
    with Results.open(path / "results.db") as results:
        return gather(results, hunted(path, results), (("first bad", "behunt run"),))


def test_evidence_is_gathered_from_the_store_and_the_disk(tmp_path: Path) -> None:
    evidence = gathered(tmp_path)
    assert evidence.log("debian-13-amd64").startswith("13: \x1b[31m\ufffd")
    assert evidence.build("debian-13-amd64") == build(13)
    assert evidence.script == "$ ./test.sh 'a b'\n# test.sh\n#!/bin/sh\nexit 1\n"
    assert evidence.version
    assert "<mark>13</mark>" in html(evidence)


def test_what_is_gone_is_left_out(tmp_path: Path) -> None:
    with Results.open(tmp_path / "results.db") as results:
        found = hunted(tmp_path, results)
        for file in tmp_path.glob("*.log"):
            file.unlink()
        evidence = gather(results, found)
    assert not any(evidence.logs.values())
    assert "Logs" not in html(evidence)


def test_a_huge_log_is_read_at_both_ends(tmp_path: Path) -> None:
    with Results.open(tmp_path / "results.db") as results:
        found = hunted(tmp_path, results)
        (tmp_path / "13.log").write_bytes(b"first\n" + b"x" * 5_000_000 + b"\nlast\n")
        log = gather(results, found).log("debian-13-amd64")
    assert log.startswith("first\n")
    assert log.endswith("\nlast\n")
    assert "1,000,012 bytes left out" in log
    assert len(log) < 4_000_200


@dataclass(frozen=True)
class AtHome:
    results_path: Path


def refused(*arguments: str, home: AtHome | None = None) -> UsageError:
    error = CliRunner().invoke(report, arguments, obj=home).exception
    assert isinstance(error, UsageError)
    return error


def test_two_reports_do_not_share_standard_output() -> None:
    assert "standard output" in refused("--html", "-", "--markdown").message


def test_a_session_after_an_option_is_not_taken_for_a_file() -> None:
    assert refused("--markdown", "7").hint.startswith("behunt report 7 --markdown")


def test_help_shows_examples() -> None:
    assert "behunt report 7 --html crypt.html" in CliRunner().invoke(report, ["--help"]).output


def test_only_a_bisection_can_be_reported(tmp_path: Path) -> None:
    home = AtHome(tmp_path / "results.db")
    assert refused(home=home).message == "there is no bisection yet"
    assert refused("7", home=home).message == "there is no session 7"
    with Results.open(home.results_path) as results:
        number = results.new_session("run", {})
    assert refused(str(number), home=home).message == f"session {number} is a run, not a bisection"
