"""The answers of bootparams to one machine: its name, and where its root is (bootparams(5)). Pure.

The protocol is RPC program 100026, as rpcsvc/bootparam_prot.x has it. A machine that does not know
yet who serves it has port mappers call for it, by broadcast (RFC 1833, CALLIT): that has no answer
but from who knows it, and the answer tells the port to ask for all else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from behunt.netboot.mount3 import PORTMAPPER
from behunt.netboot.rpc import (
    NO_PROCEDURE,
    NO_PROGRAM,
    NO_VERSION,
    SUCCESS,
    Call,
    accepted,
    called,
    opaque,
    taken,
)

PROGRAM, VERSION = 100026, 1
_PORTMAP_VERSION, _CALLIT = 2, 5
_NULL, _WHOAMI, _GETFILE = 0, 1, 2
_IP = 1  # kind of address
_ADDRESS = struct.Struct(">5I")  # its kind, and each byte as a word
_NOT_THERE = "/.not-there"


@dataclass(frozen=True, slots=True)
class Known:
    """A machine: its name and address, and the root that it mounts, `server`'s `root`."""

    name: str
    address: IPv4Address
    server: IPv4Address
    root: str


def reply(data: bytes, known: Known) -> bytes:
    """What is answered to the call `data`; nothing to what is none, or about another machine."""
    call = called(data)
    if call is None:
        return b""
    if call.program != PROGRAM:
        return accepted(call, NO_PROGRAM)
    if call.version != VERSION:
        return accepted(call, NO_VERSION, struct.pack(">2I", VERSION, VERSION))
    if call.procedure not in {_NULL, _WHOAMI, _GETFILE}:
        return accepted(call, NO_PROCEDURE)
    result = _result(call.procedure, call.arguments, known)
    return b"" if result is None else accepted(call, SUCCESS, result)


def relayed(data: bytes, known: Known, port: int) -> bytes:
    """What a port mapper answers that is to call; nothing where it is not for `known`.

    `port` is where this machine is answered directly.
    """
    call = called(data)
    try:
        inner = _wanted(call) if call is not None else None
    except struct.error:
        return b""
    if call is None or inner is None:
        return b""
    result = _result(inner.procedure, inner.arguments, known)
    if result is None:
        return b""
    return accepted(call, SUCCESS, struct.pack(">I", port) + opaque(result))


def _wanted(call: Call) -> Call | None:
    """The call of bootparams in it. Raises struct.error where it breaks off."""
    if (call.program, call.version, call.procedure) != (PORTMAPPER, _PORTMAP_VERSION, _CALLIT):
        return None
    program, version, procedure = struct.unpack_from(">3I", call.arguments)
    arguments, _ = taken(call.arguments[12:])
    if (program, version) != (PROGRAM, VERSION):
        return None
    return Call(call.number, program, version, procedure, arguments)


def _result(procedure: int, arguments: bytes, known: Known) -> bytes | None:
    try:
        if procedure == _WHOAMI:
            return _name(arguments, known)
        if procedure == _GETFILE:
            return _file(arguments, known)
    except struct.error:
        return None
    return b"" if procedure == _NULL else None


def _name(arguments: bytes, known: Known) -> bytes | None:
    """Its name, no domain, and a router, which OpenBSD does not use: the server."""
    kind, *parts = _ADDRESS.unpack_from(arguments)
    if kind != _IP or bytes(part & 0xFF for part in parts) != known.address.packed:
        return None
    return opaque(known.name.encode()) + opaque(b"") + _ADDRESS.pack(_IP, *known.server.packed)


def _file(arguments: bytes, known: Known) -> bytes | None:
    """The root; for all else a place that cannot be mounted.

    Without an answer the kernel asks for its swap for 15 s before it goes on without.
    """
    name, rest = taken(arguments)
    key, _ = taken(rest)
    if name != known.name.encode():
        return None
    path = known.root if key == b"root" else known.root + _NOT_THERE
    server = str(known.server).encode()
    return opaque(server) + _ADDRESS.pack(_IP, *known.server.packed) + opaque(path.encode())
