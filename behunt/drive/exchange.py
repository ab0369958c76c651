"""The directory that a run shares with its inside, and what is kept of it.

What a test leaves there is not to be trusted: anything may lie under any name.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from behunt.drive.lab import Lab
from behunt.drive.reap import EXCHANGE
from behunt.hosts.confined import Confined
from behunt.hosts.protocol import Sink
from behunt.hosts.sandbox import Sandbox
from behunt.model import Release, Test
from behunt.storage.disk import disk_errors, remove
from behunt.suites import contract

_LOG_LIMIT = 64 << 20  # bytes kept of what one test prints
_METRICS_LIMIT = 1 << 20
_PATIENCE = 600.0  # seconds for cleaning what a test left, however much
_numbers = itertools.count()


@contextlib.contextmanager
def directories(lab: Lab, release: Release, test: Test) -> Iterator[tuple[Path, Path]]:
    """(what is kept of a run, what is shared with its inside). The latter is gone afterwards."""
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S")
    kept = lab.home.runs / f"{stamp}.{release.id}.{lab.owner.token}.{next(_numbers)}"
    exchange = kept / EXCHANGE
    try:
        with disk_errors(exchange):
            (exchange / contract.WORK).mkdir(parents=True)
            (exchange / contract.OUT).mkdir()
            for file in test.files:
                target = exchange / contract.WORK / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.path, target)
        yield kept, exchange
    finally:
        remove(exchange)


class Log:
    """Keeps the beginning of what a test prints, and passes all of it on."""

    def __init__(self, path: Path, file: BinaryIO, sink: Sink | None) -> None:
        self._path = path
        self._file = file
        self._sink = sink
        self._left = _LOG_LIMIT

    def take(self, data: bytes) -> None:
        if self._left > 0:
            with disk_errors(self._path):
                self._file.write(data[: self._left])
                self._left -= len(data)
                if self._left <= 0:
                    self._file.write(b"\n[behunt: the test printed more; it is left out]\n")
        if self._sink:
            self._sink(data)


@contextlib.contextmanager
def opened_log(path: Path, sink: Sink | None) -> Iterator[Log]:
    with disk_errors(path):
        file = path.open("wb", buffering=0)
    with file:
        yield Log(path, file, sink)


def metrics_text(exchange: Path) -> str:
    """What the test wrote to BEHUNT_METRICS; nothing if that is anything but a plain file."""
    try:
        fd = os.open(exchange / contract.METRICS, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        return os.read(fd, _METRICS_LIMIT).decode(errors="replace")
    finally:
        os.close(fd)


def kept_outputs(exchange: Path, target: Path) -> str:
    """Keep the plain files that the test left in BEHUNT_OUT; `target`, or nothing without any.

    Links, devices, sockets and set-uid bits stay behind.
    """
    source = exchange / contract.OUT
    if source.is_symlink() or not source.is_dir() or not any(source.iterdir()):
        return ""
    with disk_errors(target):
        source.rename(target)
    owner = f"{os.geteuid()}:{os.getegid()}"
    # Programs, since a test can nest directories deeper than Python follows.
    with Confined(Sandbox(), "cleaner") as here:
        for argv in (
            ("chmod", "-R", "u+rwX,go-w,a-st", str(target)),
            ("find", str(target), "!", "-type", "f", "!", "-type", "d", "-delete"),
            ("chown", "-hR", owner, str(target)),
        ):
            here.run(argv, timeout=_PATIENCE, check=True)
    return str(target) if any(target.iterdir()) else ""
