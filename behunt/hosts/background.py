"""Go on in the background, once all that can fail has been done before the user's eyes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

_READY = b"."


@dataclass(frozen=True, slots=True)
class Parted:
    """After a fork: `ready` in the process that goes on, `code` in the one that waited for it.

    `ready` leaves the terminal; until then the process belongs to it, and to its Ctrl-C. `code`
    is 0 once it was called, else the exit status of the process, which has ended.
    """

    ready: Callable[[], None] | None
    code: int = 0


def part() -> Parted:
    """Fork. For a process with one thread, and nothing open that two could not use."""
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        return Parted(lambda: _leave(told))
    os.close(told)
    try:
        if os.read(heard, 1) == _READY:
            return Parted(None)
        return Parted(None, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    finally:
        os.close(heard)


def _leave(told: int) -> None:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.close(nothing)
    os.write(told, _READY)
    os.close(told)
