"""Lines typed to real shells, each on a terminal of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from behunt.errors import ConsoleError, InstallError
from behunt.hosts.console import Console, program
from behunt.hosts.transcript import Transcript
from behunt.runners.vm.shell import LONGEST, type_all

pytestmark = pytest.mark.real

# dash edits no lines; mksh does, from its first prompt on, as ksh of an OpenBSD's ramdisk; bash
# and busybox do so in their own ways.
SHELLS = {
    "dash": ("dash", "-i"),
    "mksh": ("mksh", "-i"),
    "bash": ("bash", "--norc", "--posix", "-i"),
    "ash": ("busybox", "ash", "-i"),
}
NOISE = "uhub0: device problem, disabling port 1"


@contextmanager
def at_prompt(shell: str, place: Path) -> Iterator[Console]:
    stream = program(SHELLS[shell], {"PS1": "# ", "HOME": str(place), "ENV": "", "TERM": "vt100"})
    with Console(stream, Transcript(place / "transcript")) as console:
        yield console


@pytest.fixture(params=SHELLS)
def console(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Console]:
    with at_prompt(request.param, tmp_path) as console:
        yield console


def within(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


def test_every_line_waits_for_the_one_before(console: Console, tmp_path: Path) -> None:
    lines = (
        f"cd {tmp_path} && sleep 0.2 && echo one >all",
        "cat all && (read line <all; echo $line and two >>all)",
        "seq 2000; printf 'no end of line'",
        rf"printf 'a a\n\n\nw\nq' | (cat; echo {'x' * 150} was long) >>all",
        "true # behunt 3 is what no prompt says",
    )
    type_all(console, lines, within())
    said = (tmp_path / "all").read_text().splitlines()
    assert said[:3] == ["one", "one and two", "a a"]
    assert said[-1] == f"q{'x' * 150} was long" or said[-1].endswith("was long")


@pytest.mark.parametrize(
    ("line", "code"), [("false", "1"), ("(exit 70)", "70"), ("no-such", "127")]
)
def test_the_first_that_fails_ends_it(
    console: Console, tmp_path: Path, line: str, code: str
) -> None:
    after = tmp_path / "after"
    with pytest.raises(InstallError) as caught:
        type_all(console, ("echo so far so good", line, f"touch {after}"), within())
    assert caught.value.message == f"`{line}` failed on its console: exit {code}"
    assert "so far so good" in caught.value.hint
    assert not after.exists()


def test_messages_in_between_are_no_prompt(console: Console, tmp_path: Path) -> None:
    """The kernel says something while the machine works, and where a prompt is."""
    talk = f"while :; do echo; echo '{NOISE}'; sleep 0.01; done"
    lines = (f"({talk}) & echo $! >{tmp_path}/pid", "sleep 0.1", "true")
    try:
        type_all(console, lines, within())
        with pytest.raises(InstallError, match="exit 9"):
            type_all(console, ("(sleep 0.1; exit 9)",), within())
    finally:
        type_all(console, (f"kill $(cat {tmp_path}/pid)",), within())
    assert NOISE in (tmp_path / "transcript").read_text()


def test_a_line_that_never_ends(tmp_path: Path) -> None:
    with (
        at_prompt("dash", tmp_path) as console,
        pytest.raises(
            ConsoleError, match="`cat` does not end: the console has not shown"
        ) as caught,
    ):
        type_all(console, ("cat",), within(1))
    assert "cat" in caught.value.hint


def test_a_shell_that_is_gone(tmp_path: Path) -> None:
    with (
        at_prompt("dash", tmp_path) as console,
        pytest.raises(InstallError, match="`exit 3` failed on its console: ended"),
    ):
        type_all(console, ("exit 3", "true"), within())


@pytest.mark.parametrize("line", ["x" * (LONGEST + 1), "one\ntwo", "tab\tcompletes"])
def test_what_cannot_be_typed(tmp_path: Path, line: str) -> None:
    with at_prompt("dash", tmp_path) as console, pytest.raises(ValueError, match="no line to type"):
        type_all(console, (line,), within())
