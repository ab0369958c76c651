"""The inside of a sandbox on this machine, as a Host.

Namespaces, a chroot, or nothing but a process tree that dies as a whole.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Self

from behunt.errors import HostError
from behunt.hosts.protocol import CLEAN_ENV, Completed, Sink, checked
from behunt.hosts.sandbox import Sandbox, by_hand
from behunt.hosts.spawner import Session


class Confined:
    """A Host whose commands share one sandbox until it is left (use it in a `with`)."""

    def __init__(self, sandbox: Sandbox, name: str = "namespace") -> None:
        self.name = name
        self.session = Session(sandbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: bytes = b"",
        timeout: float = 60.0,
        check: bool = False,
        sink: Sink | None = None,
    ) -> Completed:
        whole = {**CLEAN_ENV, **(env or {})}
        done = self.session.run(argv, env=whole, cwd=cwd, stdin=stdin, timeout=timeout, sink=sink)
        return checked(done) if check else done

    def put(self, source: Path, target: PurePosixPath) -> None:
        mode = stat.S_IMODE(source.stat().st_mode)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with self._open(target, flags, mode) as inside, source.open("rb") as content:
            _copy(content.fileno(), inside.fileno())

    def get(self, source: PurePosixPath, target: Path) -> None:
        with self._open(source, os.O_RDONLY) as inside, target.open("wb") as content:
            _copy(inside.fileno(), content.fileno())
            os.fchmod(content.fileno(), stat.S_IMODE(os.fstat(inside.fileno()).st_mode))

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return shlex.split(by_hand(self.session.sandbox, argv))

    def _open(self, path: PurePosixPath, flags: int, mode: int | None = None) -> _RegularFile:
        try:
            return _RegularFile(self.session.open_file(str(path), flags, mode), path)
        except OSError as error:
            raise HostError(f"cannot open {path} in the {self.name}: {error.strerror}") from error


class _RegularFile:
    """A descriptor that is known to be a plain file: what lies inside is not to be trusted."""

    def __init__(self, fd: int, path: PurePosixPath) -> None:
        self._file = os.fdopen(fd, "rb", closefd=True, buffering=0)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            self._file.close()
            raise HostError(f"{path} is not a regular file", "leave plain files to be fetched")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def fileno(self) -> int:
        return self._file.fileno()


def _copy(source: int, target: int) -> None:
    while data := os.read(source, 1 << 18):
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
