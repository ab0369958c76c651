"""Who asks by RARP for its address, and what it is answered, as frames of Ethernet (RFC 903). Pure.

An OpenBSD that has its root on NFS asks so, for it cannot be told by its loader (diskless(8)).
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

ETHERTYPE = 0x8035
_FRAME = struct.Struct(">6s6sH HHBBH 6s4s6s4s")  # to, from, type; the kinds of addresses; those
_KINDS = (1, 0x0800, 6, 4)  # Ethernet and IPv4, and how long their addresses are
_REQUEST, _REPLY = 3, 4


def asked(frame: bytes) -> str:
    """The card whose address is asked for; empty for what does not ask."""
    try:
        _, _, ethertype, *kinds, operation, _, _, target, _ = _FRAME.unpack_from(frame)
    except struct.error:
        return ""
    if ethertype != ETHERTYPE or tuple(kinds) != _KINDS or operation != _REQUEST:
        return ""
    return bytes(target).hex(":")


def answer(mac: str, address: IPv4Address, server_mac: bytes, server: IPv4Address) -> bytes:
    """Tells the card `mac` that it has `address`."""
    target = bytes.fromhex(mac.replace(":", ""))
    sender = (server_mac, server.packed)
    return _FRAME.pack(
        *(target, server_mac, ETHERTYPE), *_KINDS, _REPLY, *sender, target, address.packed
    )
