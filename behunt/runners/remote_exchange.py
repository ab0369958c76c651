"""Carry a run's exchange directory to a clone on another host, and back.

What comes back was in the hands of a test that was root there: it is hostile. Only plain files
and directories are taken, and all of them stay inside the exchange directory.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from behunt.errors import HostError
from behunt.hosts.protocol import Host
from behunt.runners.protocol import AT
from behunt.runners.remote_host import NOT_CARRIED
from behunt.storage.disk import disk_errors, remove

MOST = 1 << 30  # bytes that a run may bring back
_LONGEST = 1000  # bytes of a path; what lies deeper stays behind
_PATIENCE = 600.0  # seconds

# `$1` is the root of a world that nobody has entered yet: what lies in the way came with it.
# mkdir without -p makes a directory or fails; it never follows a link.
_PUT = 'cd "$1" && mkdir "$2" && tar -C "$2" -xpf -'
# Nothing runs in there any more. tar says things on stderr that are no part of the archive: a
# missing locale, a socket it leaves out. It ends with 1 for the latter.
_GET = """\
cd "$1" || exit
if test -h "$2" || test ! -d "$2"; then exit 3; fi
tar -C "$2" -cf - . 2>/dev/null
case $? in 0|1) ;; *) exit 4 ;; esac
"""
# A test can set flags that hold root off as well (schg of chflags(1)).
_FORGET = """\
cd "$1" || exit
if test ! -h "$2" && test -d "$2"; then chflags -R 0 "$2" 2>/dev/null; fi
rm -rf "$2"
"""
_NOT_THERE = 3


def put(host: Host, root: str, exchange: Path) -> None:
    """Copy `exchange` to AT in the clone at `root`. Raises HostError."""
    words = ["sh", "-c", _PUT, "sh", root, AT.name]
    with disk_errors(exchange), tempfile.NamedTemporaryFile(dir=exchange.parent) as archive:
        pack(exchange, archive)
        archive.flush()
        done = host.run(words, stdin=Path(archive.name), timeout=_PATIENCE)
    if done.code != 0:
        said = (done.err or done.out).strip().splitlines() or [done.how]
        raise HostError(
            f"cannot copy the test into {root} on {host.name}: {said[-1]}",
            f"nothing may be at {AT} in a boot environment: behunt puts the test there",
        )


def get(host: Host, root: str, exchange: Path, most: int = MOST) -> None:
    """Replace what is in `exchange` by what is at AT in the clone at `root`. Raises HostError."""
    with disk_errors(exchange), tempfile.TemporaryFile(dir=exchange.parent) as archive:

        def take(data: bytes) -> None:
            archive.write(data)
            if archive.tell() > most:
                raise _too_much(most)

        words = ["sh", "-c", _GET, "sh", root, AT.name]
        done = host.run(words, timeout=_PATIENCE, sink=take)
        if done.code not in {0, _NOT_THERE}:
            raise HostError(
                f"cannot fetch what the test left in {root}{AT} on {host.name} ({done.how})",
                f"look at the connection to {host.name}, and at the room on its disk",
            )
        for old in exchange.iterdir():
            remove(old)
        if done.code == 0:
            archive.seek(0)
            unpack(archive, exchange, most)


def _too_much(most: int) -> HostError:
    return HostError(
        f"the test left more than {most >> 20} MiB in {AT}",
        "let it keep only what is worth keeping in $BEHUNT_OUT",
    )


def forget(host: Host, root: str) -> None:
    """Remove AT from the clone at `root`, which may be the boot environment itself."""
    host.run(["sh", "-c", _FORGET, "sh", root, AT.name], timeout=_PATIENCE, check=True)


def pack(directory: Path, archive: IO[bytes]) -> None:
    """Write a tar archive of what is in `directory`, owned by root.

    In GNU's format, which every tar since 4.4BSD reads, and which keeps names as the bytes that
    they are: bsdtar refuses to convert those of a pax header in the C locale.
    """
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as members:
        members.add(directory, arcname=".", filter=_owned_by_root)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def unpack(archive: IO[bytes], directory: Path, most: int = MOST) -> None:
    """Extract plain files and directories of a hostile tar archive into an empty `directory`.

    Links, devices, sockets and set-id bits stay behind; a hard link becomes one only to a file
    that was extracted before. Raises HostError for what is no archive, or holds more than `most`
    bytes: a file with a hole of a terabyte is a small one in an archive.
    """
    left = most
    try:
        with tarfile.open(fileobj=archive, mode="r:") as members:
            for member, parts in _taken(members):
                left -= member.size
                if left < 0:
                    raise _too_much(most)
                _extract(members, member, directory.joinpath(*parts), directory)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise HostError(f"what came back of the run is no archive: {error}") from error


def _taken(members: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, tuple[str, ...]]]:
    """The members that may lie below a directory of ours, with the parts of their names."""
    for member in members:
        parts = _parts(member.name)
        plain = member.isreg() or member.isdir() or member.islnk()
        if plain and parts and parts[0] not in NOT_CARRIED:
            yield member, parts


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a member's name; none for one that leads elsewhere or is too long."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name or len(os.fsencode(name)) > _LONGEST:
        return ()
    return parts


def _extract(
    members: tarfile.TarFile, member: tarfile.TarInfo, target: Path, directory: Path
) -> None:
    """Every directory on the way is one that was made here: no member is ever a link."""
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.islnk():
        source = directory.joinpath(*_parts(member.linkname))
        if source.is_file() and source != target:
            os.link(source, target)
        return
    content = members.extractfile(member)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(target, flags, 0o600), "wb") as file:
        if content is not None:
            shutil.copyfileobj(content, file)
        os.fchmod(file.fileno(), member.mode & 0o777 | 0o600)
