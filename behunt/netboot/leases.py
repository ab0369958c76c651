"""Which machines of a lab are in use: no two runs of a home ever share one.

A lease is a lock on a file, which the kernel takes back from a process that dies. What the file
says is whether its machine was let go of: one that a killed behunt has left on is known by it.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from behunt.errors import HostError
from behunt.netboot.lab import Machine

_ON = "on\n"


@contextlib.contextmanager
def leased(locks: Path, machines: list[Machine]) -> Iterator[tuple[Machine, bool]]:
    """One of these that nobody has, and whether its last user died. HostError if all are taken."""
    for machine in machines:
        with _file(locks, machine).open("a+", encoding="ascii") as file:
            if not taken(file):
                continue
            file.seek(0)
            abandoned = file.read() == _ON
            _write(file, _ON)
            try:
                yield machine, abandoned
            finally:
                _write(file, "")
            return
    names = ", ".join(machine.name for machine in machines)
    raise HostError(f"in use: {names}", "wait for the run, or name another with --machine")


def in_use(locks: Path, machine: Machine) -> bool:
    try:
        with _file(locks, machine).open("r+", encoding="ascii") as file:
            return not taken(file)
    except FileNotFoundError:
        return False


def _file(locks: Path, machine: Machine) -> Path:
    return locks / f"machine.{machine.mac.replace(':', '')}"


def taken(file: IO[str]) -> bool:
    """Whether the lock on it is ours now, until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(file: IO[str], text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()
