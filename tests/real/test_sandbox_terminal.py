"""A user's terminal, lent to a command in a sandbox."""

from __future__ import annotations

import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from tiny_root import tiny_root

pytestmark = pytest.mark.real

ATTACH = """
import sys
from behunt.errors import HostError
from behunt.hosts.confined import Confined
from behunt.hosts.sandbox import ALL_NAMESPACES, Sandbox
from behunt.hosts.terminal import attach

root, stage, *argv = sys.argv[1:]
box = Sandbox(ALL_NAMESPACES, lower=(root,), stage=stage, tame=True) if root else Sandbox()
with Confined(box) as inside:
    try:
        print("code", attach(inside, argv, env={"PS1": "inside> ", "ENV": ""}, cwd="/tmp"))
    except HostError as error:
        print(error.message)
"""


@pytest.fixture(params=["namespaces", "tree"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    (tmp_path / "stage").mkdir()
    root = str(tiny_root(tmp_path / "root")) if request.param == "namespaces" else ""
    return [sys.executable, "-c", ATTACH, root, str(tmp_path / "stage")]


@pytest.fixture
def shell(command: list[str]) -> Iterator[pexpect.spawn[str]]:
    program, *args = [*command, "sh"]
    with pexpect.spawn(
        program, args, encoding="utf-8", timeout=30, dimensions=(31, 97), env={"TERM": "vt220"}
    ) as spawned:
        spawned.expect_exact("inside> ")
        assert "job control" not in str(spawned.before)
        yield spawned


def asked(shell: pexpect.spawn[str], line: str) -> list[str]:
    """What the command line shows, without its echo."""
    shell.sendline(line)
    shell.expect_exact("inside> ")
    return str(shell.before).splitlines()[1:]


def test_it_is_a_real_terminal(shell: pexpect.spawn[str]) -> None:
    assert asked(shell, "test -t 0 && test -t 1 && test -t 2; echo $?") == ["0"]
    (name,) = asked(shell, "tty")
    assert name.startswith("/dev/pts/")
    assert asked(shell, "echo $TERM >/dev/tty") == ["vt220"]
    assert asked(shell, "pwd") == ["/tmp"]


def test_the_window_size_is_followed(shell: pexpect.spawn[str]) -> None:
    assert asked(shell, "stty size") == ["31 97"]
    shell.setwinsize(40, 120)
    for _ in range(1000):  # the signal comes when it comes
        if asked(shell, "stty size") == ["40 120"]:
            return
    pytest.fail("the new size never arrived")


def test_control_c_reaches_what_runs_inside_alone(shell: pexpect.spawn[str]) -> None:
    shell.sendline("sh -c 'echo up; exec sleep 1000'")
    shell.expect_exact("\nup")
    shell.sendintr()
    shell.expect_exact("inside> ")
    assert asked(shell, "echo $?") == ["130"]


def test_the_terminal_is_given_back_as_it_was(shell: pexpect.spawn[str]) -> None:
    assert not termios.tcgetattr(shell.child_fd)[3] & termios.ECHO  # raw: the inner one echoes
    shell.sendline("seq 20000; exit 7")
    shell.expect(r"\n20000\r\ncode 7\r\n")  # all was shown, and before the end
    shell.expect(pexpect.EOF)
    assert termios.tcgetattr(shell.child_fd)[3] & termios.ECHO


def test_a_signal_that_ends_it(shell: pexpect.spawn[str]) -> None:
    shell.sendline("kill -9 $$")
    shell.expect_exact("code -9")


def test_input_that_nobody_reads_does_not_stop_the_screen(command: list[str]) -> None:
    script = "stty -echo; yes | head -c 2000000; echo last; exit 5"  # an echo would get in between
    program, *args = [*command, "sh", "-c", script]
    with (
        pexpect.spawn(program, args, encoding="utf-8", timeout=60, echo=False) as spawned,
        subprocess.Popen(["yes", "typed ahead"], stdout=spawned.child_fd) as typing,
    ):
        try:
            spawned.expect_exact("last")
            spawned.expect_exact("code 5")
        finally:
            typing.kill()


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        # a daemon that keeps the terminal is not waited for
        ("trap '' HUP; sleep 1000 & echo left; exit 4", "left\r\ncode 4\r\n"),
        # a command that lets go of the terminal goes on, and may come back to it
        ("exec <&- >&- 2>&-; (echo gone >/dev/tty); echo back >/dev/tty", "back\r\ncode 0\r\n"),
    ],
)
def test_the_end_of_the_command_counts_not_that_of_the_terminal(
    command: list[str], script: str, shown: str
) -> None:
    program, *args = [*command, "sh", "-c", script]
    with pexpect.spawn(program, args, encoding="utf-8", timeout=30) as spawned:
        spawned.expect_exact(shown)
        spawned.expect(pexpect.EOF)


def piped(command: list[str], *argv: str, given: str = "") -> str:
    done = subprocess.run(
        [*command, *argv], input=given, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_what_is_piped_in_is_standard_input(command: list[str]) -> None:
    script = "echo from a pipe: $((40+2)); test -t 0 || echo no terminal; exit 6\n"
    assert piped(command, "sh", given=script) == "from a pipe: 42\nno terminal\ncode 6\n"
    assert piped(command, "wc", "-c", given="x" * 1_000_000).split() == ["1000000", "code", "0"]


def test_a_program_that_is_not_there(command: list[str]) -> None:
    program, *args = [*command, "no-such-program"]
    why = "cannot execute no-such-program: No such file"
    assert why in piped(command, "no-such-program")
    with pexpect.spawn(program, args, encoding="utf-8", timeout=30) as spawned:
        spawned.expect_exact(why)
