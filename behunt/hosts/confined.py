"""The inside of a sandbox on this machine, as a Host.

Namespaces, a chroot, or nothing but a process tree that dies as a whole.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Self

from behunt.errors import HostError
from behunt.hosts.protocol import CLEAN_ENV, Completed, Sink, Stdin, checked
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
        stdin: Stdin = b"",
        timeout: float = 60.0,
        check: bool = False,
        sink: Sink | None = None,
    ) -> Completed:
        whole = {**CLEAN_ENV, **(env or {})}
        done = self.session.run(argv, env=whole, cwd=cwd, stdin=stdin, timeout=timeout, sink=sink)
        return checked(done) if check else done

    def put(self, source: Path, target: PurePosixPath) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with copying(source, target), source.open("rb") as content:
            mode = stat.S_IMODE(os.fstat(content.fileno()).st_mode)
            with self._regular(target, flags, mode) as inside:
                _copy(content.fileno(), inside)
                os.fchmod(inside, mode)

    def get(self, source: PurePosixPath, target: Path) -> None:
        with (
            copying(source, target),
            self._regular(source, os.O_RDONLY) as inside,
            target.open("wb") as content,
        ):
            _copy(inside, content.fileno())
            os.fchmod(content.fileno(), stat.S_IMODE(os.fstat(inside).st_mode))

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return shlex.split(by_hand(self.session.sandbox, argv))

    @contextlib.contextmanager
    def _regular(self, path: PurePosixPath, flags: int, mode: int = 0) -> Iterator[int]:
        """`path` inside, if it is a plain file: what lies there is not to be trusted."""
        fd = self.session.open_file(str(path), flags, mode)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise HostError(f"{path} is not a regular file in the {self.name}")
            yield fd
        finally:
            os.close(fd)


@contextlib.contextmanager
def copying(source: PurePath, target: PurePath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostError(f"cannot copy {source} to {target}: {error.strerror}") from error


def _copy(source: int, target: int) -> None:
    while data := os.read(source, 1 << 18):
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
