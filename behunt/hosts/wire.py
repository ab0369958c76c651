"""Messages between behunt and its spawner: JSON over SOCK_SEQPACKET, descriptors attached.

The kernel bounds a packet (net.core.wmem_max, often 208 KiB) below what a command line may be, so
a long message goes through memory that is handed over.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Sequence
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]

_PACKET = 1 << 16  # bytes
_ELSEWHERE = b"@"  # instead of the message: it is in the last descriptor


def send(control: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send `message`. Raises OSError where the other end is gone."""
    data = json.dumps(message).encode()
    if len(data) <= _PACKET:
        socket.send_fds(control, [data], fds)
        return
    with open(os.memfd_create("behunt"), "wb") as memory:  # noqa: PTH123 - a descriptor
        memory.write(data)
        memory.flush()
        socket.send_fds(control, [_ELSEWHERE], [*fds, memory.fileno()])


def receive(control: socket.socket, most: int = 0) -> tuple[Message, list[int]]:
    """The next message and at most `most` descriptors. Raises EOFError once the end is closed."""
    # Not socket.recv_fds: it drops its flags, and what is not close-on-exec leaks into commands.
    space = socket.CMSG_SPACE((most + 1) * array.array("i").itemsize)
    data, ancillary, _, _ = control.recvmsg(_PACKET, space, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    if not data:
        raise EOFError
    if data == _ELSEWHERE:
        data = _content(fds.pop())
    message: Message = json.loads(data)
    return message, fds.tolist()


def _content(memory: int) -> bytes:
    with open(memory, "rb") as whole:
        whole.seek(0)  # the offset is shared with the writer
        return whole.read()
