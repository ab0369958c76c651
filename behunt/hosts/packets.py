"""What passes by on one interface of this machine, whoever it is sent to (packet(7))."""

from __future__ import annotations

import ctypes
import socket
import struct

from behunt.errors import HostError

_IPV4 = 0x0800  # its type in a frame of Ethernet
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER
# For bpf(4) of Linux: load the kind of the packet, and take it whole if it is a broadcast.
_BROADCASTS = ((0x28, 0, 0, 0xFFFFF004), (0x15, 0, 1, 1), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0))


def frames(interface: str, ethertype: int) -> socket.socket:
    """A socket for whole frames of that type, in and out. Raises HostError."""
    return _bound(interface, socket.SOCK_RAW, ethertype)


def broadcasts(interface: str) -> socket.socket:
    """A socket that gets packets of IPv4 to everybody, whatever net they mean. Raises HostError."""
    return _bound(interface, socket.SOCK_DGRAM, _IPV4, _BROADCASTS)


def _bound(
    interface: str,
    kind: socket.SocketKind,
    protocol: int,
    program: tuple[tuple[int, int, int, int], ...] = (),
) -> socket.socket:
    try:
        own = socket.socket(socket.AF_PACKET, kind, 0)  # nothing comes until it is bound
    except OSError as error:
        raise HostError(f"cannot listen on {interface}: {error.strerror}", "run as root") from error
    try:
        if program:
            _filtered(own, program)
        own.bind((interface, protocol))
    except OSError as error:
        own.close()
        raise HostError(
            f"cannot listen on {interface}: {error.strerror}", "`ip address` shows its state"
        ) from error
    return own


def _filtered(own: socket.socket, program: tuple[tuple[int, int, int, int], ...]) -> None:
    """Let in what the program takes; the rest, all traffic of the interface, never wakes us."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    whole = struct.pack("HP", len(program), ctypes.addressof(code))
    own.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, whole)
