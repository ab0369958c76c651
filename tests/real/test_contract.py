"""The contract between behunt and a test, kept by real runs in a real, if tiny, release."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_root import alive, tiny_root

from behunt import catalogue
from behunt.drive.lab import InterruptedTrialError, Lab, Settings, opened
from behunt.drive.trial import answer
from behunt.hosts.protocol import CLEAN_ENV
from behunt.model import Answered, Limits, Metric, Outcome, Release, Test, Trial, Verdict
from behunt.suites.asking import Terms, command, script

pytestmark = pytest.mark.real

Ask = Callable[..., Trial]
MIB = 1 << 20


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    place = tmp_path_factory.mktemp("demo")
    tiny_root(place / "root")
    rows = 'os = "demo"\n[[release]]\nversion = "1.2"\nsource = "root"\n'
    (place / "demo.toml").write_text(rows)
    known = catalogue.load("demo", extra=[place / "demo.toml"])
    return catalogue.find(known, "1.2")


@pytest.fixture(params=["none", "chroot", "namespace"])
def runner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def lab_in(path: Path, runner: str = "namespace", **settings: Any) -> Iterator[Lab]:
    chosen = Settings(**{"retries": 0, **settings})
    with opened(path / "home", runner, results=path / "results.db", settings=chosen) as lab:
        yield lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with lab_in(tmp_path) as lab:
        yield lab


@pytest.fixture
def any_lab(tmp_path: Path, runner: str) -> Iterator[Lab]:
    """The same contract holds whatever the runner."""
    with lab_in(tmp_path, runner) as lab:
        yield lab


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str | bytes, name: str = "t.sh", mode: int = 0o755) -> Path:
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else f"#!/bin/sh\n{text}\n".encode())
        path.chmod(mode)
        return path

    return written


def trial_of(
    lab: Lab,
    release: Release,
    path: Path,
    arguments: Sequence[str] = (),
    *,
    beside: Sequence[Path] = (),
    sink: Callable[[bytes], None] | None = None,
    **terms: Any,
) -> Trial:
    test = script(path, arguments, beside=beside, terms=Terms(**{"timeout": 60.0, **terms}))
    return answer(lab, release, test, sink=sink).trial


def log_of(trial: Trial) -> bytes:
    return Path(trial.log).read_bytes()


def values(log: bytes) -> dict[str, str]:
    return dict(line.split("=", 1) for line in log.decode().splitlines())


# What a test finds around it


def test_the_environment_is_the_documented_one(
    any_lab: Lab, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    test = command(["env"], terms=Terms(env=(("MINE", "a b"), ("LANG", "de_DE"))))
    trial = answer(any_lab, release, test).trial
    seen = values(log_of(trial))
    # On the host itself there is no place of one name for all.
    at = "/behunt" if any_lab.runner.needs_root_tree else str(Path(seen["BEHUNT_OUT"]).parent)
    assert seen == {
        **CLEAN_ENV,
        "HOME": "/root" if any_lab.runner.needs_root_tree else str(Path.home()),
        "MINE": "a b",
        "LANG": "de_DE",
        "BEHUNT_RELEASE": release.id,
        "BEHUNT_OS": "demo",
        "BEHUNT_VERSION": "1.2",
        "BEHUNT_ARCH": release.arch,
        "BEHUNT_RUNNER": any_lab.runner.name,
        "BEHUNT_RUN": "1/1",
        "BEHUNT_OUT": f"{at}/out",
        "BEHUNT_METRICS": f"{at}/metrics",
    }
    assert set(CLEAN_ENV) == {"PATH", "HOME", "LANG", "TERM"}


def test_the_working_directory_holds_the_files(
    any_lab: Lab, release: Release, write: Write
) -> None:
    write("echo tool", "data/bin/tool", 0o700)
    write(b"\0\xff\n", "data/values", 0o640)
    write(b"beside", "one.txt", 0o604)
    mine = write("find . | sort; stat -c '%a %n' data/bin/tool data/values one.txt; data/bin/tool")
    trial = trial_of(any_lab, release, mine, beside=[mine.parent / "data", mine.parent / "one.txt"])
    assert log_of(trial).decode().splitlines() == [
        *[".", "./data", "./data/bin", "./data/bin/tool", "./data/values", "./one.txt", "./t.sh"],
        *["700 data/bin/tool", "640 data/values", "604 one.txt", "tool"],
    ]


def test_the_users_files_are_copies(any_lab: Lab, release: Release, write: Write) -> None:
    mine = write("echo changed >t.sh; echo made >new; rm -f ../test/one.txt")
    beside = write(b"beside", "one.txt")
    assert trial_of(any_lab, release, mine, beside=[beside]).outcome is Outcome.PASSED
    assert mine.read_text().startswith("#!/bin/sh")
    assert sorted(p.name for p in mine.parent.iterdir()) == ["one.txt", "t.sh"]


def test_arguments_come_unchanged(any_lab: Lab, release: Release, write: Write) -> None:
    words = ["it's", "$HOME", "", "a b", "-x"]
    trial = trial_of(any_lab, release, write("printf '<%s>' \"$@\""), words)
    assert log_of(trial).decode() == "".join(f"<{word}>" for word in words)


def test_it_is_root_in_there_and_sees_the_release(lab: Lab, release: Release, write: Write) -> None:
    trial = trial_of(lab, release, write("id -u; uname -n; touch /new && ls -d /new"))
    assert log_of(trial).decode().splitlines() == ["0", release.id, "/new"]
    again = trial_of(lab, release, write("ls -d /new"))
    assert again.outcome is Outcome.FAILED


# What its end means


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, Outcome.PASSED),
        (1, Outcome.FAILED),
        (2, Outcome.FAILED),
        (125, Outcome.SKIPPED),
        (126, Outcome.FAILED),
        (127, Outcome.FAILED),
        (255, Outcome.FAILED),
    ],
)
def test_an_exit_code_is_the_answer(
    any_lab: Lab, release: Release, write: Write, code: int, outcome: Outcome
) -> None:
    trial = trial_of(any_lab, release, write(f"exit {code}"))
    assert (trial.outcome, trial.exit_code) == (outcome, code)


def test_a_signal_is_a_failure(any_lab: Lab, release: Release, write: Write) -> None:
    trial = trial_of(any_lab, release, write("kill -SEGV $$"))
    assert (trial.outcome, trial.exit_code) == (Outcome.FAILED, -11)
    assert trial.reason == "killed by SIGSEGV"


def test_a_script_without_an_interpreter_is_run_by_the_shell(
    any_lab: Lab, release: Release, write: Write
) -> None:
    trial = trial_of(any_lab, release, write(b'echo "$0" "$1"; exit 3\n'), ["x"])
    assert (trial.outcome, trial.exit_code) == (Outcome.FAILED, 3)
    assert log_of(trial) == b"./t.sh x\n"


FOREIGN = b"\x7fELF" + bytes([2, 2, 1]) + bytes(9) + struct.pack(">HHI", 2, 22, 1) + bytes(99)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"#!/nope\nexit 0\n", "the interpreter it asks for does not exist"),
        (b"#!/nope/python3 -u\nexit 0\n", "the interpreter it asks for does not exist"),
        (b"#!/usr/bin/env nope\nexit 0\n", "its interpreter 'nope' is not there"),
        (b"#!/usr/bin/env -S nope -x\nexit 0\n", "its interpreter 'nope' is not there"),
        (FOREIGN, "Exec format error"),
        (b"\0\1\2garbage", "Exec format error"),
    ],
)
def test_a_test_that_cannot_start_is_broken_and_never_bad(
    any_lab: Lab, release: Release, write: Write, content: bytes, reason: str
) -> None:
    if content.startswith(b"#!/usr/bin/env") and any_lab.runner.needs_root_tree:
        content = content.replace(b"/usr", b"")
    test = script(write(content))
    answered = answer(any_lab, release, test)
    assert answered.trial.outcome is Outcome.BROKEN
    assert answered.verdict is Verdict.UNKNOWN
    assert reason in answered.trial.reason


def test_a_command_that_is_not_there_is_broken(any_lab: Lab, release: Release) -> None:
    answered = answer(any_lab, release, command(["nope", "-x"]))
    assert answered.trial.outcome is Outcome.BROKEN
    assert "cannot execute nope" in answered.trial.reason


def test_an_interpreter_is_looked_for_where_the_test_will_look(
    lab: Lab, release: Release, write: Write
) -> None:
    mine = write(b"#!/bin/env tool\nexit 0\n")
    tool = write("echo found", "bin/tool")
    env = (("PATH", "/behunt/test/bin:/bin"),)
    assert trial_of(lab, release, mine, beside=[tool.parent], env=env).outcome is Outcome.PASSED
    assert trial_of(lab, release, mine, beside=[tool.parent]).outcome is Outcome.BROKEN


def test_a_deadline_kills_the_tree(any_lab: Lab, release: Release, write: Write) -> None:
    marker = uuid.uuid4().hex
    mine = write("trap '' TERM; (setsid sleep 1000 &); sleep 1000")
    test = script(mine, terms=Terms(timeout=0.5, env=(("MARKER", marker),)))
    answered = answer(any_lab, release, test)
    assert answered.trial.outcome is Outcome.TIMEOUT
    assert answered.verdict is Verdict.UNKNOWN
    assert alive(marker) == []


def test_a_deadline_is_bad_only_if_the_user_says_so(
    tmp_path: Path, release: Release, write: Write
) -> None:
    test = script(write("sleep 1000"), terms=Terms(timeout=0.2))
    with lab_in(tmp_path, timeout_is=Verdict.BAD) as lab:
        assert answer(lab, release, test).verdict is Verdict.BAD
    with lab_in(tmp_path) as lab:
        again = answer(lab, release, test)
        assert (again.cached, again.verdict) == (True, Verdict.UNKNOWN)


def test_daemons_left_behind_are_killed_and_not_waited_for(
    any_lab: Lab, release: Release, write: Write
) -> None:
    marker = uuid.uuid4().hex
    mine = write("setsid sleep 1000 & (sleep 1000 &) ; exit 0")
    trial = trial_of(any_lab, release, mine, env=(("MARKER", marker),))
    assert trial.outcome is Outcome.PASSED
    assert alive(marker) == []


def test_too_much_memory_fails_with_the_reason(
    any_lab: Lab, release: Release, write: Write
) -> None:
    mine = write("x=$(tr '\\0' a </dev/zero)")
    trial = trial_of(any_lab, release, mine, limits=Limits(memory=48 * MIB))
    assert trial.outcome is Outcome.FAILED
    assert trial.reason == f"out of memory: the limit is {48 * MIB} bytes"


def test_a_full_clone_is_broken(lab: Lab, release: Release, write: Write) -> None:
    mine = write("cat /dev/zero >/big; exit 1")
    trial = trial_of(lab, release, mine, limits=Limits(disk=8 * MIB))
    assert (trial.outcome, trial.reason) == (Outcome.BROKEN, "the clone's disk is full")


def test_a_full_disk_does_not_change_what_passed_or_ran_out_of_time(
    lab: Lab, release: Release, write: Write
) -> None:
    disk = Limits(disk=8 * MIB)
    full = "cat /dev/zero >/big"
    assert trial_of(lab, release, write(f"{full}; exit 0"), limits=disk).outcome is Outcome.PASSED
    late = trial_of(lab, release, write(f"{full}; sleep 99"), limits=disk, timeout=1.0)
    assert late.outcome is Outcome.BROKEN


# What it leaves


def test_outputs_are_kept_as_plain_files(any_lab: Lab, release: Release, write: Write) -> None:
    mine = write(
        """
        cd "$BEHUNT_OUT"
        mkdir -p sub/deep locked
        echo plain >plain; echo deep >sub/deep/file; echo in >locked/in; printf '\\0\\377' >bytes
        cp plain setuid; chmod 6777 setuid; chmod 1777 sub; chmod 0 locked bytes
        ln -s /etc/passwd link; ln -s /etc dirlink; ln -s loop loop; ln plain hard; mkfifo fifo
        test "$BEHUNT_RUNNER" = none || mknod null c 1 3
        """
    )
    trial = trial_of(any_lab, release, mine)
    assert trial.outcome is Outcome.PASSED, log_of(trial)
    out = Path(trial.out)
    assert out.is_relative_to(any_lab.home.runs)
    kept = {str(path.relative_to(out)): path.lstat().st_mode for path in out.rglob("*")}
    assert sorted(kept) == [
        *["bytes", "hard", "locked", "locked/in", "plain", "setuid"],
        *["sub", "sub/deep", "sub/deep/file"],
    ]
    assert all(stat.S_ISREG(mode) or stat.S_ISDIR(mode) for mode in kept.values())
    assert not any(mode & 0o7022 for mode in kept.values())
    assert (out / "bytes").read_bytes() == b"\0\xff"
    assert (out / "locked/in").read_text() == "in\n"


def test_without_outputs_nothing_is_kept(any_lab: Lab, release: Release, write: Write) -> None:
    for number, body in enumerate(("exit 0", 'ln -s / "$BEHUNT_OUT/root"', 'rmdir "$BEHUNT_OUT"')):
        trial = trial_of(any_lab, release, write(f"{body} # {number}"))
        assert (trial.outcome, trial.out) == (Outcome.PASSED, "")
        assert sorted(p.name for p in Path(trial.log).parent.iterdir()) in [["log"], ["log", "out"]]


def test_outputs_that_lead_elsewhere_are_not_followed(
    any_lab: Lab, release: Release, write: Write, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "sentinel").write_text("untouched")
    mine = write(f'rmdir "$BEHUNT_OUT"; ln -s {elsewhere} "$BEHUNT_OUT"')
    assert trial_of(any_lab, release, mine).out == ""
    assert (elsewhere / "sentinel").read_text() == "untouched"


def test_outputs_nested_deeply_are_kept(lab: Lab, release: Release, write: Write) -> None:
    mine = write(
        'cd "$BEHUNT_OUT"; i=0; while [ $i -lt 1050 ]; do mkdir d && cd d; i=$((i+1)); done'
    )
    trial = trial_of(lab, release, mine)
    assert trial.outcome is Outcome.PASSED
    subprocess.run(["rm", "-rf", trial.out], check=True)  # pytest cannot, when it cleans up


def test_metrics_are_read_and_garbage_is_not(any_lab: Lab, release: Release, write: Write) -> None:
    mine = write(
        """
        cat >"$BEHUNT_METRICS" <<END
        time 1.5 s
        # a comment
        speed -2e3 MB per second
        bare 7
        no
        word word
        inf inf
        nan nan
        END
        printf '\\377\\376 1\\nlast 8' >>"$BEHUNT_METRICS"
        """.replace("\n        ", "\n")
    )
    trial = trial_of(any_lab, release, mine)
    assert trial.metrics == (
        Metric("time", 1.5, "s"),
        Metric("speed", -2000.0, "MB per second"),
        Metric("bare", 7.0),
        Metric("\ufffd\ufffd", 1.0),
        Metric("last", 8.0),
    )


@pytest.mark.parametrize("kind", ["mkfifo {}", "mkdir {}", "ln -s {sentinel} {}", "ln -s {} {}"])
def test_what_is_no_metrics_file_is_harmless(
    any_lab: Lab, release: Release, write: Write, tmp_path: Path, kind: str
) -> None:
    sentinel = tmp_path / "sentinel"
    sentinel.write_text("secret 1\n")
    mine = write(kind.format('"$BEHUNT_METRICS"', '"$BEHUNT_METRICS"', sentinel=sentinel))
    trial = trial_of(any_lab, release, mine)
    assert (trial.outcome, trial.metrics) == (Outcome.PASSED, ())


def test_output_is_kept_byte_for_byte_and_seen_as_it_comes(
    any_lab: Lab, release: Release, write: Write
) -> None:
    seen = bytearray()
    mine = write("printf 'a\\r\\n\\377\\200\\0'; printf 'err\\n' >&2; exit 1")
    trial = trial_of(any_lab, release, mine, sink=seen.extend)
    assert log_of(trial) == bytes(seen) == b"a\r\n\xff\x80\0err\n"


def test_a_flood_of_output_is_capped_in_the_log(lab: Lab, release: Release, write: Write) -> None:
    seen = 0

    def count(data: bytes) -> None:
        nonlocal seen
        seen += len(data)

    trial = trial_of(lab, release, write("head -c 80000000 /dev/zero; exit 1"), sink=count)
    assert trial.outcome is Outcome.FAILED
    assert seen == 80_000_000
    notice = b"\n[behunt: the test printed more; it is left out]\n"
    assert Path(trial.log).stat().st_size == 64 * MIB + len(notice)
    assert log_of(trial).endswith(notice)


def test_what_was_shared_with_the_inside_is_gone(
    any_lab: Lab, release: Release, write: Write
) -> None:
    trial = trial_of(any_lab, release, write("echo out >$BEHUNT_OUT/file; mkdir -m 0 locked"))
    kept = Path(trial.log).parent
    assert kept.parent == any_lab.home.runs
    assert sorted(str(p.relative_to(kept)) for p in kept.rglob("*")) == ["log", "out", "out/file"]


def test_a_full_disk_of_the_home_is_broken(tmp_path: Path, write: Write, release: Release) -> None:
    """In a mount namespace of its own, where the home is a small tmpfs."""
    mine = write("head -c 30000000 /dev/zero; exit 1")
    (tmp_path / "home").mkdir()
    code = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[n]) for n in (0, 1, 2)]!r}
from pathlib import Path
from test_contract import lab_in, trial_of
from behunt import catalogue
known = catalogue.load("demo", extra=[Path({release.sources[0]!r}).parent / "demo.toml"])
with lab_in(Path({str(tmp_path)!r})) as lab:
    trial = trial_of(lab, catalogue.find(known, "1.2"), Path({str(mine)!r}))
print(trial.outcome, trial.reason)
"""
    mount = f'mount -t tmpfs -o size=16m tmpfs {tmp_path}/home && exec "$@"'
    argv = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", code]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("broken cannot write")
    assert "No space left on device" in done.stdout


