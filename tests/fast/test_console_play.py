"""Dialogues played over a socket, with a machine that says and reads what the test wants."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from behunt.errors import ConsoleError, HostError
from behunt.hosts.console import ENDED, LOOPING, Console, connected, device, over, program
from behunt.hosts.dialogue import Row
from behunt.hosts.transcript import Transcript
from behunt.runners.vm.consoles import deaths, dialogue

BOOT, LOGIN = dialogue("freebsd", "boot"), dialogue("freebsd", "login")
ROOT = {"user": "root", "password": "secret"}
SOON = 1.0  # seconds, where the deadline is what is looked at


def within(seconds: float = 30.0) -> float:
    return time.monotonic() + seconds


@dataclass
class Line:
    """A console, and the machine's end of it."""

    console: Console
    machine: socket.socket

    def says(self, text: str | bytes) -> None:
        self.machine.sendall(text.encode() if isinstance(text, str) else text)

    def reads(self, line: str) -> bool:
        wanted = line.encode() + b"\r"
        got = b""
        while len(got) < len(wanted) and (more := self.machine.recv(len(wanted) - len(got))):
            got += more
        return got == wanted

    def transcript(self) -> str:
        self.console.close()
        return self.console.transcript.path.read_text(encoding="utf-8")


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(30)
    transcript = Transcript(tmp_path / "console", head=1 << 14, tail=1 << 14)
    with theirs, Console(over(ours), transcript, deaths("freebsd")) as console:
        yield Line(console, theirs)


