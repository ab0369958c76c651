"""Lend the user's terminal to a command in a sandbox."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import signal
import struct
import sys
import termios
import tty
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from behunt.errors import HostError
from behunt.hosts.confined import Confined
from behunt.hosts.protocol import CLEAN_ENV

# include/uapi/asm-generic/ioctls.h: unlock a master's other end, and open it
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441
_PIECE = 1 << 10
_END = b"\x04"  # Ctrl-D


@runtime_checkable
class Lender(Protocol):
    """A host that can lend our terminal to a command on another machine."""

    def attach(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str = "/") -> int:
        """Run `argv` on a terminal of its own, joined to ours. Its exit code."""
        ...


def attach(inside: Confined, argv: Sequence[str], *, env: Mapping[str, str], cwd: str) -> int:
    """Run `argv` on a terminal of its own, joined to ours, until it ends. Its exit code.

    Without a terminal of ours it gets all of our standard input, and no terminal either.
    """
    whole = {**CLEAN_ENV, "TERM": os.environ.get("TERM", "vt100"), **env}
    if not sys.stdin.isatty():
        return _piped(inside, argv, whole, cwd)
    ours, theirs = _terminal(inside)
    # Theirs stays open: the last one to close it would end the terminal before the command.
    with os.fdopen(ours, "rb", buffering=0), os.fdopen(theirs, "rb", buffering=0):
        os.set_blocking(ours, False)
        _copy_size(ours)
        inside.session.start(argv, env=whole, cwd=cwd, tty=theirs)
        with raw(sys.stdin.fileno()), _following_size(ours):
            _relay(ours, inside.session.fileno())
        return inside.session.wait()


def _piped(inside: Confined, argv: Sequence[str], env: Mapping[str, str], cwd: str) -> int:
    given = sys.stdin.buffer.read()
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as screen:
        done = inside.session.run(
            argv, env=env, cwd=cwd, stdin=given, timeout=math.inf, sink=screen.write
        )
    if not done.started:
        raise HostError(done.failure)
    return done.code


def _terminal(inside: Confined) -> tuple[int, int]:
    """Both ends of a terminal that has a name in the sandbox's own /dev/pts, if it has one."""
    if "mount" not in inside.session.sandbox.namespaces:
        return os.openpty()
    ours = inside.session.open_file("/dev/pts/ptmx", os.O_RDWR)
    fcntl.ioctl(ours, _TIOCSPTLCK, struct.pack("i", 0))
    return ours, fcntl.ioctl(ours, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def _relay(terminal: int, ended: int) -> None:
    """Copy both ways until the command has ended and all that it showed is shown."""
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    typed = b""  # and not yet taken: a command that reads nothing must not stop the screen
    reading = [keyboard, terminal, ended]
    while True:
        listening = [fd for fd in reading if fd != keyboard or not typed]
        ready, _, _ = select.select(listening, [terminal] if typed else [], [])
        if keyboard in ready:
            typed = os.read(keyboard, _PIECE)
            if not typed:  # our terminal was hung up
                reading.remove(keyboard)
                typed = _END
        typed = typed[_written(terminal, typed) :]
        if terminal in ready:
            _show(terminal, screen)
        if ended in ready:
            _show(terminal, screen)
            return


def _written(terminal: int, typed: bytes) -> int:
    try:
        return os.write(terminal, typed) if typed else 0
    except BlockingIOError:
        return 0


def _show(terminal: int, screen: int) -> None:
    with contextlib.suppress(OSError):  # EAGAIN: all is shown; EIO: the terminal was hung up
        for _ in range(64):  # what a daemon goes on writing is not waited for
            shown = memoryview(os.read(terminal, 1 << 16))
            while shown:
                shown = shown[os.write(screen, shown) :]


@contextlib.contextmanager
def raw(keyboard: int) -> Iterator[None]:
    """The terminal `keyboard` passes on every key, and is as it was afterwards."""
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
