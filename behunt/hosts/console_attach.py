"""Join the user's terminal to the console of a machine."""

from __future__ import annotations

import contextlib
import math
import os
import sys

from behunt.hosts.console import Console, Reached
from behunt.hosts.pipes import wait_ready
from behunt.hosts.terminal import raw

LEAVE = b"\x1d"  # Ctrl-]
_PIECE = 1 << 10
_TYPED_AHEAD = 1 << 12  # bytes; what is typed beyond is lost, as on any terminal


def attach(console: Console) -> Reached | None:
    """Show what the console shows and type what the user types, until Ctrl-] or its end.

    How it ended; None if the user has left. What is shown is on the console's transcript as well.
    Standard input that is no terminal is typed too, and its end is not the console's.
    """
    keyboard = sys.stdin.fileno()
    with raw(keyboard) if os.isatty(keyboard) else contextlib.nullcontext():
        return _joined(console, [keyboard])


def watch(console: Console) -> Reached | None:
    """Show what the console shows, until its end."""
    return _joined(console, [])


def _joined(console: Console, keyboard: list[int]) -> Reached | None:
    typed = b""  # and not yet taken: a machine that reads nothing stops neither screen nor Ctrl-]
    while (end := console.end()) is None:
        writing = [console.fileno()] if typed else []
        ready = wait_ready([console.fileno(), *keyboard], writing, math.inf)
        if keyboard and keyboard[0] in ready:
            keys, leave, _ = os.read(keyboard[0], _PIECE).partition(LEAVE)
            typed = (typed + keys)[:_TYPED_AHEAD]
            if leave:
                console.take(typed)
                return None
            if not keys:
                keyboard = []
        typed = typed[console.take(typed) :]
        _show(console.hear_waiting(), sys.stdout.fileno())
    return end


def _show(data: bytes, screen: int) -> None:
    while data:
        data = data[os.write(screen, data) :]
