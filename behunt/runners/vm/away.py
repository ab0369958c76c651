"""A machine that a hypervisor of another host runs, with a directory of its own there.

A command there prints its console, and reads what is typed from a FIFO. Machine and directory
have one name, which tells whose they are (jail_args.py). The exchange disk is sent and fetched.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, Self

from behunt.hosts.console import Console
from behunt.hosts.console_relay import Relay
from behunt.hosts.dialogue import Row
from behunt.hosts.protocol import Host, Sink
from behunt.hosts.transcript import Transcript
from behunt.runners.remote import leaving
from behunt.runners.vm.printed import Printed
from behunt.storage.disk import disk_errors

PLACES = PurePosixPath("/var/tmp")  # noqa: S108 - what is there already is never used
ROOT = ".root"
_COPY = 3600.0  # seconds
_GRACE = 30.0  # seconds until what was killed is dead
_PIECE = 1 << 20
# What is mounted there is not ours to remove.
_REMOVE = 'rm -rf "$1" && { test ! -d "$2" || rmdir "$2" 2>/dev/null || :; }'
_MAKE = 'umask 077 && mkdir "$1" && mkfifo "$2"'
# dd(1) has a file end where it is to begin to write, if that is beyond its end too.
_LENGTHEN = 'dd if=/dev/null of="$1" bs=1048576 seek="$2" 2>/dev/null'


@dataclass(frozen=True, slots=True)
class Launch:
    """How a machine is run there.

    `start` is a command that ends with it, prints its console and has the FIFO `keys` for its
    keyboard; `ended` says what its exit status means, as Power.ended does. `stop` ends the
    machine, in whatever state, and may be repeated.
    """

    name: str
    hypervisor: str
    start: Sequence[str]
    stop: Sequence[str]
    ended: Callable[[int], str]


def place_of(name: str) -> PurePosixPath:
    """The directory of a machine."""
    return PLACES / name


def root_of(place: PurePosixPath) -> PurePosixPath:
    """Where a file system is mounted for a machine, outside of its directory."""
    return place.with_name(place.name + ROOT)


def keys_of(name: str) -> PurePosixPath:
    return place_of(name) / "keys"


def exchange_of(name: str) -> PurePosixPath:
    return place_of(name) / "exchange"


class Exchange(Protocol):
    """How an exchange disk gets to a machine, and what came of it back. Both raise HostError."""

    def send(self, disk: Path) -> None: ...

    def fetch(self, disk: Path) -> None: ...


class Away:
    """`disk` is an exchange disk made here: it goes there, and is what came back after `end`.

    It is the file exchange_of() there, unless `exchange` is another way. `sink` takes what the
    test prints. All of it is gone on leaving.
    """

    resumed = False

    def __init__(
        self,
        host: Host,
        launch: Launch,
        disk: Path,
        transcript: Transcript,
        *,
        deaths: Iterable[Row] = (),
        sink: Sink | None = None,
        exchange: Exchange | None = None,
    ) -> None:
        self._host, self._launch, self._disk = host, launch, disk
        self._exchange = exchange or OnDisk(host, exchange_of(launch.name))
        self._printed = Printed(sink) if sink else None
        place, keys = place_of(launch.name), keys_of(launch.name)
        try:
            host.run(["sh", "-c", _MAKE, "sh", str(place), str(keys)], check=True)
            self._exchange.send(disk)
        except BaseException:
            transcript.close()
            remove(host, launch.name, launch.stop)
            raise
        self._relay = Relay(host, launch.start, keys, self._printed)
        self.console = Console(self._relay.stream, transcript, deaths)
        self.monitor = _Power(self._relay, launch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._stop()
        finally:
            self.console.close()
            self._relay.close()
            remove(self._host, self._launch.name, self._launch.stop)

    def end(self) -> None:
        """Cut the power, and fetch the disk. Raises HostError, and what the sink raised."""
        self._stop()
        self._relay.wait(_GRACE)
        if self._printed:
            self._printed.close()
        self._exchange.fetch(self._disk)

    def _stop(self) -> None:
        """Dead, and its console read to the end."""
        if not self.console.ended:
            _stop(self._host, self._launch.name, self._launch.stop)
            self.console.listen(time.monotonic() + _GRACE)


@dataclass(frozen=True, slots=True)
class _Power:
    relay: Relay
    launch: Launch

    @property
    def hypervisor(self) -> str:
        return self.launch.hypervisor

    def go_on(self) -> None:
        """It runs from the start."""

    def status(self) -> str:
        return "running"

    def ended(self, timeout: float) -> str | None:
        done = self.relay.wait(timeout)
        return self.launch.ended(done.code) if done else None


def remove(host: Host, name: str, stop: Sequence[str]) -> None:
    """End a machine, and remove its directory. Raises HostError."""
    _stop(host, name, stop)
    place, root = str(place_of(name)), str(root_of(place_of(name)))
    leaving(
        host,
        ["sh", "-c", _REMOVE, "sh", place, root],
        f"remove {place}",
        "look at what holds it there",
    )


def _stop(host: Host, name: str, stop: Sequence[str]) -> None:
    leaving(host, stop, f"end the machine {name}", "docs/vm-hosts.md says how to, by hand")


@dataclass(frozen=True, slots=True)
class OnDisk:
    """An exchange disk that is the file `there` on `host`."""

    host: Host
    there: PurePosixPath

    def send(self, disk: Path) -> None:
        """Copy a sparse image, of whole MiB. `disk` loses the hole that it ends with."""
        size = trimmed(disk)
        self.host.put(disk, self.there)
        lengthen = ["sh", "-c", _LENGTHEN, "sh", str(self.there), str(size // _PIECE)]
        self.host.run(lengthen, check=True)

    def fetch(self, disk: Path) -> None:
        """Copy it to a sparse one here; most of it is zeros, and so it comes compressed."""
        gunzip = zlib.decompressobj(wbits=31)  # with the header of gzip

        with disk_errors(disk), disk.open("wb") as file:

            def take(data: bytes) -> None:
                while data:
                    piece = gunzip.decompress(data, _PIECE)
                    data = gunzip.unconsumed_tail
                    if piece.strip(b"\0"):
                        file.write(piece)
                    else:
                        file.seek(len(piece), os.SEEK_CUR)

            compress = ["gzip", "-1c", str(self.there)]
            self.host.run(compress, timeout=_COPY, sink=take, check=True)
            file.truncate(file.tell())


def trimmed(disk: Path) -> int:
    """Cut off the hole that `disk` ends with; its size before, in bytes."""
    with disk.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        file.truncate(os.lseek(file.fileno(), 0, os.SEEK_HOLE))
    return size
