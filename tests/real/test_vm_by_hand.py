"""A job begun by hand on a real FreeBSD's console, played by a small program on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from console_machine import Step, plan, show

from behunt.errors import ConsoleError
from behunt.hosts.console import ENDED, Console, program
from behunt.hosts.dialogue import Row
from behunt.hosts.transcript import Transcript
from behunt.runners.vm.by_hand import LOGIN, begin, prompts
from behunt.runners.vm.consoles import deaths
from behunt.runners.vm.job import FREEBSD, LINUX, READY

pytestmark = pytest.mark.real

SAID = Path(__file__).parents[1] / "transcripts"
PROMPT, _, _REST = (SAID / "console-login-13.2.log").read_bytes().partition(b"login: ")
MOTD, _, _ = _REST.partition(b"root@fbsd132:~ # ")
SHELL = b"root@fbsd132:~ # "
TRIED, SHELL_ANSWERS = "echo be''hunt ready", b"echo be''hunt ready\r\r\nbehunt ready\r\n" + SHELL
TYPED = "exec sh /etc/rc.local"

Machine = Callable[..., Console]


def within(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


def echoed(line: str, *says: str) -> Step:
    return show("".join(f"{text}\r\n" for text in (line, *says)).encode())


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Machine]:
    """A console that has shown its login; its machine follows the steps."""
    opened: list[Console] = []

    def start(*steps: Step) -> Console:
        stream = program(plan(tmp_path / "plan", [show(PROMPT + b"login: "), *steps]))
        opened.append(Console(stream, Transcript(tmp_path / "transcript"), deaths("freebsd")))
        assert opened[-1].play(prompts("freebsd"), within()).state == LOGIN
        return opened[-1]

    yield start
    for console in opened:
        console.close()


# The machine asks where its cursor is when root logs in: the answer ends no line.
LOGGED_IN: tuple[Step, ...] = (
    ["typed", "root"],
    show(MOTD),
    *([["keys", "\x1b[24;80R"]] if b"\x1b[6n" in MOTD else []),
    show(SHELL),
    ["typed", TRIED],
    show(SHELL_ANSWERS),
)


def test_a_job_is_begun(asked: Machine) -> None:
    console = asked(*LOGGED_IN, ["typed", TYPED], echoed(TYPED, "", "behunt: ready"))
    seen = begin(console, FREEBSD, within())
    assert (seen.state, seen.said) == (READY, "behunt: ready")


def test_a_job_that_starts_meanwhile_is_not_begun_again(asked: Machine) -> None:
    console = asked(["typed", "root"], show(MOTD + b"\r\nbehunt: ready\r\n" + SHELL))
    assert begin(console, FREEBSD, within()).state == READY
    assert console.play([Row(text="never", reached="never")], within()).state == ENDED


@pytest.mark.parametrize("steps", [(), LOGGED_IN[1:]], ids=["no login", "a shell"])
def test_what_a_job_tells_meanwhile_is_heard(asked: Machine, steps: tuple[Step, ...]) -> None:
    """What looked like a login was none, or another's."""
    typed: list[Step] = [["typed", TYPED]] if steps else []
    told = [Row(regex=f"behunt: 1f {word}", reached=word) for word in ("exit", "done")]
    console = asked(
        ["typed", "root"], *steps, *typed, show(b"\r\nbehunt: 1f exit 3\r\nbehunt: 1f done\r\n")
    )
    assert begin(console, FREEBSD, within(), told).said == "behunt: 1f exit"
    assert console.play(told, within()).said == "behunt: 1f done"


def test_the_echo_of_what_is_typed_is_not_what_it_does(asked: Machine) -> None:
    """There is no such script, so the shell is gone, and the next login comes."""
    lost = (f"sh: cannot open {TYPED.rpartition(' ')[2]}: No such file or directory", "")
    console = asked(*LOGGED_IN, ["typed", TYPED], echoed(TYPED, *lost), show(b"login: "))
    seen = begin(console, FREEBSD, within())
    assert (seen.state, seen.said) == ("the job does not start", "login:")
    assert lost[0] in seen.screen


def test_a_terminal_that_is_asked_for(asked: Machine) -> None:
    console = asked(
        ["typed", "root"],
        show(b"Password:"),
        ["typed", ""],
        show(b"\r\nTerminal type? [unknown] "),
        ["typed", ""],
        show(b"\r\n# "),
        ["typed", TRIED],
        echoed(TRIED, "behunt ready"),
        ["typed", "exec sh /behunt/.init"],
        echoed("exec sh /behunt/.init", "behunt: ready"),
    )
    assert begin(console, replace(LINUX, os="freebsd"), within()).state == READY


@pytest.mark.parametrize(
    ("says", "said"),
    [
        ("Login incorrect", "Login incorrect"),
        ("Login incorrect or refused on this terminal.", "Login incorrect"),
        ("root login refused on this terminal.", "root login refused on this terminal"),
    ],
)
def test_a_login_that_is_refused(asked: Machine, says: str, said: str) -> None:
    steps = (["typed", "root"], show(b"Password:"), ["typed", ""], echoed("", says, "login: "))
    seen = begin(asked(*steps), FREEBSD, within())
    assert seen.state == "refused"
    assert seen.said.startswith(said)
    assert not seen.dead


def test_a_shell_that_does_not_come(asked: Machine) -> None:
    console = asked(*LOGGED_IN[:-3], ["typed", "never"])
    with pytest.raises(ConsoleError, match="has not shown 'Login incorrect'") as caught:
        begin(console, FREEBSD, within(2))
    assert "Welcome to FreeBSD!" in caught.value.hint


def test_a_panic_meanwhile(asked: Machine) -> None:
    panic = show(b"\r\npanic: x\r\ncpuid = 0\r\ntime = 1\r\nKDB: enter: panic\r\n")
    seen = begin(asked(["typed", "root"], panic, ["typed", "never"]), FREEBSD, within())
    assert (seen.state, seen.said, seen.dead) == ("panicked", "panic: x", True)
