"""A hunt that is killed or interrupted goes on where it was, and leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections import Counter
from itertools import cycle

import pytest
from behunt_cli import COMMAND, Behunt, executable
from running import FIRST_BAD, LAST_GOOD, Questions, Start, finished, hunt, nothing_is_left

pytestmark = pytest.mark.real


@pytest.mark.parametrize("runner", ["none", "namespace"])
def test_killed_again_and_again(behunt: Behunt, start: Start, runner: str) -> None:
    """At every line that it tells: started, installing, testing, answered."""
    asked = behunt.place / "asked"
    asked.touch()
    settled: dict[str, int] = {}  # how often a release was asked when its answer was stored
    tell = f'echo "demo-$BEHUNT_VERSION-$BEHUNT_ARCH" >>{asked}' if runner == "none" else ""
    words = hunt(behunt, runner, tell)
    kills = 0
    before: Counter[str] = Counter()
    for lines in cycle([1, 3, 2, 4, 3, 6]):
        running = start(*words)
        if not running.tells(len(before) + lines):  # a resumed hunt tells its answers again
            break
        assert running.signalled(signal.SIGKILL).code == -signal.SIGKILL
        kills += 1
        words = ["bisect", "--resume", "--json"]
        before = finished(behunt)
        assert set(before.values()) <= {1}
        times = Counter(asked.read_text().split())
        settled |= {release: times[release] for release in before if release not in settled}
    done = running.ended()
    assert done.code == 0, done.err
    assert (done.json["last_good"], done.json["first_bad"]) == (LAST_GOOD, FIRST_BAD)
    assert kills > 4
    assert set(finished(behunt).values()) == {1}, "no finished trial is repeated"
    times = Counter(asked.read_text().split())
    assert {release: times[release] for release in settled} == settled
    assert [t["cached"] for t in done.json["trials"]] == [False] * len(done.json["trials"])
    assert done.json["trials"] == behunt("report", "--json").json["trials"]
    nothing_is_left(behunt)


def test_killed_while_the_test_runs(behunt: Behunt, start: Start, questions: Questions) -> None:
    words = hunt(behunt, "none", questions.script)
    asked = []
    for answers in (0, 2, 1):
        running = start(*words)
        asked += [questions.next()]
        for _ in range(answers):
            questions.answer(1)
            asked += [questions.next()]
        running.signalled(signal.SIGKILL)
        words = ["bisect", "--resume", "--json"]
    assert len(finished(behunt)) == 3
    questions.answer()
    done = behunt(*words)
    assert done.json["first_bad"] == FIRST_BAD
    assert set(finished(behunt).values()) == {1}
    asked += [questions.next() for _ in range(len(done.json["trials"]) - 3)]
    assert len(asked) == len(done.json["trials"]) + 3, "only what was cut short is asked again"
    nothing_is_left(behunt)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(
    behunt: Behunt, start: Start, questions: Questions, number: signal.Signals
) -> None:
    words = hunt(behunt, "none", questions.script)
    running = start(*words, "--jobs", "2")
    questions.next()
    questions.next()
    done = running.signalled(number)
    assert (done.code, done.out) == (130, "")
    *_, what, how = done.err.splitlines()
    assert what == "behunt: interrupted; nothing that was finished is lost (session 1)"
    assert finished(behunt) == Counter()
    questions.answer()
    assert told(behunt, how.removeprefix("  go on with: ")).returncode == 0
    assert behunt("report", "--json").json["first_bad"] == FIRST_BAD
    nothing_is_left(behunt)


def told(behunt: Behunt, line: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line that behunt printed, as a user pastes it into a shell."""
    program = executable(behunt.place / "behunt", f'exec {shlex.join(COMMAND)} "$@"')
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    env = behunt.environment({"PATH": path})
    return subprocess.run(["sh", "-c", line], cwd="/", env=env, capture_output=True, check=False)


def test_interrupted_in_namespaces(behunt: Behunt, start: Start) -> None:
    words = hunt(behunt, "namespace", "sleep 1000")
    running = start(*words)
    running.tells_of("testing demo-17")
    done = running.signalled(signal.SIGINT)
    assert (done.code, done.out) == (130, "")
    assert "--resume 1" in done.err
    nothing_is_left(behunt)


def test_a_run_interrupted(behunt: Behunt, start: Start, questions: Questions) -> None:
    hunt(behunt, "none", questions.script)
    running = start("run", "--catalogue", "builds.toml", "1", "test.sh")
    assert questions.next() == "1"
    done = running.signalled(signal.SIGINT)
    assert (done.code, done.out) == (130, "")
    assert done.err.endswith("behunt: interrupted\n")
    assert finished(behunt) == Counter()
    nothing_is_left(behunt)
