"""Wake-on-LAN: a packet that a network card waits for while its machine is off.

The card looks for the payload anywhere in what it receives, so the kind of packet is a matter of
who may send it: a broadcast frame (EtherType 0x0842) as root, a UDP broadcast to the port 9
otherwise, both out of the lab's interface and no other.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from behunt.errors import HostError
from behunt.hosts.local import LocalHost
from behunt.netboot.power.protocol import State
from behunt.netboot.power.secret import Secret

_BROADCAST = b"\xff" * 6
_WAKE = 0x0842  # EtherType
_DISCARD = 9  # port
_TIMES = 16
_SECUREON = (0, 4, 6)  # bytes
_NO_SECRET = Secret()


@dataclass(frozen=True, slots=True)
class Wol:
    """It wakes, and can do nothing else. `secret` is the card's SecureOn password."""

    mac: str
    interface: str
    secret: Secret = _NO_SECRET

    def on(self) -> None:
        try:
            _send(self, secureon_of(self.secret))
        except OSError as error:
            raise HostError(
                f"cannot send a packet out of {self.interface}: {error.strerror or error}",
                f"`ip link show {self.interface}` says whether it is there and up",
            ) from error

    def off(self) -> None:
        raise HostError(
            f"wake-on-LAN cannot switch {self.mac} off",
            "have its system do that, or give it another `power` in lab.toml: ipmi, redfish,"
            " command or hand",
        )

    def cycle(self) -> None:
        self.off()

    def state(self) -> State:
        return State.UNKNOWN


def magic(mac: str, secureon: bytes = b"") -> bytes:
    """What the card of `mac` wakes at: 6 bytes of FF, its address 16 times, its password.

    Raises ValueError. The format is AMD's, "Magic Packet Technology", publication 20213 (1995).

    >>> len(magic("02:01:02:03:04:05"))
    102
    """
    if len(secureon) not in _SECUREON:
        raise ValueError("a SecureOn password has 4 or 6 bytes")
    address = bytes.fromhex(mac.replace(":", " "))
    if len(address) != len(_BROADCAST):
        raise ValueError(f"{mac} is no address of a network card")
    return _BROADCAST + _TIMES * address + secureon


def secureon_of(secret: Secret) -> bytes:
    """As it is usually written: like a MAC, or like an IPv4 address. Raises HostError."""
    text = secret.read()
    try:
        if text.count(".") == 3:  # noqa: PLR2004 - dots
            return IPv4Address(text).packed
        found = bytes.fromhex(text.replace(":", " ").replace("-", " "))
        if len(found) in _SECUREON:
            return found
    except (AddressValueError, ValueError):
        pass
    raise HostError(
        f"{secret} holds no SecureOn password", "they look like 01:02:03:04:05:06 or 1.2.3.4"
    )


def _send(wol: Wol, secureon: bytes) -> None:
    if not hasattr(socket, "AF_PACKET"):
        _wake8(wol, secureon)
        return
    payload = magic(wol.mac, secureon)
    try:
        _as_frame(wol.interface, payload)
    except PermissionError:
        _as_datagram(wol.interface, payload)


def _as_frame(interface: str, payload: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sender:
        sender.sendto(payload, (interface, _WAKE, 0, 0, _BROADCAST))


def _as_datagram(interface: str, payload: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        # Anybody may since Linux 5.7.
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        sender.sendto(payload, ("255.255.255.255", _DISCARD))


def _wake8(wol: Wol, secureon: bytes) -> None:
    """FreeBSD's base system has wake(8), which writes the frame through bpf(4)."""
    if secureon:
        raise HostError(
            "wake(8) knows nothing of SecureOn passwords", "switch them off in the card's setup"
        )
    LocalHost().run(["wake", wol.interface, wol.mac], check=True)
