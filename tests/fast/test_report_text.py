from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from report_evidence import (
    HOSTILE,
    answered,
    debian,
    debian_evidence,
    freebsd_evidence,
    hostile_evidence,
    panicked,
)

from behunt.model import Find, HuntOutcome, Outcome, Suspect, Verdict
from behunt.report.junit import junit
from behunt.report.markdown import markdown
from behunt.report.objects import as_json
from behunt.report.summary import summary

ID = {"type": ["string", "null"]}
TRIAL = {
    "release": {"type": "string"},
    "outcome": {"enum": [str(outcome) for outcome in Outcome]},
    "verdict": {"enum": [str(verdict) for verdict in Verdict]},
    "cached": {"type": "boolean"},
    "seconds": {"type": "number", "minimum": 0},
    "log": {"type": "string"},
    "out": {"type": "string"},
    "exit_code": {"type": ["integer", "null"]},
    "reason": {"type": "string"},
    "runner": {"type": "string"},
    "kernel": {"type": "string"},
    "note": {"type": "string"},
    "metrics": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "value": {"type": "number"},
                "unit": {"type": "string"},
            },
            "required": ["name", "value", "unit"],
            "additionalProperties": False,
        },
    },
}
SUSPECT = {"release": {"type": "string"}, "reason": {"type": "string"}}


def listed(properties: dict[str, object]) -> dict[str, object]:
    item = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "array", "items": item}


HUNT = {
    "session": {"type": "integer"},
    "outcome": {"enum": ["found", "ambiguous", "contradiction", "broken", "budget", "unfinished"]},
    "reason": {"type": "string"},
    "find": {"enum": ["break", "fix", "change"]},
    "last_good": ID,
    "first_bad": ID,
    "last_bad": ID,
    "first_good": ID,
    "suspects": listed(SUSPECT),
    "releases": {"type": "array", "items": {"type": "string"}},
    "trials": listed(TRIAL),
    "test": {"type": "string"},
    "runner": {"type": "string"},
    "installs": {"type": "integer", "minimum": 0},
    "started": {"type": "string"},
    "seconds": {"type": "number", "minimum": 0},
}
SCHEMA = {
    "type": "object",
    "properties": HUNT,
    "required": list(HUNT),
    "additionalProperties": False,
}

# -- JSON


@pytest.mark.parametrize(
    "evidence",
    [debian_evidence(), freebsd_evidence(30), hostile_evidence()],
    ids=["debian", "freebsd", "hostile"],
)
def test_the_object_fits_its_schema(evidence: object) -> None:
    found = as_json(evidence.hunt)  # type: ignore[attr-defined]
    jsonschema.validate(json.loads(json.dumps(found)), SCHEMA)


def test_the_object_names_what_was_proved() -> None:
    found = debian_evidence().hunt
    broke = as_json(found)
    assert (broke["last_good"], broke["first_bad"]) == ("debian-12-amd64", "debian-13-amd64")
    assert (broke["last_bad"], broke["first_good"]) == (None, None)
    fixed = as_json(replace(found, find=Find.FIX))
    assert (fixed["last_good"], fixed["first_bad"]) == (None, None)
    assert (fixed["last_bad"], fixed["first_good"]) == ("debian-12-amd64", "debian-13-amd64")


def test_trials_keep_the_order_in_which_they_were_made() -> None:
    trials = as_json(debian_evidence().hunt)["trials"]
    assert [trial["release"].split("-")[1] for trial in trials] == ["sid", "11", "13", "12", "14"]
    assert [trial["cached"] for trial in trials] == [False, True, False, False, False]


# -- the summary


def test_the_summary_reads_well_at_80_columns() -> None:
    evidence = debian_evidence()
    assert (
        summary(evidence.hunt, evidence.reproduce)
        == """\
crypt.sh: Broke in Debian 13 (trixie)

  last good  Debian 12 (bookworm)  2023-06-10  unsupported since 2026-07-11
  first bad  Debian 13 (trixie)    2025-08-09  supported until 2028-08-09

5 trials (1 cached), 4 installs, 3 min 12 s.

All 5 releases in the range, Debian 11 (bullseye) to Debian sid, were tested; no
  release of the range lies between the two.
5 verdicts given by runner namespace: about the releases' userland; the kernel
  was the host's (Linux 6.12.38).

Reproduce
  first bad  behunt run debian-13-amd64 crypt.sh --package python3-minimal
  last good  behunt run debian-12-amd64 crypt.sh --package python3-minimal
"""
    )


def test_a_fix_is_told_as_a_fix() -> None:
    text = summary(replace(debian_evidence().hunt, find=Find.FIX))
    assert "Fixed in Debian 13 (trixie)" in text
    assert re.search(r"last bad +Debian 12", text)
    assert re.search(r"first good +Debian 13", text)


def test_suspects_that_follow_each_other_are_told_at_once() -> None:
    found = freebsd_evidence(100).hunt
    between = tuple(Suspect(r.id, "not tested: mirror gone") for r in found.releases[63:66])
    text = summary(replace(found, suspects=between))
    assert "Broke after FreeBSD 9.6 and by FreeBSD 10.3" in text
    assert "  FreeBSD 10.0 to FreeBSD 10.2 (3): not tested: mirror gone\n" in text


