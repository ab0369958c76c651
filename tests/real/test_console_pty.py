"""Real transcripts, played by a small program on a real terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from console_machine import Step, plan, show

from behunt.errors import ConsoleError
from behunt.hosts.console import ENDED, Console, device, program
from behunt.hosts.dialogue import Row
from behunt.hosts.transcript import Transcript
from behunt.runners.vm.consoles import deaths, dialogue

pytestmark = pytest.mark.real

SAID = Path(__file__).parents[1] / "transcripts"
BOOT = (SAID / "console-boot-13.2.log").read_bytes()
LOGIN = (SAID / "console-login-13.2.log").read_bytes()
PANIC = (SAID / "console-panic-13.2.log").read_bytes()
ROOT = {"user": "root", "password": ""}
READY = b"echo be''hunt ready\r\r\nbehunt ready\r\n"

Machine = Callable[..., Console]


def within(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A console whose machine follows the steps."""
    opened: list[Console] = []

    def start(*steps: Step, bound: int = 1 << 20) -> Console:
        stream = program(plan(tmp_path / "plan", steps))
        transcript = Transcript(tmp_path / "transcript", head=bound, tail=bound)
        opened.append(Console(stream, transcript, deaths("freebsd")))
        return opened[-1]

    yield start
    for console in opened:
        console.close()


def cut(data: bytes, at: bytes) -> tuple[bytes, bytes]:
    """`data` up to the end of the first `at`, and the rest."""
    place = data.index(at) + len(at)
    return data[:place], data[place:]


@pytest.mark.parametrize("piece", [1, 7, 100, 1 << 16])
def test_a_boot_to_the_login_prompt(machine: Machine, piece: int) -> None:
    with machine(show(BOOT, piece), ["typed", "never"]) as console:
        reached = console.play(dialogue("freebsd", "boot"), within())
    assert (reached.state, reached.said) == ("login", "login:")
    assert reached.screen.splitlines()[-3:] == [
        "Sat Nov 21 00:58:44 UTC 2026",
        "FreeBSD/amd64 (fbsd132) (ttyu0)",
        "login:",
    ]


@pytest.mark.parametrize("piece", [1, 3, 1 << 16])
def test_a_login_types_and_ends_in_a_shell(machine: Machine, piece: int) -> None:
    """The prompt is cut in its midst; the machine goes on only after what it waits for."""
    prompt, rest = cut(LOGIN, b"login: ")
    motd, commands = cut(rest, b"root@fbsd132:~ # ")
    with machine(
        show(prompt[:-4], piece),
        show(prompt[-4:], 1),
        ["typed", "root"],
        show(motd, piece),
        *cursor_told(motd),
        ["typed", "echo be''hunt ready"],
        show(READY, piece),
        show(commands, piece),
    ) as console:
        reached = console.play(dialogue("freebsd", "login"), within(), ROOT)
        assert (reached.state, reached.said) == ("shell", "behunt ready")
        power_off = (Row(regex=r"^status=(?:\d+)\r?\n", reached="status"),)
        assert console.play(power_off, within()).said == "status=7"
        last = console.play((Row(text="never", reached="never"),), within())
    assert last.state == ENDED
    assert last.screen.splitlines()[-2:] == ["All buffers synced.", "Uptime: 1m3s"]


def cursor_told(shown: bytes) -> list[Step]:
    """The machine asks where its cursor is when root logs in: the answer ends no line."""
    return [["keys", "\x1b[24;80R"]] if b"\x1b[6n" in shown else []


@pytest.mark.parametrize("piece", [1, 50, 1 << 16])
def test_a_panic_ends_a_run_at_once(machine: Machine, piece: int) -> None:
    """It goes on for ever after it, and no deadline is near."""
    with machine(show(PANIC, piece), ["forever", b"\r\n".hex()]) as console:
        assert console.play(dialogue("freebsd", "boot"), within()).state == "login"
        reached = console.play((Row(text="never", reached="never"),), within(600))
    assert (reached.state, reached.said, reached.dead) == (
        "panicked",
        "panic: kdb_sysctl_panic",
        True,
    )
    assert "panic: kdb_sysctl_panic" in reached.reason
    assert "MOD_LOAD (vmm, 0xffffffff83004580, 0) error 6" in reached.screen


