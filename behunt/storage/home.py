"""The state directory, and who is using which part of it.

be/         boot environments of the overlay store
cache/      archives of installed roots, downloads by digest
clones/     writable layers of clones that are not kept in memory
runs/       logs and outputs, a directory per trial
sessions/   what a hunt was asked: the user's test, as it was
locks/      one file per running behunt, one per boot environment
mounts/     where datasets of a ZFS store are mounted
serving/    files of the servers that machines boot from, a directory per behunt
stage/      empty; each sandbox mounts here, in a mount namespace of its own
results.db
id          what tells this home from others that use the same pool
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from behunt.errors import HostError


@dataclass(frozen=True, slots=True)
class Home:
    """`$BEHUNT_HOME`: every path of behunt's state is a property here."""

    path: Path

    @property
    def boot_environments(self) -> Path:
        return self.path / "be"

    @property
    def archives(self) -> Path:
        return self.path / "cache" / "installed"

    @property
    def kernels(self) -> Path:
        return self.path / "cache" / "uml"

    @property
    def machines(self) -> Path:
        return self.path / "cache" / "machines"

    @property
    def downloads(self) -> Path:
        return self.path / "cache" / "downloads"

    @property
    def clones(self) -> Path:
        return self.path / "clones"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def sessions(self) -> Path:
        return self.path / "sessions"

    @property
    def locks(self) -> Path:
        return self.path / "locks"

    @property
    def stage(self) -> Path:
        return self.path / "stage"

    @property
    def mounts(self) -> Path:
        return self.path / "mounts"

    @property
    def serving(self) -> Path:
        return self.path / "serving"

    @property
    def results(self) -> Path:
        return self.path / "results.db"

    @property
    def id(self) -> str:
        """Six hexadecimal digits, made when they are first asked for. Raises HostError."""
        file = self.path / "id"
        try:
            if not file.exists():
                _place(file, secrets.token_hex(3))
            return file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise HostError(f"cannot use {file}: {error.strerror}") from error

    def make(self) -> Self:
        """Create what is missing. Only its owner may enter: roots in it hold set-uid programs."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for directory in (
                self.boot_environments,
                self.archives,
                self.kernels,
                self.machines,
                self.downloads,
                self.clones,
                self.runs,
                self.sessions,
                self.locks,
                self.stage,
                self.mounts,
                self.serving,
            ):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(
                f"cannot use {self.path} as behunt's home: {error.strerror}",
                "set BEHUNT_HOME to a directory you can write to",
            ) from error
        return self


def _place(file: Path, text: str) -> None:
    """Make `file` at once and whole, unless another behunt was faster."""
    own = file.with_name(f".{file.name}.{secrets.token_hex(3)}")
    own.write_text(f"{text}\n", encoding="ascii")
    try:
        with contextlib.suppress(FileExistsError):
            file.hardlink_to(own)
    finally:
        own.unlink()


_TOKEN = re.compile(r"(?<![^.-])\d+x[0-9a-f]{6}(?![^.-])")


def token_in(name: str) -> str:
    """The token of the owner that `name` (of a file, a group) ends with; empty if it has none."""
    found = _TOKEN.findall(name)
    return found[-1] if found else ""


class Owner:
    """This process, as others in the same home see it: alive as long as its lock is held."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.token = f"{os.getpid()}x{secrets.token_hex(3)}"
        with registry(home):
            self._file = _locked(_owner_file(home, self.token), fcntl.LOCK_EX)

    def close(self) -> None:
        _owner_file(self.home, self.token).unlink(missing_ok=True)
        os.close(self._file)


def is_alive(home: Home, token: str) -> bool:
    """Whether the behunt that took `token` still runs: its lock goes with its process."""
    try:
        fd = os.open(_owner_file(home, token), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def forget_dead_owners(home: Home) -> None:
    """Remove the lock files of killed behunts; once all that was theirs is reaped."""
    with registry(home):
        for path in home.locks.glob("owner.*"):
            if not is_alive(home, path.name.removeprefix("owner.")):
                path.unlink(missing_ok=True)


def _owner_file(home: Home, token: str) -> Path:
    return home.locks / f"owner.{token}"


@contextlib.contextmanager
def registry(home: Home) -> Iterator[None]:
    """Keep owners from appearing while others are told dead from alive."""
    with exclusive(home, "registry", wait=True):
        yield


class InUseError(HostError):
    """Another behunt holds what is wanted."""


@contextlib.contextmanager
def exclusive(home: Home, name: str, *, wait: bool = False) -> Iterator[None]:
    """Hold `name` alone. Without `wait` raises InUseError while anybody else uses it."""
    with _holding(home, name, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)):
        yield


@contextlib.contextmanager
def shared(home: Home, name: str) -> Iterator[None]:
    """Use `name` beside others; waits while one holds it alone."""
    with _holding(home, name, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def _holding(home: Home, name: str, operation: int) -> Iterator[None]:
    fd = _locked(home.locks / name, operation)
    try:
        yield
    finally:
        os.close(fd)


def _locked(path: Path, operation: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, operation)
    except BlockingIOError as error:
        os.close(fd)
        raise InUseError(
            f"{path.name} is in use by another behunt",
            "wait for it to end, or give this one a home of its own with BEHUNT_HOME",
        ) from error
    return fd
