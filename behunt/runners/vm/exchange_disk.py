"""Files to a guest and back without a network: a raw disk that is one tar archive.

The guest does `tar xf DEVICE` and in the end `tar cf DEVICE …`, which every tar in every era can.
So what goes in is ustar without extensions, and fills whole records of 20 blocks, beyond which a
raw device of a BSD must not be read. What comes back was written by root in the guest: plain
files and directories are taken, all below one directory, and an archive that breaks off, because
the guest did, is read as far as it goes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from behunt.errors import HostError, UsageError
from behunt.storage.disk import disk_errors

_BLOCK = 512
_UNIT = 5 << 20  # bytes: whole records of tar, whole MiB
_PIECE = 1 << 20
_LONGEST_NAME = 1000  # bytes
_LONGEST_EXTENSION = 64 << 10  # bytes of a long name or a pax header
MOST_PATHS = 20_000  # directories and files that a guest may leave
_MOST_TOLD = 20  # members left out that are told of
_PLAIN = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
_WITHOUT_CONTENT = {
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE),
    *(tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE),
}
_EXTENSIONS = {tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}
_IGNORED = {tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE}
# The member's own fault, where it cannot be made below a directory that is ours.
_ITS_NAME = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class File:
    """What goes in: `content` is its bytes, or the file that holds them."""

    name: str
    content: bytes | Path
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Found:
    """What came back. `whole` where the archive's end was reached, and nothing was unreadable.

    `left_out` are sentences: what was in the archive and is not below the directory.
    """

    files: tuple[str, ...]
    whole: bool
    left_out: tuple[str, ...] = ()


def write(disk: Path, files: Iterable[File], size: int) -> None:
    """Make the sparse `disk` of `size` bytes, rounded up, with the archive at its beginning.

    Raises UsageError for files that do not fit, or have a name that tar of old has no room for,
    and HostError where there is no room here.
    """
    size = -(-size // _UNIT) * _UNIT
    with disk_errors(disk), disk.open("xb") as archive:
        for file in files:
            _append(archive, file, size)
        archive.write(bytes(2 * _BLOCK))  # its end
        if archive.tell() > size:
            raise _too_much(size)
        archive.truncate(size)


def _append(archive: BinaryIO, file: File, size: int) -> None:
    member = tarfile.TarInfo(file.name)
    member.mode = file.mode
    if isinstance(file.content, bytes):
        member.size = len(file.content)
        pieces: Iterator[bytes] = iter([file.content])
    else:
        member.size = file.content.stat().st_size
        pieces = _pieces(file.content, member.size)
    if archive.tell() + member.size > size:
        raise _too_much(size)
    archive.write(_header(member))
    archive.writelines(pieces)
    archive.write(bytes(-member.size % _BLOCK))


def _header(member: tarfile.TarInfo) -> bytes:
    try:
        return member.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    except ValueError as error:
        raise UsageError(
            f"{member.name} cannot be given to a machine: {error}",
            "give it a name of at most 100 bytes",
        ) from error


def _pieces(path: Path, left: int) -> Iterator[bytes]:
    with path.open("rb") as content:
        while left and (piece := content.read(min(left, _PIECE))):
            yield piece
            left -= len(piece)
    if left:
        raise HostError(f"{path} became shorter while it was read")


def _too_much(size: int) -> UsageError:
    return UsageError(
        f"the test and its files do not fit on an exchange disk of {size >> 20} MiB",
        "let it bring less, or set a larger exchange disk",
    )


def read(disk: Path, directory: Path, *, most_paths: int = MOST_PATHS) -> Found:
    """Extract the archive on `disk` into an empty `directory`, as far as it goes.

    A guest that dies while it writes leaves what was there before behind it: what tells of the
    end belongs at the end of its archive. No more is written than the disk holds. Raises
    HostError where that fails.
    """
    taking = _Taking(directory, most_paths)
    whole = False
    with disk_errors(directory), disk.open("rb") as archive, contextlib.suppress(_BrokenError):
        for member in _members(archive):
            taking.take(member, archive)
        whole = True
    return Found(tuple(taking.files), whole, tuple(taking.left_out))


class _BrokenError(Exception):
    """The archive cannot be read any further."""


def _members(archive: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Each member, while `archive` is at the beginning of its content."""
    total = archive.seek(0, os.SEEK_END)
    following = 0
    extended: Mapping[str, str] = {}
    while archive.seek(following) < total:
        block = archive.read(_BLOCK)
        if not any(block):
            return
        member = _parsed(block)
        following += _BLOCK + -(-member.size // _BLOCK) * _BLOCK
        if member.type in _EXTENSIONS:
            extended = {**extended, **_extension(archive, member)}
        elif member.type not in _IGNORED:
            member.name = extended.get("path", member.name)
            member.pax_headers = dict(extended)
            yield member
            extended = {}
        if following > total:
            raise _BrokenError
    raise _BrokenError


def _parsed(block: bytes) -> tarfile.TarInfo:
    """A header, whose `size` is what follows it."""
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise _BrokenError from error
    if member.size < 0 or member.type == tarfile.GNUTYPE_SPARSE:  # what follows that is a puzzle
        raise _BrokenError
    if member.type in _WITHOUT_CONTENT:
        member.size = 0
    return member


def _extension(archive: BinaryIO, member: tarfile.TarInfo) -> dict[str, str]:
    """What the header says of the next member, beyond what fits into its own."""
    if member.size > _LONGEST_EXTENSION:
        raise _BrokenError
    content = archive.read(member.size)
    if member.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": os.fsdecode(content.partition(b"\0")[0])}
    return {os.fsdecode(key): os.fsdecode(value) for key, value in _pax_records(content)}


def _pax_records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Records `LENGTH KEY=VALUE` and a newline; LENGTH counts all of that."""
    while found := re.match(rb"(\d{1,6}) ([^=]+)=", content):
        length = int(found[1])
        if length <= found.end() or length > len(content):
            return
        yield found[2], content[found.end() : length - 1]
        content = content[length:]


class _Taking:
    """Puts members below `directory`, where every directory is one of its own making."""

    def __init__(self, directory: Path, most_paths: int) -> None:
        self._directory = directory
        self._most = most_paths
        self._made: set[tuple[str, ...]] = {()}
        self.files: dict[str, None] = {}  # in their order
        self.left_out: list[str] = []

    def take(self, member: tarfile.TarInfo, archive: BinaryIO) -> None:
        if len(self._made) + len(self.files) > self._most:
            self._leave(member, f"there are more than {self._most} before it")
            raise _BrokenError
        parts = _parts(member.name)
        if why := _objection(member, parts):
            self._leave(member, why)
            return
        try:
            self._take(member, parts, archive)
        except OSError as error:
            if error.errno not in _ITS_NAME:
                raise
            self._leave(member, (error.strerror or "its name").lower())

    def _take(self, member: tarfile.TarInfo, parts: tuple[str, ...], archive: BinaryIO) -> None:
        if member.isdir():
            self._make(parts)
            return
        self._make(parts[:-1])
        target = self._directory.joinpath(*parts)
        if member.islnk():
            if (first := "/".join(_parts(member.linkname))) not in self.files:
                self._leave(member, "it is a link to what is not there")
                return
            os.link(self._directory / first, target)
        else:
            self._copy(member, archive, target)
        self.files["/".join(parts)] = None

    def _make(self, parts: tuple[str, ...]) -> None:
        for depth in range(1, len(parts) + 1):
            if (some := parts[:depth]) not in self._made:
                self._directory.joinpath(*some).mkdir()
                self._made.add(some)

    def _copy(self, member: tarfile.TarInfo, archive: BinaryIO, target: Path) -> None:
        """Its content, or the beginning of it where the archive breaks off."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(target, flags, 0o600), "wb") as file:
            left = member.size
            while left and (piece := archive.read(min(left, _PIECE))):
                file.write(piece)
                left -= len(piece)
            os.fchmod(file.fileno(), member.mode & 0o777 | 0o600)

    def _leave(self, member: tarfile.TarInfo, why: str) -> None:
        if len(self.left_out) < _MOST_TOLD:
            self.left_out.append(f"{member.name!r} is left out: {why}")


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a member's name; none for one that leads elsewhere or is too long."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name:
        return ()
    return parts if len(os.fsencode(name)) <= _LONGEST_NAME else ()


def _objection(member: tarfile.TarInfo, parts: tuple[str, ...]) -> str:
    if not parts:
        return "" if member.isdir() and member.name.strip("./") == "" else "of its name"
    if any(key.startswith("GNU.sparse.") for key in member.pax_headers):
        return "it has holes"
    if not (member.isdir() or member.islnk() or member.type in _PLAIN):
        return "it is no plain file"
    return ""
