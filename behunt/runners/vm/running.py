"""A QEMU that runs: its process, its monitor, its console, and what its test prints."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from behunt.errors import HostError
from behunt.hosts.console import Console, connected
from behunt.hosts.dialogue import Row
from behunt.hosts.pipes import wait_ready
from behunt.hosts.protocol import CLEAN_ENV, Completed, Sink
from behunt.hosts.qmp import Qmp
from behunt.hosts.sandbox import Sandbox
from behunt.hosts.spawner import Session
from behunt.hosts.transcript import Transcript

SERIAL, MONITOR = "serial", "qmp"  # its sockets, in its directory
OUTPUT = ("-chardev", "stdio,id=output,signal=off", "-serial", "chardev:output")
_PIECE = 1 << 16
_TOLD = 2000  # characters of what QEMU complains of
_LAST = 5.0  # seconds in which a QEMU that has hung up is dead
_LOAD = 300.0  # seconds to read or write the memory, on the slowest of disks


class Running:
    """QEMU in a directory of its own, which holds its sockets and is its TMPDIR.

    It starts paused. All of it is dead on leaving: QEMU is a process of a spawner that ends with
    behunt, however that does, and its scratch disks have no name in any directory.
    """

    def __init__(
        self,
        argv: list[str],
        directory: Path,
        transcript: Transcript,
        *,
        deaths: Iterable[Row] = (),
        network: bool = False,
        sink: Sink | None = None,
    ) -> None:
        self.resumed = False
        self._how = ""
        self._directory = directory
        # A namespace of the network without a way out: what breaks out of QEMU stays alone.
        self._session = Session(Sandbox(namespaces=() if network else ("net",)))
        self._output = _Output(sink)
        self._complaints = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed by close
        try:
            self._start(argv)
            self.monitor = Qmp(directory / MONITOR, gone=self._gone, how=self._ended)
            self.console = Console(connected(directory / SERIAL), transcript, deaths)
        except BaseException as error:
            explained = self._explained(error) if isinstance(error, HostError) else error
            self.close()
            raise explained from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, memory: str) -> None:
        """Go on where `save` left off. Raises HostError."""
        try:
            self.monitor.load(Path(memory), timeout=_LOAD)
            self.resumed = True
        except HostError as error:
            raise self._explained(error) from error

    def save(self, memory: str) -> None:
        self.monitor.save(Path(memory), timeout=_LOAD)
        self.end()

    def end(self) -> None:
        """Cut the power, and pass on the last of what was printed. Raises what the sink raised."""
        self.monitor.quit()
        self._output.finish()

    def close(self) -> None:
        for part in ("monitor", "console"):
            if hasattr(self, part):
                getattr(self, part).close()
        self._session.close()
        self._output.close()
        self._complaints.close()

    def _start(self, argv: list[str]) -> None:
        environment = {**CLEAN_ENV, "TMPDIR": "."}
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            self._session.start(
                argv,
                env=environment,
                cwd=str(self._directory),
                fds=[nothing.fileno(), self._output.theirs, self._complaints.fileno()],
            )
        self._output.begin()

    def _gone(self) -> bool:
        return bool(wait_ready([self._session.fileno()], [], 0))

    def _ended(self) -> str:
        """How its process ended: `killed by SIGKILL`, or `exit 1: ` and its last complaint."""
        if not self._how and wait_ready([self._session.fileno()], [], _LAST):
            how = Completed((), self._session.wait()).how
            self._how = ": ".join(filter(None, [how, self._complaint()]))
        return self._how

    def _explained(self, error: HostError) -> HostError:
        """With the last thing that QEMU itself has complained of."""
        said = self._complaint()
        told = not said or said in error.message
        return error if told else HostError(f"{error.message}: {said}", error.hint)

    def _complaint(self) -> str:
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace")[-_TOLD:].strip()
        return said.rpartition("\n")[2]


class _Output:
    """A pipe, and a thread that passes on what comes through it."""

    def __init__(self, sink: Sink | None) -> None:
        self._sink = sink
        self._ours, self.theirs = os.pipe()
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._error: Exception | None = None

    def begin(self) -> None:
        os.close(self.theirs)
        self.theirs = -1
        self._thread.start()

    def finish(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        if self.theirs >= 0:
            os.close(self.theirs)
        else:
            self._thread.join()
        os.close(self._ours)

    def _pump(self) -> None:
        while data := os.read(self._ours, _PIECE):
            if self._sink is None or self._error is not None:
                continue  # the machine must not wait for a pipe that nobody empties
            try:
                self._sink(data)
            except Exception as error:  # noqa: BLE001 - told by finish()
                self._error = error
