"""Calls of ONC RPC and what is answered to them, as bytes of a datagram (RFC 5531). Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

SUCCESS, NO_PROGRAM, NO_VERSION, NO_PROCEDURE = range(4)
_HEAD = struct.Struct(">8I")  # of a call, up to its credentials
_CALL, _REPLY, _RPC = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Call:
    """A call without its credentials, which are passed over."""

    number: int
    program: int
    version: int
    procedure: int
    arguments: bytes


def called(data: bytes) -> Call | None:
    """None for what is no call."""
    try:
        number, kind, rpc, program, version, procedure, _, length = _HEAD.unpack_from(data)
        verifier = _HEAD.size + padded(length)
        (length,) = struct.unpack_from(">I", data, verifier + 4)
    except struct.error:
        return None
    if (kind, rpc) != (_CALL, _RPC):
        return None
    return Call(number, program, version, procedure, data[verifier + 8 + padded(length) :])


def accepted(call: Call, status: int, result: bytes = b"") -> bytes:
    """The answer to `call`, which is done where `status` is SUCCESS."""
    return struct.pack(">6I", call.number, _REPLY, 0, 0, 0, status) + result


def padded(length: int) -> int:
    """Bytes that so many take: whole words (RFC 4506)."""
    return length + -length % 4


def opaque(content: bytes) -> bytes:
    """With its length before it."""
    return struct.pack(">I", len(content)) + content.ljust(padded(len(content)), b"\0")


def taken(data: bytes) -> tuple[bytes, bytes]:
    """What `opaque` has written, and the rest. Raises struct.error where it breaks off."""
    (length,) = struct.unpack_from(">I", data)
    end = 4 + padded(length)
    if len(data) < end:
        raise struct.error("it breaks off")
    return data[4 : 4 + length], data[end:]
