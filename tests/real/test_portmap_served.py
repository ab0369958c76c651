"""The port mapper on a busy day: its files run out, and many ask, not all of them of the lab."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from behunt.netboot.portmap import Portmapper

pytestmark = pytest.mark.real

SERVER, CLIENT, STRANGER = "127.77.0.1", "127.77.0.2", "127.77.0.200"
NFS, TCP, PORT = 100003, 6, 2049
CALL = struct.pack(">14I", 9, 0, 2, 100000, 2, 3, 0, 0, 0, 0, NFS, 3, TCP, 0)
MOST = 64  # connections that are served at a time


@pytest.fixture(autouse=True)
def _served(tmp_path: Path) -> Iterator[None]:
    network = IPv4Network("127.77.0.0/25")
    with Portmapper(IPv4Address(SERVER), network, {(NFS, 3): PORT}, tmp_path / "own"):
        yield


def connected(source: str = CLIENT) -> socket.socket:
    return socket.create_connection((SERVER, 111), 30, (source, 0))


def answer(stream: socket.socket) -> int:
    """The port that it is told."""
    stream.sendall(struct.pack(">I", 1 << 31 | len(CALL)) + CALL)
    port: int = struct.unpack(">I", stream.recv(4 + 28, socket.MSG_WAITALL)[-4:])[0]
    return port


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """None can be opened in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = os.dup(0)  # all below are open
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(last)


def test_it_answers_again_after_files_ran_out() -> None:
    with socket.socket() as early, socket.socket() as late:
        for one in (early, late):
            one.settimeout(30)
            one.bind((CLIENT, 0))
        with no_more_files():
            early.connect((SERVER, 111))  # whose file the kernel has set aside
            assert answer(early) == PORT
            late.connect((SERVER, 111))
            assert answer(early) == PORT
        assert answer(late) == PORT


def test_a_stranger_s_connection_ends_before_it_says_anything() -> None:
    with connected(STRANGER) as stream:
        stream.settimeout(5)
        assert stream.recv(1) == b""
    with connected() as stream:
        assert answer(stream) == PORT


def test_so_many_are_served_at_a_time_and_others_after_them() -> None:
    with contextlib.ExitStack() as stack:
        first = [stack.enter_context(connected()) for _ in range(MOST)]
        assert {answer(one) for one in first} == {PORT}
        with connected() as next_one:
            next_one.settimeout(0.3)
            with pytest.raises(TimeoutError):
                answer(next_one)
            first[7].close()
            next_one.settimeout(30)
            assert struct.unpack(">I", next_one.recv(32, socket.MSG_WAITALL)[-4:]) == (PORT,)