# What is remembered


def test_an_answer_is_remembered(any_lab: Lab, release: Release, write: Write) -> None:
    test = script(write("exit 3"))
    first, second = answer(any_lab, release, test), answer(any_lab, release, test)
    assert (first.cached, second.cached) == (False, True)
    assert second.trial == first.trial
    assert len(any_lab.results.trials()) == 1
    renamed = answer(any_lab, release, replace(test, name="other"))
    assert renamed.cached


@pytest.mark.parametrize(
    "changed",
    [
        lambda path: (path.write_text("#!/bin/sh\nexit 4\n"), script(path))[1],
        lambda path: script(path, ["x"]),
        lambda path: script(path, terms=Terms(env=(("A", "1"),))),
        lambda path: script(path, terms=Terms(timeout=599)),
        lambda path: script(path, terms=Terms(limits=Limits(processes=100))),
        lambda path: script(path, terms=Terms(network=True)),
        lambda path: script(path, beside=[Path("/etc/hostname")]),
        lambda path: (path.chmod(0o644), command(["sh", path.name], beside=[path]))[1],
    ],
    ids=["content", "arguments", "env", "timeout", "limits", "network", "files", "mode"],
)
def test_an_answer_is_not_taken_for_another_question(
    lab: Lab, release: Release, write: Write, changed: Callable[[Path], Test]
) -> None:
    path = write("exit 3")
    answer(lab, release, script(path))
    answer(lab, release, command(["sh", path.name], beside=[path]))
    test = changed(path)
    assert not answer(lab, release, test).cached
    assert answer(lab, release, test).cached


