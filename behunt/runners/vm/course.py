"""How a run in a machine goes, as its console tells, and what that says about the test."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from behunt.errors import ConsoleError
from behunt.hosts.console import ENDED, LOOPING, Reached
from behunt.hosts.dialogue import Row
from behunt.hosts.protocol import Completed
from behunt.runners.vm.by_hand import LOGIN, begin, prompts
from behunt.runners.vm.job import DONE, MARK, READY, WAITS, System
from behunt.runners.vm.started import Power, Started

BOOT = 180.0  # seconds until a machine waits for its job
EMULATED = 600.0  # the same of an emulated one, beside many others
BOOTS = 8  # of one run, where its test may reboot the machine
_ANSWER = 60.0  # seconds until it has taken the job
_BACK = 300.0  # seconds until it has put what came of it on the disk
_GONE = 10.0  # seconds until QEMU has told why it ended
_LAST_WORDS = 2.0  # seconds for what follows a panic; most machines have gone down before
_PANICKED = "panicked"
_WORDS = {
    word.split()[0]: word
    for word in ("kernel [^\n]*\n", "started", "failed [^\n]*\n", "exit \\d+\\D", DONE, "overfull")
}
# What a guest can do, in QEMU's words (ShutdownCause of qapi/run-state.json) and in ours.
_WENT = {"guest-shutdown": "it powered off", "guest-reset": "it rebooted"}
# The kernel's time, and what somebody else was about to say on the same line.
_STAMP = re.compile(r"^.*?\[ *\d+\.\d+\] ")


@dataclass(slots=True)
class Came:
    """How far a machine came.

    `said` is what its job told on the console, and `seconds` how long the test ran. `end` is what
    ended it before its job was done, and `went` how, if it tells; `lost` says that what runs the
    machine gave out, `silent` that the machine did, and `endless` that it booted too often.
    `screen` are the last lines that it showed.
    """

    said: dict[str, str] = field(default_factory=dict)
    started: bool = False
    timed_out: bool = False
    seconds: float = 0.0
    end: Reached | None = None
    went: str = ""
    lost: str = ""
    silent: str = ""
    endless: bool = False
    screen: str = ""


def boot(running: Started, system: System, patience: float = BOOT) -> None:
    """Let it run until it waits for its job, which is begun by hand where it shows a login.

    Raises ConsoleError, which says why it does not; its hint is the last screen, as it is.
    """
    running.monitor.go_on()
    if running.resumed:
        return
    console, deadline = running.console, time.monotonic() + patience
    try:
        up = console.play([WAITS, *prompts(system.os)], deadline)
        if up.state == LOGIN:
            up = begin(console, system, deadline)
    except ConsoleError as error:
        raise ConsoleError(_silent(WAITS.name, patience), console.transcript.screen) from error
    if up.state != READY:
        went, lost = gone(running.monitor) if up.state == ENDED else ("", "")
        raise ConsoleError(_why(Came(end=up, went=went, lost=lost)), up.screen)


def _silent(awaited: str, seconds: float) -> str:
    return f"the console has not shown {awaited!r} after {seconds:.0f} s"


def gone(monitor: Power) -> tuple[str, str]:
    """How a machine whose console has ended went down, or why what runs it gave out."""
    why = monitor.ended(_GONE) or "it does not say why"
    if went := _WENT.get(why, ""):
        return went, ""
    return "", f"{monitor.hypervisor} ended under the machine: {why}"


class Course:
    """One run. `number` marks what its job tells; the machine may boot so many times in it."""

    def __init__(
        self,
        running: Started,
        system: System,
        number: str,
        boots: int = 1,
        patience: float = BOOT,
    ) -> None:
        self.came = Came()
        self._patience = patience
        self._running = running
        self._system = system
        self._boots = boots
        self._booted = 0
        self._began = self._deadline = 0.0
        self._mark = f"{MARK} {number}"
        self._told = [
            Row(regex=f"{self._mark} {word}", reached=name) for name, word in _WORDS.items()
        ]
        back = [WAITS, *prompts(system.os)] if boots > 1 else []
        self._rows = [*self._told, *back]

    def follow(self, timeout: float) -> Came:
        """Let the machine do its job, and cut its power. Raises HostError."""
        try:
            boot(self._running, self._system, self._patience)
            self._let_go()
            self._ran(timeout)
            self._running.end()
        except ConsoleError as error:
            self.came.silent = error.message
        self.came.screen = self._running.console.transcript.screen
        return self.came

    def _let_go(self) -> None:
        """Have it take the job: a line with the time, and how often it has booted in this run."""
        self._booted += 1
        line = f"{time.time():.0f} {self._booted}\n".encode()
        self._running.console.send(line, time.monotonic() + _ANSWER)

    def _ran(self, timeout: float) -> None:
        self._deadline = time.monotonic() + _ANSWER
        try:
            while self._goes_on(self._running.console.play(self._rows, self._deadline), timeout):
                pass
        except ConsoleError as error:
            if not self.came.started:
                raise ConsoleError(_silent(f"{self._mark} started", _ANSWER)) from error
            self._late()

    def _goes_on(self, seen: Reached, timeout: float) -> bool:
        """Whether more is to come after this."""
        if seen.state == LOGIN:
            seen = begin(self._running.console, self._system, self._deadline, self._told)
        if seen.state == READY and self._booted < self._boots:
            self._let_go()
            return True
        if seen.state not in _WORDS:
            self._ended(seen)
            return False
        if seen.state == "started" and not self.came.started:
            self.came.started, self._began = True, time.monotonic()
            self._deadline = self._began + timeout
        elif seen.state in {"exit", "failed"}:
            self._over()
            self._deadline = time.monotonic() + _BACK
        self.came.said[seen.state] = seen.said.rpartition(f" {seen.state}")[2].strip()
        return seen.state != DONE

    def _over(self) -> None:
        """The test is."""
        if self.came.started:
            self.came.seconds = time.monotonic() - self._began

    def _late(self) -> None:
        """The deadline has come: for the test, or for a machine that stands still."""
        self._over()
        status = self._running.monitor.status()
        if status == "running":
            self.came.timed_out = True
        else:
            self.came.lost = f"QEMU has stopped the machine: {status}"

    def _ended(self, end: Reached) -> None:
        self._over()
        self.came.end = end
        if end.state == _PANICKED:
            self._running.console.listen(time.monotonic() + _LAST_WORDS)
        self.came.endless = end.state == READY
        if end.state == ENDED:
            self.came.went, self.came.lost = gone(self._running.monitor)
        elif not self.came.endless and (end.state == LOOPING or not end.dead):
            # It lives, and it is we who do not get in.
            self.came.lost = f"no job is begun at its login: {_why(self.came)}"


def completed(argv: Sequence[str], came: Came, said: Mapping[str, str]) -> Completed:
    """What the course of the machine says about the command in it."""
    done = Completed(tuple(argv), 1, seconds=came.seconds)
    if "failed" in said:
        return replace(done, code=127, started=False, failure=said["failed"])
    if "exit" in said:
        return replace(done, code=int(said["exit"]))
    if came.timed_out:
        return replace(done, code=-9, timed_out=True)
    if not came.started and "started" not in said:
        failure = f"did not boot: {_why(came)}\n{came.screen}".rstrip()
        return replace(done, code=127, started=False, failure=failure)
    return replace(done, panic="" if came.endless or came.lost else _panic(came))


def _panic(came: Came) -> str:
    """A line, and the last screen below it."""
    if came.end is not None and came.end.dead:
        line = _STAMP.sub("", came.end.said)
    else:
        line = f"the machine went down under the test: {_why(came)}"
    return f"{line}\n{came.screen}".rstrip()


def _why(came: Came) -> str:
    """One line; the screen is in the log."""
    if (end := came.end) is not None and end.state != ENDED:
        return f"{end.state}: {_STAMP.sub('', end.said)}"
    return came.lost or came.went or came.silent
