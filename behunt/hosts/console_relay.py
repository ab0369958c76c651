"""The console of a machine that runs on another host, brought here as a stream."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence
from pathlib import PurePosixPath

from behunt.errors import HostError
from behunt.hosts.console import Stream, over
from behunt.hosts.protocol import Completed, Host, Sink

_LASTING = 30 * 86400.0  # seconds; whoever plays the console has deadlines
_GRACE = 30.0  # seconds
_PIECE = 1 << 10  # bytes typed at once
_TYPE = 'printf %s "$1" >"$2"'


class Relay:
    """A command on `host` that prints a console, and reads what is typed from the FIFO `keys`.

    `stream` is for a Console, and ends with the command. What is printed goes to `copy` as well.
    Closing the Console ends the command with the next thing that it prints.
    """

    def __init__(
        self, host: Host, argv: Sequence[str], keys: PurePosixPath, copy: Sink | None = None
    ) -> None:
        self._host, self._argv, self._keys, self._copy = host, argv, keys, copy
        self._ours, theirs = socket.socketpair()
        self.stream: Stream = over(theirs)
        self._done: Completed | None = None
        self._error: Exception | None = None
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._typing = threading.Thread(target=self._type, daemon=True)
        for thread in (self._listening, self._typing):
            thread.start()

    def wait(self, timeout: float) -> Completed | None:
        """How the command has ended; None if it still runs then. Raises what kept it from it."""
        self._listening.join(timeout)
        if self._error is not None:
            raise self._error
        return self._done

    def close(self) -> None:
        """Let go of it: it has ended, or its host lets it neither go on nor end."""
        self._listening.join(_GRACE)
        with contextlib.suppress(OSError):  # it has ended
            self._ours.shutdown(socket.SHUT_RDWR)
        self._typing.join(_GRACE)
        self._ours.close()

    def _listen(self) -> None:
        try:
            self._done = self._host.run(self._argv, timeout=_LASTING, sink=self._take)
        except Exception as error:  # noqa: BLE001 - told by wait()
            self._error = error
        with contextlib.suppress(OSError):  # the other end is closed
            self._ours.shutdown(socket.SHUT_RDWR)

    def _take(self, data: bytes) -> None:
        if self._copy:
            self._copy(data)
        self._ours.sendall(data)

    def _type(self) -> None:
        while keys := self._ours.recv(_PIECE):
            words = ["sh", "-c", _TYPE, "sh", keys.decode("utf-8", "replace"), str(self._keys)]
            with contextlib.suppress(HostError):  # it is gone, and so is its console
                self._host.run(words)