def test_one_runners_answer_is_not_anothers(tmp_path: Path, release: Release, write: Write) -> None:
    test = script(write("exit 3"))
    for runner in ("none", "chroot", "namespace"):
        with lab_in(tmp_path, runner) as lab:
            assert not answer(lab, release, test).cached


def test_fresh_takes_no_answer_of_before(tmp_path: Path, release: Release, write: Write) -> None:
    test = script(write("exit 3"))
    with lab_in(tmp_path) as lab:
        answer(lab, release, test)
    with lab_in(tmp_path, fresh=True) as lab:
        session = lab.results.new_session("bisect", {})
        assert not answer(lab, release, test, session=session).cached
        assert answer(lab, release, test, session=session).cached
        assert len(lab.results.trials()) == 2


def test_what_is_broken_is_tried_again_and_every_attempt_kept(
    tmp_path: Path, release: Release
) -> None:
    with lab_in(tmp_path, retries=2) as lab:
        answered = answer(lab, release, command(["nope"]))
        assert (answered.trial.outcome, answered.verdict) == (Outcome.BROKEN, Verdict.UNKNOWN)
        attempts = [(t.attempt, t.outcome) for t in lab.results.trials()]
        assert attempts == [(n, Outcome.BROKEN) for n in (3, 2, 1)]
        assert not answer(lab, release, command(["nope"])).cached