def test_the_transcript_of_a_boot_is_whole(machine: Machine, tmp_path: Path) -> None:
    with machine(show(BOOT, 1000)) as console:
        console.play((Row(text="never", reached="never"),), within())
    text = (tmp_path / "transcript").read_text(encoding="utf-8")
    assert text.isprintable() or set(text) - {"\t", "\n"} <= {c for c in text if c.isprintable()}
    for line in ("FreeBSD/amd64 EFI loader, Revision 1.1", "---<<BOOT>>---", "Starting sshd."):
        assert f"] {line}\n" in text


def test_a_flood_leaves_neither_memory_nor_disk_full(machine: Machine, tmp_path: Path) -> None:
    noise = b"pid 17 (sh), jid 0, uid 0: exited on signal 11\r\n"
    with machine(
        show(b"the first line\r\n"),
        ["flood", noise.hex(), 4 << 20],
        show(b"the end\r\nlogin: "),
        bound=1 << 16,
    ) as console:
        assert console.play(dialogue("freebsd", "boot"), within(300)).state == "login"
        assert len(console._window._text) < 1 << 18
    text = (tmp_path / "transcript").read_text(encoding="ascii")
    assert len(text) < 200_000
    assert "the first line" in text
    assert "the end" in text


def test_one_that_types_for_ever_ends_with_its_deadline_and_its_program(
    machine: Machine,
) -> None:
    with machine(["forever", b"noise\r\n".hex()]) as console:
        with pytest.raises(ConsoleError):
            console.play(dialogue("freebsd", "boot"), within(0.5))
        pid = console._stream.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_program_that_fails_says_why(machine: Machine) -> None:
    with machine(["no such step"]) as console:
        reached = console.play(dialogue("freebsd", "boot"), within())
    assert reached.state == ENDED
    assert "ValueError: ['no such step']" in reached.screen


def test_a_device(tmp_path: Path) -> None:
    """A terminal that is opened by its name, as cu(1) opens a serial port; no echo from here."""
    ours, theirs = os.openpty()
    with (
        os.fdopen(ours, "r+b", buffering=0) as machine,
        os.fdopen(theirs),
        Console(device(Path(os.ttyname(theirs))), Transcript(tmp_path / "t")) as console,
    ):
        machine.write(b"login: ")
        row = Row(text="login: ", answer="user", reached="login")
        assert console.play((row,), within(), ROOT).state == "login"
        assert machine.read(5) == b"root\r"


ATTACH = """
import sys
from pathlib import Path
from behunt.hosts.console import Console, program
from behunt.hosts.console_attach import attach
from behunt.hosts.transcript import Transcript

with Console(program(sys.argv[2:]), Transcript(Path(sys.argv[1]))) as console:
    print("joined", flush=True)
    print(end.state if (end := attach(console)) else "left", flush=True)
"""


def attached(tmp_path: Path, *argv: str) -> pexpect.spawn[str]:
    user = pexpect.spawn(
        sys.executable,
        ["-c", ATTACH, str(tmp_path / "transcript"), *argv],
        encoding="utf-8",
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PS1": "machine# "},
    )
    user.expect_exact("joined")
    return user


def test_the_user_is_joined_to_the_console_and_leaves(tmp_path: Path) -> None:
    with attached(tmp_path, "sh") as user:
        user.expect_exact("machine# ")
        user.send("echo $((6*7)); stty -a | grep -c -- '-icanon'\r")
        user.expect_exact("42")
        user.expect_exact("machine# ")
        user.send("\x03echo still here\r")
        user.expect_exact("still here\r\n")
        user.send("\x1d")
        user.expect_exact("left")
        user.expect(pexpect.EOF)
    assert "] 42\n" in (tmp_path / "transcript").read_text(encoding="utf-8")


def test_the_end_of_the_console_ends_it(tmp_path: Path) -> None:
    with attached(tmp_path, "sh", "-c", "printf '\\033[31mred'") as user:
        user.expect_exact("\x1b[31mred")
        user.expect_exact("ended")
        user.expect(pexpect.EOF)


def test_the_user_can_leave_a_machine_that_shows_all_and_reads_nothing(tmp_path: Path) -> None:
    argv = plan(tmp_path / "plan", [["forever", b"noise\r\n".hex()]])
    with attached(tmp_path, *argv) as user:
        user.expect_exact("noise")
        for _ in range(8):
            user.send("x" * 1000)
            user.expect_exact("noise")
        user.send("\x1d")
        user.expect_exact("left")
        user.expect(pexpect.EOF)
