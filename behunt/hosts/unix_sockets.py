"""Unix sockets whose path may be of any length."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_SUN_PATH = 103  # bytes of a socket's address on the BSDs; Linux takes four more


def connect(connection: socket.socket, path: Path) -> None:
    if len(os.fsencode(path)) <= _SUN_PATH:
        connection.connect(str(path))
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)
