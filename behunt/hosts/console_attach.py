"""Join the user's terminal to the console of a machine."""

from __future__ import annotations

import contextlib
import math
import os
import sys

from behunt.hosts.console import Console
from behunt.hosts.pipes import wait_ready
from behunt.hosts.terminal import raw

LEAVE = b"\x1d"  # Ctrl-]
_PIECE = 1 << 10
_TYPED_AHEAD = 1 << 12  # bytes; what is typed beyond is lost, as on any terminal


def attach(console: Console) -> bool:
    """Show what the console shows and type what the user types, until Ctrl-] or its end.

    Whether the user has left. What is shown is on the console's transcript as well. Standard
    input that is no terminal is typed too, and its end is not the console's.
    """
    keyboard = sys.stdin.fileno()
    with raw(keyboard) if os.isatty(keyboard) else contextlib.nullcontext():
        return _joined(console, keyboard, sys.stdout.fileno())


def _joined(console: Console, keyboard: int, screen: int) -> bool:
    typed = b""  # and not yet taken: a machine that reads nothing stops neither screen nor Ctrl-]
    listening = [keyboard]
    while not console.ended:
        writing = [console.fileno()] if typed else []
        ready = wait_ready([console.fileno(), *listening], writing, math.inf)
        if keyboard in ready:
            keys, leave, _ = os.read(keyboard, _PIECE).partition(LEAVE)
            typed = (typed + keys)[:_TYPED_AHEAD]
            if leave:
                console.take(typed)
                return True
            if not keys:
                listening = []
        typed = typed[console.take(typed) :]
        _show(console.hear_waiting(), screen)
    return False


def _show(data: bytes, screen: int) -> None:
    while data:
        data = data[os.write(screen, data) :]
