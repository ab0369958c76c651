"""What is asked of mountd(8), and what it answers, as bytes of a TCP connection. Pure.

A kernel whose root is mounted by NFS is given the handle of that directory, which only the server
knows. MOUNT of NFS version 2 is in RFC 1094 (appendix A), that of version 3 in RFC 1813 (5.2),
the call around it in RFC 5531, and how values are written in RFC 4506.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from behunt.errors import HostError

PORTMAPPER, NFS, MOUNT = 100000, 100003, 100005  # RPC programs
_VERSIONS = {2: 1, 3: 3}  # of MOUNT, by that of NFS
_MNT = 1  # its procedure
_CALL, _REPLY = 0, 1
_RPC = 2  # version
_AUTH_SYS, _AUTH_NONE = 1, 0
_LAST = 1 << 31  # in the length of a record's last fragment
_OLD_HANDLE = 32  # bytes, in version 2; in version 3 their number is told, and at most 64
_LONGEST_HANDLE = 64
_REFUSALS = {
    1: "it may not be asked by this user",
    2: "there is no such directory",
    5: "an input or output error",
    13: "it is not exported to who asked",
    20: "it is no directory",
}
_ROW = re.compile(r"^\s*(\d+)\s+(\d+)\s+(\S+)\s+(\d+)(?:\s|$)", re.MULTILINE)


class RefusedError(HostError):
    """The server does not give a handle. It may have been about to read its exports anew."""


@dataclass(frozen=True, slots=True)
class Service:
    """One that a host has registered, e.g. (MOUNT, 3, "tcp")."""

    program: int
    version: int
    protocol: str


def services(listing: str) -> dict[Service, int]:
    r"""The port of each, as `rpcinfo -p` lists them.

    >>> services("   program vers proto   port  service\n    100005    3   tcp    997  mountd")
    {Service(program=100005, version=3, protocol='tcp'): 997}
    """
    rows = ((int(row[1]), int(row[2]), row[3], int(row[4])) for row in _ROW.finditer(listing))
    return {Service(program, version, protocol): port for program, version, protocol, port in rows}


def service(nfs: int) -> Service:
    """The one to ask for a handle of version `nfs` of NFS (2 or 3)."""
    return Service(MOUNT, _VERSIONS[nfs], "tcp")


def request(path: str, nfs: int, number: int) -> bytes:
    """Asks for the handle of `path`, as root. `number` is in the answer, too.

    Servers want it to come from a port below 1024.
    """
    credentials = struct.pack(">I", 0) + _opaque(b"behunt") + struct.pack(">III", 0, 0, 0)
    call = struct.pack(">IIIIII", number, _CALL, _RPC, MOUNT, _VERSIONS[nfs], _MNT)
    call += struct.pack(">I", _AUTH_SYS) + _opaque(credentials)
    call += struct.pack(">I", _AUTH_NONE) + _opaque(b"")
    call += _opaque(path.encode())
    return struct.pack(">I", _LAST | len(call)) + call


def handle(answer: bytes, nfs: int, number: int) -> bytes:
    """What `answer` to a `request` gives: 32 bytes in version 2, at most 64 in version 3.

    Raises RefusedError, and HostError for what is no answer.
    """
    try:
        return _handle(_Reader(_record(answer)), nfs, number)
    except struct.error as error:
        raise _no_answer("it breaks off") from error


def _handle(answer: _Reader, nfs: int, number: int) -> bytes:
    if (answer.number(), answer.number()) != (number, _REPLY):
        raise _no_answer("it answers something else")
    if answer.number() != 0:
        raise RefusedError("mountd denies the call", _HINT)
    answer.number()
    answer.opaque()  # verifier
    if why := answer.number():
        raise _no_answer(f"it does not do that call ({why})")
    if status := answer.number():
        said = _REFUSALS.get(status, f"status {status}")
        raise RefusedError(f"mountd gives no handle: {said}", _HINT)
    found = answer.take(_OLD_HANDLE) if _VERSIONS[nfs] == 1 else answer.opaque()
    if not 0 < len(found) <= _LONGEST_HANDLE:
        raise _no_answer(f"its handle has {len(found)} bytes")
    return found


_HINT = "`showmount -e` there tells what is exported, and to whom"


def _no_answer(why: str) -> HostError:
    return HostError(f"mountd does not answer as it should: {why}", "see what runs on its port")


def _record(answer: bytes) -> bytes:
    """Its fragments in one."""
    record = b""
    while True:
        (mark,) = struct.unpack_from(">I", answer)
        length = mark & ~_LAST
        if len(answer) < 4 + length:
            raise _no_answer("it breaks off")
        record, answer = record + answer[4 : 4 + length], answer[4 + length :]
        if mark & _LAST:
            return record


def _opaque(content: bytes) -> bytes:
    """With its length before it, and filled up to whole words."""
    return struct.pack(">I", len(content)) + content + bytes(-len(content) % 4)


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def number(self) -> int:
        (value,) = struct.unpack(">I", self.take(4))
        return int(value)

    def opaque(self) -> bytes:
        length = self.number()
        return self.take(length + -length % 4)[:length]

    def take(self, length: int) -> bytes:
        if len(self._content) < length:
            raise _no_answer("it breaks off")
        taken, self._content = self._content[:length], self._content[length:]
        return taken
