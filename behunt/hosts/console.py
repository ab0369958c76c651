"""The console of a machine: read what it shows, type what a dialogue answers.

pexpect opens terminals and brings bytes. What to look for is found in cleaned text and not with
its `expect`, which keeps all that it has not found and whose answer depends on the pieces.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import tty
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

import pexpect
from pexpect.fdpexpect import fdspawn

from behunt.errors import ConsoleError, HostError
from behunt.hosts import unix_sockets
from behunt.hosts.console_text import Cleaner
from behunt.hosts.dialogue import Row, Watched, Window
from behunt.hosts.pipes import wait_ready
from behunt.hosts.protocol import CLEAN_ENV
from behunt.hosts.sandbox import Sandbox
from behunt.hosts.spawner import Session
from behunt.hosts.transcript import Transcript

Stream: TypeAlias = "fdspawn[bytes] | pexpect.spawn[bytes]"

ENDED = "ended"  # the state where nothing comes any more
LOOPING = "looping"
_PIECE = 1 << 16
_ENTER = "\r"
_HERE = b"\x1b[24;80R"  # where the cursor is: resizewin(1) and systemd ask, and wait for it
_LONGEST = 1e6  # seconds
_LEAVE = 5.0  # seconds that a program has to take it


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a dialogue ended: the `reached` of a row, ENDED, or LOOPING.

    `dead`: no more is to be expected of the machine, which is panicked, unbootable, rebooted or
    looping. `said` is the line that told, `screen` what was on the screen, `seconds` the time on
    the transcript.
    """

    state: str
    said: str
    screen: str
    seconds: float
    dead: bool = False

    @property
    def reason(self) -> str:
        """For people: the state, and the last screen below."""
        return f"{self.state}: {self.said}\n{self.screen}".rstrip()


