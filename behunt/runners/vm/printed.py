"""What a test prints, where it shares a serial port with the kernel and the job."""

from __future__ import annotations

import re

from behunt.hosts.protocol import Sink
from behunt.runners.vm.job import MARK

_STARTED = re.compile(rf"{MARK} (\w+) started\r*\n".encode())
_LONGEST = 64  # bytes of that line


class Printed:
    """A sink for the console: passes on what lies between the job's `started` and its `exit`.

    The kernel may speak in between. Whatever looks like the beginning of the end is held back
    until more has come, or `close`.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held = b""
        self._end = b""  # once it has started
        self._over = False

    def __call__(self, data: bytes) -> None:
        if self._over:
            return
        self._held += data
        if not self._end:
            self._look()
        if self._end:
            self._pass_on()

    def close(self) -> None:
        if self._end and not self._over and self._held:
            self._sink(self._held)
        self._over = True

    def _look(self) -> None:
        if found := _STARTED.search(self._held):
            self._end = f"{MARK} ".encode() + found[1] + b" exit "
            self._held = self._held[found.end() :]
        else:
            self._held = self._held[-_LONGEST:]

    def _pass_on(self) -> None:
        printed, end, _ = self._held.partition(self._end)
        keep = 0 if end else _begun(printed, self._end)
        self._held = printed[len(printed) - keep :]
        if printed := printed[: len(printed) - keep]:
            self._sink(printed)
        self._over = bool(end)


def _begun(text: bytes, mark: bytes) -> int:
    """How many bytes at the end of `text` may be the beginning of `mark`."""
    return next((n for n in range(len(mark) - 1, 0, -1) if text.endswith(mark[:n])), 0)
