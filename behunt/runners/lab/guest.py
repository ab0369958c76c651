"""A machine of a lab as a Host: a command in it is a boot from the network, and its power cut."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from behunt.errors import HostError
from behunt.hosts.pipes import Kept
from behunt.hosts.protocol import CLEAN_ENV, Completed, Host, Sink, Stdin, checked
from behunt.netboot.power.protocol import Power, State
from behunt.netboot.stages import Stage
from behunt.runners.job import told
from behunt.runners.lab.job import JOB, OUTPUT, REBOOTED, TOLD, job
from behunt.runners.lab.tree import MOST, Tree
from behunt.runners.lab.watching import Watch
from behunt.runners.protocol import AT
from behunt.runners.vm.course import Came, completed
from behunt.runners.vm.job import DONE, System

_PAUSE = 0.25  # seconds until what it told is looked at again
_ASK = 5.0  # seconds until its power is asked for again
_AT_ONCE = 8 << 20  # bytes of what it prints that are passed on before it is looked after again
_WORDS = 1 << 16  # bytes of what its job tells
_OFF = 60.0  # seconds until a machine that is done has powered off by itself


@dataclass
class MetalGuest:
    """A machine whose root is `tree`, and that boots it once for each command.

    `files` is the inside of the same clone, where none of its programs has to run. It has
    `patience` seconds to come up; `stage` says how far it came, by what its job told. `watch` gives
    its console, which is asked for evidence and is never needed. After a run `kernel` is what
    uname -r says in there, and `note` what went wrong beside the test: its power could not be cut,
    its console not be read. `grace` is the seconds in which a machine whose power cannot be asked
    for may still need its root on its way down: what halts a BSD lies there.
    """

    power: Power
    tree: Tree
    files: Host
    system: System
    exchange: Path
    hostname: str
    patience: float
    stage: Callable[[Mapping[str, str]], tuple[Stage, str]]
    watch: Callable[[], Watch]
    grace: float = 0.0
    name: str = "metal"
    kernel: str = field(default="", init=False)
    _notes: list[str] = field(default_factory=list, init=False)

    @property
    def note(self) -> str:
        return "; ".join(self._notes)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: Stdin = b"",
        timeout: float = 60.0,
        check: bool = False,
        sink: Sink | None = None,
    ) -> Completed:
        if stdin:
            raise HostError("a machine of a lab has no standard input to give")
        number = secrets.token_hex(4)
        script = job(
            self.system,
            argv,
            {**CLEAN_ENV, **(env or {})},
            cwd,
            run=number,
            hostname=self.hostname,
        )
        self.tree.send(self.exchange)
        self.tree.lay({f"{AT.name}/{JOB}": script}, 0o755)
        kept = Kept()
        printed = _Printed(self.tree, sink or kept)
        with contextlib.closing(self.watch()) as watch:
            try:
                came = self._followed(number, timeout, printed, watch)
            finally:
                self._cut(number, died=watch.death is not None)
        came.screen = watch.screen
        printed.more(MOST)
        self.tree.fetch(self.exchange, (JOB, TOLD, OUTPUT))
        done = replace(completed(argv, came, came.said), out=kept.text())
        self.kernel = came.said.get("kernel", self.kernel)
        if sink is not None and (done.panic or not done.started):
            sink(watch.said())
        return checked(done) if check else done

    def put(self, source: Path, target: PurePosixPath) -> None:
        self.files.put(source, target)

    def get(self, source: PurePosixPath, target: Path) -> None:
        self.files.get(source, target)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return list(argv)

    def _followed(self, number: str, timeout: float, printed: _Printed, watch: Watch) -> Came:
        """From its power to the last word of its job."""
        came = Came()
        self._begin(watch)
        deadline = time.monotonic() + self.patience
        ask = time.monotonic() + _ASK
        began = 0.0
        while DONE not in came.said:
            self._heard(came, number, watch)
            printed.more()
            if came.end is not None:
                break
            if REBOOTED in came.said:
                self._down(came, number, "it rebooted")
                break
            now = time.monotonic()
            if "started" in came.said and not came.started:
                came.started, began, deadline = True, now, now + timeout
            if now > deadline:
                self._late(came)
                break
            if now > ask and DONE not in came.said:
                ask = now + _ASK
                if self.power.state() is State.OFF:
                    self._down(came, number, "it powered off")
                    break
            time.sleep(_PAUSE)
        came.seconds = time.monotonic() - began if came.started else 0.0
        return came

    def _begin(self, watch: Watch) -> None:
        """Its power comes on, whatever it was before."""
        if self.power.state() is State.ON:
            self.power.off()
        watch.open()
        self._notes = [watch.trouble] if watch.trouble else []
        self.power.on()
        watch.begin()

    def _heard(self, came: Came, number: str, watch: Watch) -> None:
        """Look at its console, and then at what it told: a console ends with a machine's power."""
        came.end, trouble = watch.death, watch.trouble
        came.said = self._told(number)
        if trouble and DONE not in came.said:
            self._notes = [trouble]

    def _told(self, number: str) -> dict[str, str]:
        said = told(self.tree.read(TOLD, most=_WORDS).decode(errors="replace"))
        return said if said.get("run") == number else {}

    def _late(self, came: Came) -> None:
        if came.started and "exit" not in came.said:
            came.timed_out = True
        elif not came.started:
            came.silent = self._stopped(came.said)

    def _down(self, came: Came, number: str, went: str) -> None:
        """It has gone down, and what it wrote last may have come meanwhile."""
        came.said = self._told(number)
        if DONE in came.said:
            return
        if came.started or "started" in came.said:
            came.went = went
        else:
            came.silent = self._stopped(came.said)

    def _stopped(self, said: Mapping[str, str]) -> str:
        stage, why = self.stage(said)
        return f"{stage}: {why}"

    def _cut(self, number: str, *, died: bool) -> None:
        """Nothing is left on. One that has come to the end of its job powers off by itself."""
        try:
            own = {DONE, REBOOTED} & self._told(number).keys()
            if not (own and self._went_off()):
                self.power.off()
        except HostError as error:
            if not (died and self._came_back(number)):
                self._notes.append(f"its power could not be cut: {error.message}")

    def _went_off(self) -> bool:
        """Whether it does so by itself. One that does not tell is believed, and given time."""
        until = time.monotonic() + _OFF
        while (state := self.power.state()) is State.ON and time.monotonic() < until:
            time.sleep(1)
        if state is State.UNKNOWN:
            time.sleep(self.grace)
        return state is not State.ON

    def _came_back(self, number: str) -> bool:
        """Whether one that has panicked boots once more, which it does to power off."""
        until = time.monotonic() + self.patience
        while not (back := REBOOTED in self._told(number)) and time.monotonic() < until:
            time.sleep(_PAUSE)
        return back


class _Printed:
    """What the test prints, as it comes into a file."""

    def __init__(self, tree: Tree, sink: Sink) -> None:
        self._tree, self._sink = tree, sink
        self._seen = 0

    def more(self, most: int = _AT_ONCE) -> None:
        end = self._seen + most
        while self._seen < end and (data := self._tree.read(OUTPUT, self._seen)):
            self._seen += len(data)
            self._sink(data)