class Console:
    """A stream, its transcript, and the rows that mean that its machine is dead.

    Rows of `deaths` are seen in every dialogue, and counted over all of them. Deadlines are
    moments of time.monotonic().
    """

    def __init__(self, stream: Stream, transcript: Transcript, deaths: Iterable[Row] = ()) -> None:
        self.transcript = transcript
        self.ended = False
        self._stream = stream
        self._cleaner = Cleaner()
        self._window = Window()
        self._deaths = [Watched(row, 0) for row in deaths]
        os.set_blocking(stream.fileno(), False)

    def play(
        self, rows: Sequence[Row], deadline: float, answers: Mapping[str, str] | None = None
    ) -> Reached:
        """Answer what is asked until a state is reached, the machine dies or its console ends.

        What came before was for the dialogue before, up to the row that ended it. Raises
        ConsoleError with the last screen at the deadline.
        """
        watched = [Watched(row, self._window.position) for row in rows]
        self._cleaner.questions = 0  # while nobody played, it was not for us to answer
        while True:
            while (seen := self._window.first([*self._deaths, *watched])) is not None:
                if (state := self._follow(*seen, answers or {}, deadline)) is not None:
                    return state
            if self.ended:
                return self._reached(ENDED, "the console ended")
            try:
                self.hear(deadline)
            except TimeoutError:
                raise self._silence(rows) from None
            self._tell_cursor()

    def hear(self, deadline: float) -> bytes:
        """The next bytes, which are on the transcript then; none at the end.

        Raises TimeoutError at the deadline.
        """
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return self._read(min(left, _LONGEST))

    def hear_waiting(self) -> bytes:
        """The bytes that wait to be read, if any do."""
        try:
            return self._read(0)
        except TimeoutError:
            return b""

    def listen(self, deadline: float) -> None:
        """Only write the transcript, until the console ends or the deadline comes."""
        with contextlib.suppress(TimeoutError):
            while not self.ended:
                self.hear(deadline)

    def end(self) -> Reached | None:
        """How it ended, if it has: the machine is dead, or nothing comes any more."""
        while (seen := self._window.first(self._deaths)) is not None:
            if (state := self._follow(*seen, {}, 0)) is not None:
                return state
        return self._reached(ENDED, "the console ended") if self.ended else None

    def send(self, data: bytes, deadline: float) -> None:
        """Type. A machine that shows so much that it reads nothing is listened to meanwhile.

        Raises ConsoleError if it does not take it before the deadline.
        """
        while data and not self.ended:
            data = data[self.take(data) :]
            if not data:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise ConsoleError("the machine does not take what is typed", self._shown())
            wait_ready([self.fileno()], [self.fileno()], left)
            self.hear_waiting()

    def take(self, data: bytes) -> int:
        """How many of these bytes it takes at once."""
        try:
            return os.write(self.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError:  # it is gone: what it said before is still to be read, and then the end
            return len(data)

    def fileno(self) -> int:
        return self._stream.fileno()

    def close(self) -> None:
        """Close the stream, end the program that it belongs to, and the transcript."""
        try:
            self._stream.close()
        finally:
            self.transcript.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(
        self, seen: Watched, said: str, answers: Mapping[str, str], deadline: float
    ) -> Reached | None:
        """Do what a row says; what it has reached, if it has."""
        row, dead = seen.row, seen in self._deaths
        if not row.reached and seen.seen > row.times:
            return self._reached(LOOPING, f"asked {seen.seen} times: {said}", dead=True)
        if row.answer or row.send:
            self._type(row, answers, deadline)
        if row.reached and seen.seen >= row.times:
            return self._reached(row.reached, said, dead=dead)
        return None

    def _type(self, row: Row, answers: Mapping[str, str], deadline: float) -> None:
        if row.answer and row.answer not in answers:
            raise ConsoleError(f"the console asks for the {row.answer}", self._shown())
        # The name of an answer, never what it is: it may be a password.
        self.transcript.note(f"{row.name!r}: {row.answer or repr(row.send)}")
        text = answers[row.answer] + _ENTER if row.answer else row.send
        self.send(text.encode(), deadline)

    def _tell_cursor(self) -> None:
        asked, self._cleaner.questions = self._cleaner.questions, 0
        if asked:  # once: who floods the console with questions reads no answers
            self.take(_HERE)

    def _read(self, timeout: float) -> bytes:
        try:
            data: bytes = self._stream.read_nonblocking(_PIECE, timeout)
        except pexpect.TIMEOUT:
            raise TimeoutError from None
        except (pexpect.EOF, OSError):  # OSError: the other end was reset
            self.ended = True
            return b""
        text = self._cleaner.feed(data)
        self._window.add(text)
        self.transcript.add(text)
        return data

    def _reached(self, state: str, said: str, *, dead: bool = False) -> Reached:
        self.transcript.note(f"{state}: {said}")
        return Reached(state, said, self.transcript.screen, self.transcript.seconds, dead)

    def _silence(self, rows: Sequence[Row]) -> ConsoleError:
        wanted = " or ".join(repr(row.name) for row in rows if row.reached) or "its end"
        self.transcript.note(f"the deadline came before {wanted}")
        late = f"after {self.transcript.seconds:.0f} s"
        return ConsoleError(f"the console has not shown {wanted} {late}", self._shown())

    def _shown(self) -> str:
        screen = self.transcript.screen
        return f"the last it showed:\n{screen}" if screen else "it showed nothing"


def over(connected: socket.socket) -> Stream:
    """The stream of a socket that is connected; it is the stream's from now on."""
    return _descriptor(connected.detach())


def connected(address: Path | tuple[str, int], timeout: float = 10.0) -> Stream:
    """A Unix socket, or (host, port). Raises HostError."""
    try:
        if isinstance(address, tuple):
            return over(socket.create_connection(address, timeout))
        with socket.socket(socket.AF_UNIX) as unix:
            unix.settimeout(timeout)
            unix_sockets.connect(unix, address)
            return over(unix)
    except OSError as error:
        where = address if isinstance(address, Path) else "{}:{}".format(*address)
        why = error.strerror or "it does not answer"  # a timeout has no words
        raise HostError(f"cannot connect to the console {where}: {why}") from error


def device(path: Path) -> Stream:
    """A terminal device such as nmdm(4) or a serial port. Raises HostError."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise HostError(f"cannot open the console {path}: {error.strerror}") from error
    if os.isatty(fd):
        tty.setraw(fd)
    return _descriptor(fd)


def program(argv: Sequence[str], env: Mapping[str, str] | None = None) -> Stream:
    """A program such as cu(1) on a terminal of its own, 24 lines of 80. Raises HostError."""
    environment = {**os.environ, **env} if env else os.environ
    try:
        return pexpect.spawn(
            argv[0], list(argv[1:]), env=environment, dimensions=(24, 80), use_poll=True
        )
    except pexpect.ExceptionPexpect as error:
        raise HostError(f"cannot start {argv[0]}", str(error)) from error


@contextlib.contextmanager
def left_at_its_end(argv: Sequence[str], env: Mapping[str, str]) -> Iterator[Stream]:
    """A program on a terminal that reads the end of its input on leaving, and takes its leave then.

    The terminal does not control it: it would be killed by SIGHUP. It has CLEAN_ENV and `env`, and
    ends with behunt, however that does. Raises HostError.
    """
    ours, theirs = os.openpty()
    with contextlib.closing(_descriptor(ours)) as stream, Session(Sandbox()) as session:
        try:
            session.start(argv, env={**CLEAN_ENV, **env}, cwd="/", fds=[theirs] * 3)
        finally:
            os.close(theirs)
        try:
            yield stream
        finally:
            stream.close()
            wait_ready([session.fileno()], [], _LEAVE)


def _descriptor(fd: int) -> Stream:
    return fdspawn(fd, use_poll=True)  # select(2) ends at descriptor 1023
