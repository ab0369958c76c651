"""A machine's console, followed while a run has the machine: evidence, and a panic told sooner."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from behunt.errors import HostError
from behunt.hosts.console import Console, Reached, Stream
from behunt.hosts.dialogue import Row
from behunt.hosts.transcript import Transcript
from behunt.netboot.consoles import opened
from behunt.netboot.lab import NO_CONSOLE, Machine
from behunt.runners.vm import consoles

_ANY = "any"
_QUIET = 1.0  # seconds without a byte, after which no more is waited for
_OLD = 5.0  # seconds at most in which a console shows what it has kept
_LAST_WORDS = 10.0  # the same of what follows a panic
_FASTEST = 1 << 18  # bytes per second; a serial port has less, and a flood is not ours to keep up


def deaths(os: str) -> list[Row]:
    """What a machine shows whose system, `os`, is dead.

    Nothing that its firmware shows, which may find nothing to boot and try again, or reset it once.
    """
    firmware = consoles.dialogue(_ANY, "death")
    return [row for row in consoles.deaths(os, reboots=True) if row not in firmware]


class Watch:
    """The console of `machine`, which shall boot the system `os`. Its transcript is at `path`.

    Whatever is wrong with it, a run goes on without: `trouble` says what it was. `death` is how the
    machine died, once it has said all of it.
    """

    def __init__(self, machine: Machine, os: str, path: Path) -> None:
        self.trouble = ""
        self.death: Reached | None = None
        self._machine, self._os, self._path = machine, os, path
        self._open = contextlib.ExitStack()
        self._console: Console | None = None
        self._left = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """While its power is still off."""
        if self._machine.console == NO_CONSOLE:
            return
        with self._forgiven("opened"):
            stream = self._open.enter_context(opened(self._machine))
            _forget(stream, self._path)
            transcript = self._open.enter_context(Transcript(self._path))
            self._console = Console(stream, transcript, deaths(self._os))

    def begin(self) -> None:
        """Its power is on."""
        if self._console is not None:
            self._thread = threading.Thread(target=self._follow, args=[self._console], daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._left.set()
        if self._thread is not None:
            self._thread.join()
        with self._forgiven("closed"):
            self._open.close()

    @property
    def screen(self) -> str:
        """The last lines that it showed."""
        return self._console.transcript.screen if self._console is not None else ""

    def said(self) -> bytes:
        """The transcript, once it is closed."""
        return self._path.read_bytes() if self._console is not None else b""

    def _follow(self, console: Console) -> None:
        with self._forgiven("followed"):
            while (end := console.end()) is None:
                if self._left.is_set():
                    return
                self._hear(console, _QUIET)
            if end.dead:
                until = time.monotonic() + _LAST_WORDS
                while self._hear(console, min(_QUIET, until - time.monotonic())):
                    pass
                self.death = end
            else:
                self.trouble = f"its console broke off after {end.seconds:.0f} s"

    def _hear(self, console: Console, patience: float) -> bytes:
        """What comes next, if anything comes within `patience` seconds."""
        with contextlib.suppress(TimeoutError):
            data = console.hear(time.monotonic() + patience)
            self._left.wait(len(data) / _FASTEST)
            return data
        return b""

    @contextlib.contextmanager
    def _forgiven(self, done: str) -> Iterator[None]:
        try:
            yield
        except (HostError, OSError) as error:
            why = error.message if isinstance(error, HostError) else error.strerror or str(error)
            self.trouble = f"its console could not be {done}: {why}"


def _forget(stream: Stream, path: Path) -> None:
    """What it shows first is of an earlier run: a BMC keeps it, and a panic is not this one's."""
    with Transcript(path) as scrap:
        console = Console(stream, scrap)
        until = time.monotonic() + _OLD
        with contextlib.suppress(TimeoutError):
            while not console.ended:
                console.hear(min(until, time.monotonic() + _QUIET))
