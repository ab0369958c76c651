"""The files of a clone that a machine has as its root, got at by descriptors alone.

None of the clone's programs is run: they may be those of another system. What lies in there is
hostile, while the machine runs and afterwards. No link is followed, and what is no plain file is
never opened: a FIFO would keep us, and the mere open of a device may do something.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from behunt.errors import HostError
from behunt.hosts.confined import Confined
from behunt.runners.protocol import AT
from behunt.storage.disk import disk_errors, remove

MOST = 1 << 30  # bytes that a run may bring back
_LONGEST = 1000  # bytes of a path; what lies deeper stays behind
_ENTRY = 512  # bytes that a name counts for
_PIECE = 1 << 20  # bytes read at once
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Tree:
    """The root of `inside`, until it is left. Not for two threads at once."""

    def __init__(self, inside: Confined) -> None:
        self._root = inside.session.open_file("/", _DIRECTORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    def lay(self, files: Mapping[str, str], mode: int = 0o644) -> None:
        """Put these files, by paths from the root, where others may be. Raises HostError."""
        for path, text in files.items():
            *above, name = path.split("/")
            try:
                with self._made(above) as directory:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=directory)
                    _write(directory, name, io.BytesIO(text.encode()), mode)
            except OSError as error:
                raise HostError(
                    f"cannot write /{path} into the clone: {error.strerror}",
                    "a link or a directory may be in its place: look with `behunt be enter`",
                ) from error

    def send(self, exchange: Path) -> None:
        """Copy what is in `exchange`, files and directories of ours, to AT. Raises HostError."""
        try:
            os.mkdir(AT.name, 0o755, dir_fd=self._root)
        except FileExistsError as error:
            raise HostError(
                f"there is something at {AT} in the clone already",
                f"nothing may be at {AT} in a boot environment: behunt puts the test there",
            ) from error
        with disk_errors(exchange):
            for source in sorted(exchange.rglob("*")):
                *above, name = AT.name, *source.relative_to(exchange).parts
                mode = stat.S_IMODE(source.stat().st_mode)
                with self._at(above) as directory:
                    if source.is_dir():
                        os.mkdir(name, mode, dir_fd=directory)
                        continue
                    with source.open("rb") as content:
                        _write(directory, name, content, mode)

    def read(self, name: str, offset: int = 0, most: int = _PIECE) -> bytes:
        """What is in the plain file AT/`name` from `offset` on; nothing where there is none."""
        if (fd := self._opened([name])) is None:
            return b""
        with os.fdopen(fd, "rb"):
            return os.pread(fd, most, offset)

    def fetch(self, exchange: Path, leaving: Collection[str] = (), most: int = MOST) -> None:
        """Replace what is in `exchange` by the plain files and directories at AT, and forget AT.

        Set-id bits stay behind, and the files `leaving`. HostError for more than `most` bytes: a
        file with a hole of a terabyte takes none on the disk.
        """
        for old in exchange.iterdir():
            remove(old)
        left = most
        with disk_errors(exchange):
            for parts, mode in self._walked():
                left -= _ENTRY
                if stat.S_ISDIR(mode):
                    exchange.joinpath(*parts).mkdir()
                elif stat.S_ISREG(mode) and "/".join(parts) not in leaving:
                    left -= self._copied(parts, exchange, left)
                if left < 0:
                    raise HostError(
                        f"the test left more than {most >> 20} MiB in {AT}",
                        "let it keep only what is worth keeping in $BEHUNT_OUT",
                    )
        self._forget()

    def _walked(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """All below AT with its mode, directories before what is in them."""
        pending: list[tuple[str, ...]] = [()]
        while pending:
            above = pending.pop()
            for name, mode in self._listed(above):
                parts = (*above, name)
                if len(os.fsencode("/".join(parts))) <= _LONGEST:
                    yield parts, mode
                    if stat.S_ISDIR(mode):
                        pending.append(parts)

    def _listed(self, above: Sequence[str]) -> Iterator[tuple[str, int]]:
        """What is in a directory of AT, with its mode; nothing of what is gone meanwhile."""
        with (
            contextlib.suppress(OSError),
            self._at([AT.name, *above]) as directory,
            os.scandir(directory) as entries,
        ):
            for entry in entries:
                with contextlib.suppress(OSError):
                    yield entry.name, entry.stat(follow_symlinks=False).st_mode

    def _copied(self, parts: Sequence[str], exchange: Path, most: int) -> int:
        """Bytes of a file of AT that are copied: one more than `most` at most."""
        if (source := self._opened(parts)) is None:
            return 0
        with os.fdopen(source, "rb", buffering=0) as file:
            mode = os.fstat(source).st_mode & 0o777 | 0o600
            target = os.open(exchange.joinpath(*parts), _NEW, 0o600)
            with os.fdopen(target, "wb", buffering=0) as copy:
                os.fchmod(target, mode)
                done = 0
                while done <= most and (data := file.read(min(_PIECE, most + 1 - done))):
                    copy.write(data)
                    done += len(data)
        return done

    def _opened(self, parts: Sequence[str]) -> int | None:
        """A plain file of AT, to read; None where there is none, or no more."""
        with contextlib.suppress(OSError), self._at([AT.name, *parts[:-1]]) as directory:
            return _plain(directory, parts[-1])
        return None

    def _forget(self) -> None:
        """Another run may come into the same clone; it is not worth while to remove anything."""
        with contextlib.suppress(FileNotFoundError):
            aside = f".{AT.name}.{secrets.token_hex(8)}"
            os.rename(AT.name, aside, src_dir_fd=self._root, dst_dir_fd=self._root)

    @contextlib.contextmanager
    def _at(self, parts: Sequence[str]) -> Iterator[int]:
        """A directory. Raises OSError where a link is on the way."""
        fd = os.dup(self._root)
        try:
            for part in parts:
                above, fd = fd, os.open(part, _DIRECTORY, dir_fd=fd)
                os.close(above)
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _made(self, parts: Sequence[str]) -> Iterator[int]:
        """The same of one that is made where it is not there."""
        for depth, part in enumerate(parts):
            with self._at(parts[:depth]) as above, contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=above)
        with self._at(parts) as directory:
            yield directory


def _plain(directory: int, name: str) -> int | None:
    """A descriptor to read `name`, or None for what is no plain file. Raises OSError.

    It is opened only once it is known to be one: an O_PATH descriptor stays with what it was.
    """
    way = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(way).st_mode):
            return None
        return os.open(f"/proc/self/fd/{way}", os.O_RDONLY)
    finally:
        os.close(way)


def _write(directory: int, name: str, content: IO[bytes], mode: int) -> None:
    with os.fdopen(os.open(name, _NEW, mode, dir_fd=directory), "wb") as file:
        shutil.copyfileobj(content, file)
        os.fchmod(file.fileno(), mode)
