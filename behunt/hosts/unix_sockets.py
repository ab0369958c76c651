"""Unix sockets whose path may be of any length."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_SUN_PATH = 103  # bytes of a socket's address on the BSDs; Linux takes four more


def connect(connection: socket.socket, path: Path) -> None:
    with _short(path) as name:
        connection.connect(name)


def bind(own: socket.socket, path: Path) -> None:
    with _short(path) as name:
        own.bind(name)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    if len(os.fsencode(path)) <= _SUN_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