@pytest.mark.parametrize(
    "body", ["exit 0", "exit 1", "exit 125"], ids=["passed", "failed", "skipped"]
)
def test_what_is_not_broken_is_not_tried_again(
    tmp_path: Path, release: Release, write: Write, body: str
) -> None:
    with lab_in(tmp_path, retries=2) as lab:
        trial_of(lab, release, write(body))
        assert len(lab.results.trials()) == 1


@pytest.mark.timeout(60)  # not the test's own deadline is to end it
def test_an_interrupted_trial_leaves_no_answer(
    any_lab: Lab, release: Release, write: Write
) -> None:
    marker = uuid.uuid4().hex
    stopper = threading.Thread(target=any_lab.stop)
    started = threading.Event()

    def stop_at_up(data: bytes) -> None:
        if b"up" in data and not started.is_set():
            started.set()
            stopper.start()

    mine = write("echo up; sleep 1000")
    with pytest.raises(InterruptedTrialError):
        trial_of(any_lab, release, mine, sink=stop_at_up, timeout=600, env=(("MARKER", marker),))
    stopper.join()
    assert any_lab.results.trials() == []
    assert alive(marker) == []
    seen: list[bytes] = []
    with pytest.raises(InterruptedTrialError):
        trial_of(any_lab, release, write("echo ran"), sink=seen.append)
    assert (seen, any_lab.results.trials()) == ([], [])


def test_trials_at_once_do_not_meet(lab: Lab, release: Release, write: Write) -> None:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    def asked(number: int) -> Answered:
        body = f"echo {number} >>/etc/number; echo {number} >$BEHUNT_OUT/n; cat /etc/number"
        return answer(lab, release, script(write(body, f"t{number}.sh")))

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(asked, range(12)))
    for number, answered in enumerate(answers):
        assert log_of(answered.trial) == f"{number}\n".encode()
        assert (Path(answered.trial.out) / "n").read_text() == f"{number}\n"
    assert os.listdir(lab.home.clones) == []  # noqa: PTH208
