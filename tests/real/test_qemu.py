"""Machines in QEMU: what is kept of them, and what becomes of a bad day."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from homes import sharing

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import Lab, Settings, opened
from behunt.drive.trial import answer
from behunt.model import Limits, Outcome, Test

pytestmark = pytest.mark.real
RELEASE = catalogue.find(catalogue.load("debian"), "12", os="debian")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Iterator[Lab]:
    home = sharing(tmp_path_factory.mktemp("qemu") / "home", kept)
    with opened(home.path, "qemu", settings=Settings(fresh=True, retries=0)) as lab:
        yield lab


def states(lab: Lab) -> list[Path]:
    identity = ensure(lab, RELEASE).identity[:24]
    return sorted(lab.home.machines.glob(f"{identity}-*/state-*"))


def asked(lab: Lab, script: str, **more: object) -> tuple[Outcome, str]:
    test = Test("t", ("sh", "-c", script), **more)
    trial = answer(lab, RELEASE, test).trial
    return trial.outcome, trial.reason


def test_a_later_run_goes_on_from_where_the_first_had_booted(lab: Lab) -> None:
    since = "stat -c %z /behunt/.init"  # written while it boots
    first = answer(lab, RELEASE, Test("t", ("sh", "-c", since))).trial
    second = answer(lab, RELEASE, Test("t", ("sh", "-c", since))).trial
    boots = [Path(trial.log).read_text() for trial in (first, second)]
    assert boots[0] == boots[1] != ""
    assert len(states(lab)) >= 1


def test_the_clock_is_right_after_all(lab: Lab) -> None:
    outcome, reason = asked(lab, f"test $(date +%s) -ge {time.time():.0f}")
    assert (outcome, reason) == (Outcome.PASSED, "")


def test_a_state_that_cannot_be_loaded_is_made_again(lab: Lab) -> None:
    assert asked(lab, "true")[0] is Outcome.PASSED
    for state in states(lab):
        (state / "memory").write_bytes(b"no machine")
    assert asked(lab, "true")[0] is Outcome.PASSED
    assert asked(lab, "exit 3")[0] is Outcome.FAILED


def test_a_machine_that_hangs_ends_at_its_deadline(lab: Lab) -> None:
    assert asked(lab, "kill -STOP $$", timeout=3)[0] is Outcome.TIMEOUT


def test_one_with_other_limits_is_another_machine(lab: Lab) -> None:
    script = "test $(sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo) -lt 300000"
    assert asked(lab, script, limits=Limits(memory=160 << 20))[0] is Outcome.PASSED
    assert asked(lab, script)[0] is Outcome.FAILED
