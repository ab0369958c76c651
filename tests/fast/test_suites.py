"""What is asked, and what an end means: tables and properties of the pure parts of a suite."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt.errors import UsageError
from behunt.hosts.protocol import Completed
from behunt.model import Limits, Metric, Outcome, Release, Test, TestFile, Verdict, verdict_of
from behunt.suites.asking import Terms, command, script
from behunt.suites.contract import ending, environment, interpreters, metrics, unmet

RELEASE = Release("freebsd-11.1-amd64", "freebsd", "11.1", "amd64")


def written(path: Path, content: str | bytes, mode: int = 0o755) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


# What is asked


def test_a_script_is_run_where_it_lies_with_its_arguments(tmp_path: Path) -> None:
    mine = written(tmp_path / "my test.py", "#!/usr/bin/env python3\n")
    test = script(mine, ["a", "b c"])
    assert test.argv == ("./my test.py", "a", "b c")
    assert test.files == (TestFile("my test.py", mine),)


@pytest.mark.parametrize(
    ("content", "by_the_shell"),
    [
        (b"exit 1\n", True),
        (b"\n#!/bin/sh\n", True),
        (b" #!/bin/sh\n", True),
        ("é\n".encode(), True),
        (b"#!/bin/sh", False),
        (b"#! /bin/sh\nexit 0\r\n", False),
        (b"\x7fELF\2\1\1\0\0", False),
        (b"garbage\0", False),
    ],
)
def test_text_that_names_no_interpreter_is_for_the_shell(
    tmp_path: Path, content: bytes, *, by_the_shell: bool
) -> None:
    argv = script(written(tmp_path / "t", content), ["x"]).argv
    assert argv == (("/bin/sh", "./t", "x") if by_the_shell else ("./t", "x"))


def test_terms_are_taken_over(tmp_path: Path) -> None:
    terms = Terms(5.0, frozenset({"own_kernel"}), True, Limits(memory=1), (("A", "b"),))
    for test in (
        script(written(tmp_path / "t", "exit"), terms=terms),
        command(["true"], terms=terms),
    ):
        assert (test.timeout, test.needs, test.network) == (5.0, {"own_kernel"}, True)
        assert (test.limits, test.env) == (Limits(memory=1), (("A", "b"),))


def test_directories_beside_it_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "data/sub").mkdir(parents=True)
    for name in ("data/b", "data/sub/a", "one"):
        written(tmp_path / name, "x")
    test = command(["cat", "one"], beside=[tmp_path / "data", tmp_path / "one"])
    assert [file.name for file in test.files] == ["data/b", "data/sub/a", "one"]


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (None, 0, "there is no test file"),
        ("", 0o755, "is empty"),
        ("exit 1\n", 0o644, "is not executable"),
        ("#!/bin/sh\r\nexit 1\r\n", 0o755, "line ends of Windows"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    tmp_path: Path, content: str | None, mode: int, message: str
) -> None:
    mine = tmp_path / "t"
    if content is not None:
        written(mine, content, mode)
    with pytest.raises(UsageError, match=message) as caught:
        script(mine)
    assert caught.value.hint


def test_a_directory_is_no_test(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        script(tmp_path)


def test_nothing_is_no_command() -> None:
    with pytest.raises(UsageError, match="nothing to run"):
        command([])


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    mine, other = (written(tmp_path / name, "exit") for name in ("t", "other/t"))
    with pytest.raises(UsageError, match="two files are called t"):
        script(mine, beside=[other])
    with pytest.raises(UsageError, match="there is no file"):
        script(mine, beside=[tmp_path / "gone"])


def test_the_digest_knows_all_that_can_change_the_answer(tmp_path: Path) -> None:
    mine = written(tmp_path / "t", "exit 1\n")
    first = script(mine).digest()
    assert script(mine).digest() == first
    others = [
        script(mine, ["x"]),
        script(mine, beside=[written(tmp_path / "beside", "x")]),
        *(
            script(mine, terms=terms)
            for terms in (
                Terms(timeout=1),
                Terms(network=True),
                Terms(limits=Limits(cpus=0.5)),
                Terms(env=(("A", "1"),)),
            )
        ),
    ]
    digests = {first, *(test.digest() for test in others)}
    written(mine, "exit 2\n")
    assert len(digests | {script(mine).digest()}) == len(others) + 2


# What it finds


def test_the_environment_of_a_test() -> None:
    test = Test("t", ("t",), env=(("A", "1"), ("BEHUNT_OS", "forged")))
    assert environment(test, RELEASE, "jail", PurePosixPath("/in"), "2/5") == {
        "A": "1",
        "BEHUNT_RELEASE": "freebsd-11.1-amd64",
        "BEHUNT_OS": "freebsd",
        "BEHUNT_VERSION": "11.1",
        "BEHUNT_ARCH": "amd64",
        "BEHUNT_RUNNER": "jail",
        "BEHUNT_RUN": "2/5",
        "BEHUNT_OUT": "/in/out",
        "BEHUNT_METRICS": "/in/metrics",
    }


@pytest.mark.parametrize(
    ("head", "needed"),
    [
        ("#!/bin/sh\n", ("/bin/sh",)),
        ("#! \t/bin/sh -eu\n", ("/bin/sh",)),
        ("#!/bin/sh", ("/bin/sh",)),
        ("#!/bin/sh\r\n", ("/bin/sh\r",)),
        ("#!/usr/bin/env python3\n", ("/usr/bin/env", "python3")),
        ("#!/usr/bin/env python3\r\n", ("/usr/bin/env", "python3\r")),
        ("#!/usr/bin/env  -S perl -w\n", ("/usr/bin/env", "perl")),
        ("#!/usr/bin/env -S LANG=C ruby -w\n", ("/usr/bin/env", "ruby")),
        ("#!/usr/bin/env\n", ("/usr/bin/env",)),
        ("#!/usr/bin/env -i \n", ("/usr/bin/env",)),
        ("#!sh\n", ()),
        ("#!\n/bin/sh\n", ()),
        ("exit 1\n", ()),
        ("\x7fELF\0", ()),
    ],
)
def test_interpreters(tmp_path: Path, head: str, needed: tuple[str, ...]) -> None:
    mine = written(tmp_path / "t", head)
    test = Test("t", ("./t", "x"), (TestFile("t", mine),))
    assert interpreters(test) == needed


def test_a_command_of_the_release_needs_none() -> None:
    assert interpreters(Test("t", ("python3", "-c", "1"))) == ()


@pytest.mark.parametrize(
    ("needs", "network", "missing"),
    [
        ((), False, []),
        (("root",), False, []),
        (("own_kernel", "root", "reboot"), False, ["own_kernel", "reboot"]),
        ((), True, ["network"]),
    ],
)
def test_needs(needs: tuple[str, ...], missing: list[str], *, network: bool) -> None:
    test = Test("t", ("t",), needs=frozenset(needs), network=network)
    assert unmet(test, frozenset({"root", "isolation"})) == missing


# What its end means

ENDS: list[tuple[Completed, str, str, Outcome, str]] = [
    (Completed((), 0), "", "", Outcome.PASSED, ""),
    (Completed((), 0), "full", "memory", Outcome.PASSED, ""),
    (Completed((), 125), "full", "memory", Outcome.SKIPPED, "exit 125"),
    (Completed((), 1), "", "", Outcome.FAILED, "exit 1"),
    (Completed((), 126), "", "", Outcome.FAILED, "exit 126 (a command could not be executed)"),
    (Completed((), 127), "", "", Outcome.FAILED, "exit 127 (a command was not found)"),
    (Completed((), -9), "", "memory", Outcome.FAILED, "memory"),
    (Completed((), -11), "", "", Outcome.FAILED, "killed by SIGSEGV"),
    (Completed((), -99), "", "", Outcome.FAILED, "killed by signal 99"),
    (Completed((), 1), "full", "", Outcome.BROKEN, "full"),
    (Completed((), 1), "full", "memory", Outcome.BROKEN, "full"),
    (Completed((), 1, panic="oops"), "", "", Outcome.PANICKED, "oops"),
    (Completed((), 1, panic="oops"), "full", "", Outcome.BROKEN, "full"),
    (
        Completed((), -9, seconds=5, timed_out=True),
        *("", "", Outcome.TIMEOUT, "no end within 5 s: killed"),
    ),
    (Completed((), -9, timed_out=True), "full", "", Outcome.BROKEN, "full"),
    (
        Completed((), 127, started=False, failure="no sh"),
        *("", "memory", Outcome.BROKEN, "the test never started: no sh"),
    ),
]


@pytest.mark.parametrize(("done", "exhausted", "exceeded", "outcome", "reason"), ENDS)
def test_ends(
    done: Completed, exhausted: str, exceeded: str, outcome: Outcome, reason: str
) -> None:
    found = ending(done, exhausted=exhausted, exceeded=exceeded)
    assert (found.outcome, found.reason) == (outcome, reason)


@given(
    code=st.integers(-64, 255),
    started=st.booleans(),
    timed_out=st.booleans(),
    panic=st.sampled_from(["", "panic"]),
    exhausted=st.sampled_from(["", "full"]),
)
def test_what_is_our_fault_is_never_bad(
    code: int, panic: str, exhausted: str, *, started: bool, timed_out: bool
) -> None:
    done = Completed((), code, started=started, timed_out=timed_out, panic=panic)
    verdict = verdict_of(ending(done, exhausted=exhausted).outcome, Verdict.BAD)
    if not started or exhausted:
        assert verdict is not Verdict.BAD
    if not started:
        assert verdict is Verdict.UNKNOWN
    if verdict is Verdict.GOOD:
        assert code == 0


# What it measures


@pytest.mark.parametrize(
    ("line", "metric"),
    [
        ("time 1.5 s", Metric("time", 1.5, "s")),
        ("\ttime\t-1e3\tMB per s  ", Metric("time", -1000.0, "MB per s")),
        ("bare 7", Metric("bare", 7.0)),
        ("time 1 s # fast", Metric("time", 1.0, "s")),
        ("time 1_000", Metric("time", 1000.0)),
        ("# time 1", None),
        ("time # 1", None),
        ("time", None),
        ("time fast", None),
        ("time inf", None),
        ("time nan s", None),
        ("", None),
    ],
)
def test_metrics(line: str, metric: Metric | None) -> None:
    expected = (metric,) if metric else ()
    assert metrics(line) == metrics(f"\n{line}\r\n\n") == expected


@given(st.text())
def test_any_text_may_lie_where_metrics_were_expected(text: str) -> None:
    for metric in metrics(text):
        assert metric.name
        assert abs(metric.value) < float("inf")


@given(
    st.lists(
        st.tuples(
            st.text("abc-_.", min_size=1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text("MBs/", max_size=4),
        )
    )
)
def test_what_is_written_as_documented_is_read(rows: list[tuple[str, float, str]]) -> None:
    text = "\n".join(f"{name} {value!r} {unit}" for name, value, unit in rows)
    assert metrics(text) == tuple(Metric(*row) for row in rows)
