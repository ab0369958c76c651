"""The port mapper (RFC 1833, version 2) of one NFS server, on one address.

rpcbind(8) answers TCP on every address of its machine, and a host has only one. What asks here is
a boot loader, an init, or mount(8): each of them speaks version 2, or goes back to it.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from io import BufferedRWPair
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Self, TypeAlias

from behunt.errors import HostError
from behunt.hosts.unix_sockets import bind
from behunt.netboot.mount3 import PORTMAPPER
from behunt.netboot.rpc import (
    NO_PROCEDURE,
    NO_PROGRAM,
    NO_VERSION,
    SUCCESS,
    Call,
    accepted,
    called,
)

PORT = 111
Ports: TypeAlias = Mapping[tuple[int, int], int]  # by program and version
_Answer: TypeAlias = Callable[[bytes], bytes]  # to a call
_VERSION = 2
_NULL, _GETPORT, _DUMP = 0, 3, 4
_TCP, _UDP = 6, 17
_LAST = 1 << 31  # in the length of a record's last fragment
_LONGEST = 1 << 12  # bytes of a call
_PATIENCE = 10.0  # seconds in which a call has to arrive
_MOST = 64  # connections of one socket at a time; others wait in its queue
_PAUSE = 0.1  # seconds until one is asked again that has failed: it may do so for a while


def reply(data: bytes, ports: Ports) -> bytes:
    """What is answered to the call `data`; nothing to what is none."""
    call = called(data)
    try:
        return b"" if call is None else _answer(call, ports)
    except struct.error:
        return b""


def _answer(call: Call, ports: Ports) -> bytes:
    if call.program != PORTMAPPER:
        return accepted(call, NO_PROGRAM)
    if call.procedure == _NULL:
        return accepted(call, SUCCESS)
    if call.version != _VERSION:
        return accepted(call, NO_VERSION, struct.pack(">2I", _VERSION, _VERSION))
    if call.procedure == _GETPORT:
        wanted, of, _, _ = struct.unpack_from(">4I", call.arguments)
        return accepted(call, SUCCESS, struct.pack(">I", ports.get((wanted, of), 0)))
    if call.procedure == _DUMP:
        rows = ((*service, by, port) for service, port in ports.items() for by in (_TCP, _UDP))
        listed = b"".join(struct.pack(">5I", 1, *row) for row in rows)
        return accepted(call, SUCCESS, listed + struct.pack(">I", 0))
    return accepted(call, NO_PROCEDURE)


def agreed(data: bytes) -> bytes:
    """To a server that registers itself (in version 3 or 4): true, whatever it says."""
    call = called(data)
    return b"" if call is None else accepted(call, SUCCESS, struct.pack(">I", 1))


class Portmapper:
    """Answers `network` on `address`, and at the socket `local` agrees with the server.

    Threads of behunt do, and end with it. Raises HostError where the port is taken.
    """

    def __init__(
        self, address: IPv4Address, network: IPv4Network, ports: Ports, local: Path
    ) -> None:
        self._network = network
        self._ports = {(PORTMAPPER, _VERSION): PORT, **ports}
        self._sockets: list[socket.socket] = []
        self._ended = threading.Event()
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                self._sockets.append(bound(address, PORT, kind))
            self._sockets.append(socket.socket(socket.AF_UNIX))
            bind(self._sockets[-1], local)
            for one in (self._sockets[0], self._sockets[-1]):
                one.listen()
        except BaseException:
            self.__exit__()
            raise
        stream, datagrams, own = self._sockets
        _begin(self._datagrams, datagrams)
        _begin(self._streams, stream, self._answer)
        _begin(self._streams, own, agreed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for one in self._sockets:
            with contextlib.suppress(OSError):  # a datagram socket is woken although it complains
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _answer(self, call: bytes) -> bytes:
        return reply(call, self._ports)

    def _stranger(self, peer: object) -> bool:
        """Whether it is not of the network. What asks at `local` has no address."""
        return isinstance(peer, tuple) and IPv4Address(peer[0]) not in self._network

    def _datagrams(self, own: socket.socket) -> None:
        while not self._ended.is_set():
            try:
                call, peer = own.recvfrom(_LONGEST)
            except OSError:
                self._ended.wait(_PAUSE)
                continue
            if not self._stranger(peer) and (answer := self._answer(call)):
                with contextlib.suppress(OSError):  # it has gone
                    own.sendto(answer, peer)

    def _streams(self, own: socket.socket, answer: _Answer) -> None:
        free = threading.Semaphore(_MOST)
        while free.acquire() and not self._ended.is_set():
            try:
                peer, name = own.accept()
            except OSError:  # it has gone, or too many files are open here
                self._ended.wait(_PAUSE)
                free.release()
                continue
            if self._stranger(name):
                peer.close()
                free.release()
            else:
                _begin(_serve, peer, answer, free)


def _begin(work: Callable[..., None], *what: object) -> None:
    threading.Thread(target=work, args=what, daemon=True).start()


def bound(address: IPv4Address, port: int, kind: socket.SocketKind) -> socket.socket:
    """A socket there. Raises HostError with what to do."""
    own = socket.socket(type=kind)
    if kind == socket.SOCK_STREAM:  # what just ended may hold the address yet
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind((str(address), port))
    except OSError as error:
        own.close()
        raise _refused(address, port, error) from error
    return own


def _refused(address: IPv4Address, port: int, error: OSError) -> HostError:
    match error.errno:
        case errno.EADDRINUSE:
            return HostError(
                f"port {port} of {address} is taken",
                f"`ss -lntup sport = :{port}` tells by whom; another NFS server is stopped by "
                "`systemctl stop nfs-server nfs-ganesha rpcbind.socket rpcbind`",
            )
        case errno.EADDRNOTAVAIL:
            return HostError(
                f"{address} is no address of this machine",
                f"give it to the lab's interface: `ip address add {address}/24 dev …`",
            )
    return HostError(f"cannot use port {port} of {address}: {error.strerror}", "run as root")


def _serve(peer: socket.socket, answer: _Answer, free: threading.Semaphore) -> None:
    """The calls of one connection, which then frees its place."""
    try:
        with peer, contextlib.suppress(OSError, struct.error), peer.makefile("rwb") as stream:
            peer.settimeout(_PATIENCE)
            _converse(stream, answer)
    finally:
        free.release()


def _converse(stream: BufferedRWPair, answer: _Answer) -> None:
    """Each call is a record of one fragment; what gets no answer ends it."""
    while True:
        (mark,) = struct.unpack(">I", stream.read(4))
        length = mark & ~_LAST
        if length > _LONGEST or not (told := answer(stream.read(length))):
            return
        stream.write(struct.pack(">I", _LAST | len(told)) + told)
        stream.flush()
