"""A hunt that is killed or interrupted goes on where it was, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest
from behunt_cli import COMMAND, Behunt, executable, releases
from running import Questions, Running
from tiny_root import tiny_root

pytestmark = pytest.mark.real

LAST, BREAKS = 33, 14
Start = Callable[..., Running]


@pytest.fixture
def behunt(tmp_path: Path) -> Behunt:
    place = tmp_path / "place"
    place.mkdir()
    return Behunt(place, tmp_path / "home")


@pytest.fixture
def questions(behunt: Behunt) -> Iterator[Questions]:
    questions = Questions(behunt.place)
    yield questions
    questions.close()


@pytest.fixture
def start(behunt: Behunt) -> Iterator[Start]:
    """Start behunt with these words; what still runs in the end is killed."""
    with contextlib.ExitStack() as stack:
        yield lambda *words: stack.enter_context(Running(behunt, *words))


def hunt(behunt: Behunt, runner: str, body: str, last: int = LAST) -> list[str | Path]:
    """The words of a hunt whose test breaks in BREAKS."""
    source = {"source": str(tiny_root(behunt.place / "root"))} if runner == "namespace" else {}
    catalogue = releases(behunt.place / "builds.toml", range(1, last + 1), **source)
    test = executable(behunt.place / "test.sh", f"{body}\ntest $BEHUNT_VERSION -lt {BREAKS}")
    ends = ("--from", "1", "--to", str(last))
    return ["bisect", "--catalogue", catalogue, "--runner", runner, *ends, test]


def finished(behunt: Behunt) -> Counter[str]:
    """How many answers are stored for each release."""
    stored = behunt("results", "--limit", "999", "--json").json
    return Counter(t["release"] for t in stored if t["outcome"] != "broken")


def nothing_is_left(behunt: Behunt) -> None:
    assert str(behunt.home) not in Path("/proc/self/mountinfo").read_text()
    assert behunt("be", "list").code == 0, "whoever comes next reaps"
    left = [*behunt.home.glob("clones/*"), *behunt.home.glob("be/.*")]
    left += [*behunt.home.glob("runs/*/inside"), *behunt.home.glob("locks/owner.*")]
    assert left == []
    groups = [path for path in Path("/sys/fs/cgroup").rglob("behunt*") if path.is_dir()]
    assert [group for group in groups if not (group / "cgroup.procs").read_text()] == []


@pytest.mark.parametrize("runner", ["none", "namespace"])
def test_killed_again_and_again(behunt: Behunt, start: Start, runner: str) -> None:
    """At every line that it tells: started, installing, testing, answered."""
    asked = behunt.place / "asked"
    tell = f'echo "demo-$BEHUNT_VERSION-$BEHUNT_ARCH" >>{asked}' if runner == "none" else ""
    words = hunt(behunt, runner, tell)
    kills = 0
    for lines in cycle([1, 3, 2, 4, 3]):
        running = start(*words)
        if not running.tells(lines):
            break
        assert running.signalled(signal.SIGKILL).code == -signal.SIGKILL
        kills += 1
        words = ["bisect", "--resume", "--json"]
        before = finished(behunt)
        assert set(before.values()) <= {1}
        for release, count in Counter(asked.read_text().split() if asked.exists() else []).items():
            assert release not in before or count <= 1 + kills
    done = running.ended()
    assert (done.json["outcome"], done.code) == ("found", 0), done.err
    assert (done.json["last_good"], done.json["first_bad"]) == ("demo-13-amd64", "demo-14-amd64")
    assert kills > 4
    assert set(finished(behunt).values()) == {1}, "no finished trial is repeated"
    assert [t["cached"] for t in done.json["trials"]] == [False] * len(done.json["trials"])
    assert done.json["trials"] == behunt("report", "--json").json["trials"]
    nothing_is_left(behunt)


def test_killed_while_the_test_runs(behunt: Behunt, start: Start, questions: Questions) -> None:
    words = hunt(behunt, "none", questions.script)
    asked = []
    for nth in (1, 2, 4):
        questions.hold()
        running = start(*words)
        while len(asked) < nth:
            asked.append(questions.next())
            if len(asked) < nth:
                questions.free()
                questions.hold()
        running.signalled(signal.SIGKILL)
        questions.free()
        words = ["bisect", "--resume", "--json"]
        assert len(finished(behunt)) == nth - 1
        asked.pop()
    done = behunt(*words)
    assert done.json["first_bad"] == "demo-14-amd64"
    assert set(finished(behunt).values()) == {1}
    nothing_is_left(behunt)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(
    behunt: Behunt, start: Start, questions: Questions, number: signal.Signals
) -> None:
    words = hunt(behunt, "none", questions.script)
    questions.hold()
    running = start(*words, "--jobs", "2")
    questions.next()
    questions.next()
    done = running.signalled(number)
    assert (done.code, done.out) == (130, "")
    *_, what, how = done.err.splitlines()
    assert what == "behunt: interrupted; nothing that was finished is lost (session 1)"
    assert finished(behunt) == Counter()
    questions.free()
    assert told(behunt, how.removeprefix("  go on with: ")).returncode == 0
    assert behunt("report", "--json").json["first_bad"] == "demo-14-amd64"
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
    running.tells_of("testing demo-33")
    done = running.signalled(signal.SIGINT)
    assert (done.code, done.out) == (130, "")
    assert "--resume 1" in done.err
    nothing_is_left(behunt)


def test_a_run_interrupted(behunt: Behunt, start: Start, questions: Questions) -> None:
    hunt(behunt, "none", questions.script)
    questions.hold()
    running = start("run", "--catalogue", "builds.toml", "1", "test.sh")
    assert questions.next() == "1"
    done = running.signalled(signal.SIGINT)
    assert (done.code, done.out) == (130, "")
    assert done.err.endswith("behunt: interrupted\n")
    assert finished(behunt) == Counter()
    nothing_is_left(behunt)
