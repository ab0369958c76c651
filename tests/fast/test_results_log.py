"""The text of `behunt bisect log` and `replay`."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt.errors import UsageError
from behunt.model import Answered, Outcome, Release, Trial, Verdict
from behunt.results.log import Logged, read_log, write_log

BULLSEYE = Release(
    "debian-11-amd64", "debian", "11", "amd64", codename="bullseye", date=dt.date(2021, 8, 14)
)
SID = Release("debian-sid-amd64", "debian", "sid", "amd64")


def answered(release: str, outcome: Outcome, verdict: Verdict, reason: str = "") -> Answered:
    return Answered(Trial(release, "t", "namespace", outcome, "k", reason=reason), verdict)


LOG = """\
# behunt bisect log
behunt bisect start --find break --jobs 2 --budget null --thorough --from '"11"' -- ./test.sh 'a b'
# debian 11 (bullseye), 2021-08-14
release debian-11-amd64
# debian sid
release debian-sid-amd64
bad debian-sid-amd64 # failed: exit code 1
good debian-11-amd64 # passed
"""
PARAMS = {
    "find": "break",
    "jobs": 2,
    "budget": None,
    "thorough": True,
    "from": "11",
    "argv": ["./test.sh", "a b"],
    "releases": ["debian-11-amd64", "debian-sid-amd64"],
}


def test_a_log_reads_like_commands() -> None:
    answers = [
        answered(SID.id, Outcome.FAILED, Verdict.BAD, "exit \t code 1\nmore"),
        answered(BULLSEYE.id, Outcome.PASSED, Verdict.GOOD),
    ]
    assert write_log(PARAMS, answers, [BULLSEYE, SID]) == LOG


def test_a_log_is_read_back() -> None:
    assert read_log(LOG) == (
        PARAMS,
        [
            Logged("debian-sid-amd64", Verdict.BAD, Outcome.FAILED, "exit code 1"),
            Logged("debian-11-amd64", Verdict.GOOD, Outcome.PASSED, ""),
        ],
    )


def test_a_person_may_write_one_by_hand() -> None:
    params, answers = read_log(
        "\n\n  # mine\nbehunt bisect start --from=9.10 --to 11 --thorough --jobs 2  # try it\n"
        "good bullseye # looked at it: fine\r\nbad   sid\nunknown 12 # the panel is dark\n"
    )
    assert params == {"from": "9.10", "to": 11, "thorough": True, "jobs": 2}
    assert answers == [
        ("bullseye", Verdict.GOOD, Outcome.PASSED, "looked at it: fine"),
        ("sid", Verdict.BAD, Outcome.FAILED, ""),
        ("12", Verdict.UNKNOWN, Outcome.SKIPPED, "the panel is dark"),
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("# nothing\n", "the log is empty"),
        ("good a\n", "line 1 .*must be `behunt bisect start`"),
        ("behunt bisect start\nrelease\n", "line 2 .*takes one release"),
        ("behunt bisect start\n\ngood\n", "line 3 .*`good` takes one release"),
        ("behunt bisect start\ngood a b\n", "line 2 .*takes one release"),
        ("behunt bisect start\nugly a\n", "line 2 .*`ugly` is none of"),
        ("behunt bisect start\nbehunt bisect start\n", "line 2 .*`behunt` is none of"),
        ("behunt bisect start\nrelease a\nbad b # failed\n", "line 3 .*b is not one of"),
        ("behunt bisect start --from 'a\n", "line 1 .*[Nn]o closing quotation"),
        ("behunt bisect start test.sh\n", "line 1 .*`test.sh` is not an option"),
        ("behunt bisect start --jobs 1 --jobs 2\n", "line 1 .*--jobs is given twice"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as raised:
        read_log(text)
    assert raised.value.hint


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
# What looks like an option, a comment, a quote or JSON is what could go wrong.
TRICKY = st.sampled_from(["", "--", "--x=1", "-1", "11", "null", "#", "a # b", "'", '"', "a\nb"])
IDS = st.from_regex(r"[a-z0-9.-]+(-[a-z0-9]+)?", fullmatch=True)


@st.composite
def hunts(draw: st.DrawFn) -> tuple[dict[str, Any], list[Answered], list[Release]]:
    params = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "argv": st.lists(st.text() | TRICKY),
                "find": st.sampled_from(["break", "fix", "change"]),
                "timeout_is": JSON | TRICKY,
                "thorough": st.booleans(),
            },
        )
    )
    ids = draw(st.lists(IDS, min_size=1, unique=True))
    outcomes = st.sampled_from(Outcome)
    answers = draw(
        st.lists(
            st.builds(answered, st.sampled_from(ids), outcomes, st.sampled_from(Verdict), st.text())
        )
    )
    return params, answers, [Release(i, "debian", i, "amd64") for i in ids]


@given(hunts())
def test_any_hunt_comes_back(hunt: tuple[dict[str, Any], list[Answered], list[Release]]) -> None:
    params, answers, releases = hunt
    assert read_log(write_log(params, answers, releases)) == (
        params | {"releases": [release.id for release in releases]},
        [
            (a.trial.release, a.verdict, a.trial.outcome, " ".join(a.trial.why.split()))
            for a in answers
        ],
    )


def test_a_budget_without_end_comes_back() -> None:
    params, _ = read_log(write_log({"budget": math.inf}, [], []))
    assert params == {"budget": math.inf}