@pytest.fixture
def beside() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Start something beside the test; it is over when the test is."""
    threads: list[threading.Thread] = []

    def start(work: Callable[[], object]) -> None:
        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_a_state_is_reached(line: Line) -> None:
    line.says("Starting sshd.\r\n\r\nFreeBSD/amd64 (fbsd132) (ttyu0)\r\r\n\r\r\nlogin: ")
    reached = line.console.play(BOOT, within())
    assert (reached.state, reached.said, reached.dead) == ("login", "login:", False)
    assert reached.screen.splitlines()[-2:] == ["FreeBSD/amd64 (fbsd132) (ttyu0)", "login:"]


def test_a_dialogue_begins_where_the_one_before_ended(line: Line) -> None:
    rows = (Row(text="step", reached="step"),)
    line.says("a step and a step")
    for _ in range(2):
        assert line.console.play(rows, within()).said.endswith("step")
    with pytest.raises(ConsoleError):
        line.console.play(rows, within(SOON))


def test_a_row_types_what_it_sends(line: Line) -> None:
    line.says("Console type [vt100]: ")
    rows = (*dialogue("freebsd", "install"), Row(text="# ", reached="shell"))
    line.says("# ")
    assert line.console.play(rows, within()).state == "shell"
    assert line.reads("")


def test_a_row_may_type_and_be_the_last(line: Line) -> None:
    line.says("Press any key")
    rows = (Row(text="Press any key", send="x", reached="pressed"),)
    assert line.console.play(rows, within()).state == "pressed"
    assert line.machine.recv(1) == b"x"


def test_a_panic_ends_it_at_once_and_says_why(line: Line) -> None:
    line.says("login: panic: kdb_sysctl_panic\r\ncpuid = 0\r\ntime = 1795222933\r\n")
    reached = line.console.play((Row(text="never", reached="never"),), within(600))
    assert reached.dead
    assert (reached.state, reached.said) == ("panicked", "login: panic: kdb_sysctl_panic")
    assert reached.reason.splitlines()[0] == "panicked: login: panic: kdb_sysctl_panic"
    assert reached.reason.splitlines()[-1] == "time = 1795222933"


def test_the_rest_of_a_panic_is_still_written(line: Line) -> None:
    line.says("panic: x\r\ncpuid = 0\r\n")
    assert line.console.play((), within()).dead
    line.says("#0 0xffffffff80c573a5 at kdb_backtrace+0x65\r\nUptime: 4m3s\r\n")
    line.machine.close()
    line.console.listen(within())
    assert "kdb_backtrace" in line.transcript()


def test_deaths_are_counted_over_dialogues(line: Line) -> None:
    banner = "\r\nFreeBSD/amd64 EFI loader, Revision 1.1\r\nlogin: "
    line.says(banner)
    assert line.console.play(BOOT, within()).state == "login"
    line.says(banner)
    again = line.console.play(BOOT, within())
    assert (again.state, again.dead) == ("rebooted", True)


def test_to_be_asked_again_and_again_is_a_loop(line: Line) -> None:
    line.says("login: \r\n" * 3)
    reached = line.console.play(LOGIN, within(), ROOT)
    assert (reached.state, reached.dead) == (LOOPING, True)
    assert reached.said == "asked 3 times: login:"
    assert line.reads("root\rroot")


def test_a_refused_login(line: Line) -> None:
    line.says("login: ")
    line.says("Password:")
    line.says("\r\nLogin incorrect\r\nlogin: ")
    assert line.console.play(LOGIN, within(), ROOT).state == "refused"
    assert line.reads("root\rsecret")


def test_a_password_is_in_no_transcript(line: Line) -> None:
    line.says("login: root\r\nPassword:\r\nroot@fbsd132:~ # ")
    with pytest.raises(ConsoleError):
        line.console.play(LOGIN, within(SOON), ROOT)
    text = line.transcript()
    assert "'assword:': password" in text
    assert "secret" not in text


def test_an_answer_nobody_gave(line: Line) -> None:
    line.says("login: root\r\nPassword:")
    with pytest.raises(ConsoleError, match="asks for the password") as error:
        line.console.play(LOGIN, within(), {"user": "root"})
    assert error.value.hint.endswith("login: root\nPassword:")


def test_the_deadline_says_what_was_awaited_and_what_was_shown(line: Line) -> None:
    line.says("Trying to mount root from ufs:/dev/gpt/root [rw]...\r\nlog")
    with pytest.raises(ConsoleError, match=r"has not shown '.*n: ' after \d+ s") as error:
        line.console.play(BOOT, within(SOON))
    assert error.value.hint.endswith("ufs:/dev/gpt/root [rw]...\nlog")
    assert f">> the deadline came before {BOOT[0].name!r}" in line.transcript()


def test_silence_to_the_deadline(line: Line) -> None:
    with pytest.raises(ConsoleError) as error:
        line.console.play(BOOT, within(SOON))
    assert error.value.hint == "it showed nothing"


def test_a_console_that_ends_in_the_middle(line: Line) -> None:
    line.says(b"Uptime: 1m3s\r\nacpi0: Powering \xe2\x82")
    line.machine.close()
    reached = line.console.play(BOOT, within())
    assert (reached.state, reached.dead) == (ENDED, False)
    assert reached.screen == "Uptime: 1m3s\nacpi0: Powering"
    assert line.console.play(BOOT, within()).state == ENDED


def test_a_panic_of_one_that_takes_no_answer_any_more_is_seen(line: Line) -> None:
    line.says("login: " + "noise\r\n" * 10_000 + "panic: x\r\ncpuid = 0\r\n")
    line.machine.close()
    assert line.console.play(LOGIN, within(), ROOT).state == "panicked"


def test_one_who_asks_where_the_cursor_is_gets_an_answer(line: Line) -> None:
    line.says("\x1b7\x1b[r\x1b[999;999H\x1b[6n\x1b8\r\n# ")
    assert line.console.play((Row(text="# ", reached="shell"),), within()).state == "shell"
    line.says("more")
    assert line.console.play((Row(text="more", reached="more"),), within()).state == "more"
    assert line.machine.recv(100) == b"\x1b[24;80R"


def test_a_writer_that_never_stops_meets_the_deadline(
    line: Line, beside: Callable[[Callable[[], object]], None]
) -> None:
    def flood() -> None:
        with contextlib.suppress(OSError):  # until the console is closed
            while True:
                line.says("pid 17 (sh), uid 0: exited on signal 11\r\n" * 100)

    beside(flood)
    with pytest.raises(ConsoleError) as error:
        line.console.play(BOOT, within(SOON))
    line.console.close()
    assert "exited on signal 11" in error.value.hint


def test_what_is_typed_gets_through_a_flood(
    line: Line, beside: Callable[[Callable[[], object]], None]
) -> None:
    """It reads only once all is shown, and answers more than a socket holds."""
    typed = b"x" * (2 << 20)

    def machine() -> None:
        line.says(b"noise\r\n" * (1 << 17))
        got = 0
        while got < len(typed):
            got += len(line.machine.recv(1 << 20))
        line.says("got it all")

    beside(machine)
    line.console.send(typed, within())
    rows = (Row(text="got it all", reached="got"),)
    assert line.console.play(rows, within()).state == "got"


def test_a_machine_that_takes_nothing(line: Line) -> None:
    with pytest.raises(ConsoleError, match="does not take what is typed"):
        line.console.send(b"x" * (16 << 20), within(SOON))


def test_one_that_is_gone_takes_nothing_either(line: Line) -> None:
    line.machine.close()
    line.console.send(b"hello\r", within())
    assert line.console.play(BOOT, within()).state == ENDED


def test_the_transcript_of_a_flood_has_its_beginning_and_its_end(
    line: Line, beside: Callable[[Callable[[], object]], None]
) -> None:
    def flood() -> None:
        line.says("the first line\r\n")
        for number in range(20_000):
            line.says(f"line {number} of a flood of them\r\n")
        line.machine.close()

    beside(flood)
    assert line.console.play(BOOT, within()).state == ENDED
    text = line.transcript()
    assert len(text) < (1 << 14) * 3 + 200
    assert "the first line" in text
    assert "line 19999 of" in text
    assert len(re.findall(r"(?m)^\.\.\. about \d+ bytes left out \.\.\.$", text)) == 1
    stamps = [float(s) for s in re.findall(r"(?m)^\[ *(\d+\.\d{3})\] ", text)]
    assert stamps == sorted(stamps)
    assert len(stamps) == len(text.splitlines()) - 1


def test_a_dialogue_that_ends_within_a_line_cuts_it_in_the_file_alone(line: Line) -> None:
    line.says("login: module_register_init: MOD_LO")
    assert line.console.play(BOOT, within()).said.startswith("login:")
    line.says("AD (vmm) error 6\r\npanic: late\r\nUptime: 4m3s\r\n")
    reached = line.console.play((Row(text="never", reached="never"),), within())
    assert reached.screen.splitlines()[0] == "login: module_register_init: MOD_LOAD (vmm) error 6"
    shown = re.findall(r"(?m)^\[ *\d+\.\d{3}\] (?!>>)(.*)$", line.transcript())
    assert shown[:3] == ["login: module_register_init: MOD_LO", "AD (vmm) error 6", "panic: late"]


def test_every_line_of_the_transcript_has_its_time(line: Line) -> None:
    line.says("one\r\n\x1b[31mtwo\x1b[0m\x00\r\n\r\nlogin: ")
    line.console.play(BOOT, within())
    stamped = re.findall(r"(?m)^\[ *\d+\.\d{3}\] (.*)$", line.transcript())
    assert stamped == ["one", "two", "", "login:", ">> login: login:"]


def test_a_socket_with_a_name(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "serial"))
        server.listen()
        with Console(connected(tmp_path / "serial"), Transcript(tmp_path / "t")) as console:
            machine, _ = server.accept()
            with machine:
                machine.sendall(b"login: ")
                assert console.play(BOOT, within()).state == "login"


def test_a_socket_with_a_port(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Console(connected(server.getsockname()), Transcript(tmp_path / "t")) as console,
    ):
        machine, _ = server.accept()
        with machine:
            machine.sendall(b"login: ")
            assert console.play(BOOT, within()).state == "login"


def test_consoles_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot connect to the console"):
        connected(tmp_path / "none")
    with pytest.raises(HostError, match="cannot open the console"):
        device(tmp_path / "none")
    with pytest.raises(HostError, match="cannot start"):
        program(["behunt-no-such-program"])
