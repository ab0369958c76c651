"""Tells one machine of a lab, whose kernel asks so, who it is and where its root is (diskless(8)).

rarpd(8) and bootparamd(8) are in Debian, too, and answer by the files of /etc on all addresses.
This answers one card, on the lab's interface, as long as it boots.

The first call of bootparams is a broadcast to a port mapper: to 255.255.255.255, or in newer ones
to the network of the old class that the address is of, 10.255.255.255 in any of 10
(sys/nfs/nfs_boot.c). Neither comes to a socket that is bound to our address, and the latter to none
at all. So it is heard on the wire, whoever else is port mapper here.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Self

from behunt.hosts import packets
from behunt.netboot import bootparam, rarp
from behunt.netboot.bootparam import Known
from behunt.netboot.lab import LabNetwork, Machine
from behunt.netboot.portmap import PORT, bound

_LONGEST = 1 << 11  # bytes of a frame
_UDP = 17  # of IP


class Diskless:
    """Answers `machine`, whose root is the lab's server's `root`, in a thread of behunt.

    `address` tells its address, and None while it has none. Raises HostError.
    """

    def __init__(
        self,
        lab: LabNetwork,
        machine: Machine,
        root: str,
        address: Callable[[], IPv4Address | None],
    ) -> None:
        self._lab, self._machine, self._root, self._address = lab, machine, root, address
        with contextlib.ExitStack() as stack:
            self._rarp = stack.enter_context(packets.frames(lab.interface, rarp.ETHERTYPE))
            self._calls = stack.enter_context(packets.broadcasts(lab.interface))
            self._own = stack.enter_context(bound(lab.address.ip, 0, socket.SOCK_DGRAM))
            self._stop, stopped = socket.socketpair()
            stack.enter_context(stopped)
            stack.enter_context(self._stop)
            self._stack = stack.pop_all()
        self._thread = threading.Thread(target=self._serve, args=(stopped,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.shutdown(socket.SHUT_WR)
        self._thread.join()
        self._stack.close()

    def _serve(self, stopped: socket.socket) -> None:
        answers = {
            self._rarp: self._by_rarp,
            self._calls: self._by_broadcast,
            self._own: self._by_call,
        }
        while True:
            ready, _, _ = select.select([*answers, stopped], [], [])
            if stopped in ready:
                return
            for one in ready:
                with contextlib.suppress(OSError):  # its cable may be pulled out
                    answers[one]()

    def _by_rarp(self) -> None:
        frame = self._rarp.recv(_LONGEST)
        address = self._address()
        if address is not None and rarp.asked(frame) == self._machine.mac:
            own = self._rarp.getsockname()[4]
            self._rarp.send(rarp.answer(self._machine.mac, address, own, self._lab.address.ip))

    def _by_broadcast(self) -> None:
        packet, link = self._calls.recvfrom(_LONGEST)
        known = self._known()
        call = datagram(packet, PORT)
        if call is None or known is None or link[4].hex(":") != self._machine.mac:
            return
        sender, port, data = call
        if said := bootparam.relayed(data, known, self._own.getsockname()[1]):
            self._own.sendto(said, (str(sender), port))

    def _by_call(self) -> None:
        call, peer = self._own.recvfrom(_LONGEST)
        known = self._known()
        if known is None or IPv4Address(peer[0]) != known.address:
            return
        if said := bootparam.reply(call, known):
            self._own.sendto(said, peer)

    def _known(self) -> Known | None:
        address = self._address()
        if address is None:
            return None
        return Known(self._machine.name, address, self._lab.address.ip, self._root)


def datagram(packet: bytes, port: int) -> tuple[IPv4Address, int, bytes] | None:
    """Who sent it, from which port, and what, if `packet`, of IPv4, is one of UDP to `port`."""
    try:
        first, protocol, sender = struct.unpack_from(">B8xB2x4s", packet)
        head = (first & 0x0F) * 4
        source, target, length = struct.unpack_from(">3H", packet, head)
    except struct.error:
        return None
    if first >> 4 != 4 or (protocol, target) != (_UDP, port):  # noqa: PLR2004 - IP's version
        return None
    return IPv4Address(sender), source, packet[head + 8 : head + length]
