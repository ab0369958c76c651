"""Lend the user's terminal to a command in a sandbox."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import sys
import termios
import tty
from collections.abc import Iterator, Mapping, Sequence

from behunt.hosts.confined import Confined
from behunt.hosts.protocol import CLEAN_ENV


def attach(inside: Confined, argv: Sequence[str], *, env: Mapping[str, str], cwd: str) -> int:
    """Run `argv` on a terminal of its own, joined to ours, until it ends. Its exit code."""
    ours, theirs = os.openpty()
    try:
        _copy_size(ours)
        whole = {**CLEAN_ENV, "TERM": os.environ.get("TERM", "vt100"), **env}
        inside.session.start(argv, env=whole, cwd=cwd, tty=theirs)
        os.close(theirs)
        theirs = -1
        with _raw(sys.stdin.fileno()), _following_size(ours):
            _relay(ours, inside.session.fileno())
        return inside.session.wait()
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)


def _relay(terminal: int, ended: int) -> None:
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    sources = [keyboard, terminal, ended]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if keyboard in ready:
            typed = os.read(keyboard, 1 << 10)
            if not typed:  # end of input: what is piped in was all
                sources.remove(keyboard)
                typed = b"\x04"
            os.write(terminal, typed)
        if terminal in ready and (shown := _read(terminal)):
            os.write(screen, shown)
            continue  # show everything before the end is noticed
        if ended in ready:
            return


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # EIO: the last one that had it open is gone
        return b""


@contextlib.contextmanager
def _raw(keyboard: int) -> Iterator[None]:
    if not os.isatty(keyboard):
        yield
        return
    before = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard)
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSAFLUSH, before)


@contextlib.contextmanager
def _following_size(terminal: int) -> Iterator[None]:
    before = signal.signal(signal.SIGWINCH, lambda *_: _copy_size(terminal))
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _copy_size(terminal: int) -> None:
    size = struct.pack("HHHH", 24, 80, 0, 0)
    with contextlib.suppress(OSError):
        size = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, size)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