def test_a_contradiction_shows_what_was_seen() -> None:
    found = replace(
        debian_evidence().hunt,
        outcome=HuntOutcome.CONTRADICTION,
        before=None,
        after=None,
        reason="good after bad",
        answers=tuple(
            answered(release, outcome)
            for release, outcome in zip(
                debian(), (Outcome.PASSED, Outcome.FAILED, Outcome.PASSED), strict=False
            )
        ),
    )
    text = " ".join(summary(found).split())
    assert "crypt.sh: The answers contradict each other" in text
    assert "Good after bad." in text
    assert "Seen, oldest first: Debian 11 (bullseye) good, Debian 12 (bookworm) bad" in text


@pytest.mark.parametrize("outcome", list(HuntOutcome))
def test_no_line_but_a_command_is_wider_than_the_terminal(outcome: HuntOutcome) -> None:
    found = replace(freebsd_evidence(100).hunt, outcome=outcome, reason="because " * 40)
    for hunt in (found, replace(found, before=None, after=None)):
        assert max(map(len, summary(hunt).splitlines())) <= 80


def test_a_command_keeps_its_spaces() -> None:
    command = "behunt run debian-12 -- sh -c 'echo  \"a   b\"'" + " --env A=b" * 20
    assert command in summary(debian_evidence().hunt, [("last good", command)])


def test_the_summary_of_hostile_answers_is_harmless() -> None:
    text = summary(hostile_evidence().hunt, hostile_evidence().reproduce)
    assert not set(text) & set("\0\x1b\x07\x7f\x9b\u202e\r")


def test_the_summary_and_the_object_need_neither_pandas_nor_jinja() -> None:
    code = (
        "import behunt.report.summary, behunt.report.objects, sys; "
        "print(sorted({'pandas', 'jinja2', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -- JUnit

OUTCOMES = (
    (Outcome.PASSED, Verdict.GOOD, None),
    (Outcome.FAILED, Verdict.BAD, "failure"),
    (Outcome.PANICKED, Verdict.BAD, "failure"),
    (Outcome.SKIPPED, Verdict.UNKNOWN, "skipped"),
    (Outcome.TIMEOUT, Verdict.UNKNOWN, "error"),
    (Outcome.TIMEOUT, Verdict.BAD, "failure"),
    (Outcome.BROKEN, Verdict.UNKNOWN, "error"),
)


@pytest.mark.parametrize(("outcome", "verdict", "tag"), OUTCOMES)
def test_each_outcome_is_mapped(outcome: Outcome, verdict: Verdict, tag: str | None) -> None:
    evidence = debian_evidence()
    answer = replace(answered(debian()[0], outcome), verdict=verdict)
    one = replace(evidence, hunt=replace(evidence.hunt, answers=(answer,)))
    suite = ET.fromstring(junit(one)).find("testsuite")
    assert suite is not None
    (case,) = suite.findall("testcase")
    assert [child.tag for child in case if child.tag != "system-out"] == ([tag] if tag else [])
    counts = {"failure": "failures", "error": "errors", "skipped": "skipped"}
    for name, attribute in counts.items():
        assert suite.get(attribute) == str(int(name == tag))
    if tag:
        (result,) = case.findall(tag)
        assert result.get("message") == answer.trial.why
        assert result.get("type") == (None if tag == "skipped" else outcome.value)


def test_junit_of_hostile_logs_is_valid_and_bounded() -> None:
    text = junit(hostile_evidence())
    root = ET.fromstring(text.encode())
    assert len(root.findall(".//testcase")) == 5
    assert "<script>alert('log')</script>" in "".join(root.itertext())
    assert len(text) < 300_000


# -- Markdown


def test_the_markdown_tells_it_all() -> None:
    text = markdown(debian_evidence())
    assert text.startswith("## Broke in Debian 13 (trixie)\n\ncrypt.sh last passes on")
    assert "| 1 | Debian sid | ❌ bad | failed | `exit code 1` | namespace | 2.6 s |" in text
    assert "\n-Python 3.11.2\n+Python 3.13.5\n" in text
    assert "| `python3` | `3.11.2-1` | `3.12.2-1` |" in text
    assert "```sh\nbehunt run debian-13-amd64 crypt.sh --package python3-minimal\n```" in text
    assert "24 more packages in the HTML report" in text


def test_what_a_panicked_machine_showed_last_is_below_the_tables() -> None:
    text = markdown(panicked(debian_evidence()))
    assert "| panicked | `panic: page fault` |" in text
    assert "showed last</summary>\n\n```\ncpuid = 0\nKDB: enter: panic\n```\n" in text


def test_hostile_texts_stay_in_their_code() -> None:
    text = markdown(panicked(hostile_evidence(), f"no\n{HOSTILE}"))
    outside = re.sub(r"^(`{3,})\w*\n.*?\n\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    outside = outside.replace(r"\`", "")  # begins no code
    outside = re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", outside)
    assert "alert" in outside
    assert not re.search(r"(?<!\\)<(?!/?(details|summary)>)", outside)
    assert not re.search(r"(?<!\\)@", outside)
    assert len(text) < 65_536


def test_cells_of_hostile_text_stay_cells() -> None:
    text = markdown(hostile_evidence())
    rows = [line for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) == 5
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 8 for row in rows)


def test_a_fence_is_longer_than_any_in_the_text() -> None:
    text = markdown(replace(debian_evidence(), script="````\n" + HOSTILE))
    assert "\n`````sh\n" in text
