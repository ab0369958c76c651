"""The port mapper's answers, byte by byte (RFC 1833, RFC 5531)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt.netboot.portmap import agreed, reply

PORTS = {(100003, 3): 2049, (100005, 3): 20048}
TCP, UDP = 6, 17
NONE = struct.pack(">4I", 0, 0, 0, 0)  # neither credentials nor verifier
ACCEPTED = struct.pack(">5I", 9, 1, 0, 0, 0)


def call(version: int, procedure: int, *arguments: int, program: int = 100000) -> bytes:
    head = struct.pack(">6I", 9, 0, 2, program, version, procedure)
    return head + NONE + struct.pack(f">{len(arguments)}I", *arguments)


def words(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (call(2, 0), words(0)),
        (call(2, 3, 100003, 3, TCP, 0), words(0, 2049)),
        (call(2, 3, 100003, 3, UDP, 0), words(0, 2049)),
        (call(2, 3, 100003, 2, UDP, 0), words(0, 0)),
        (call(4, 3), words(2, 2, 2)),  # mount(8) asks in version 4 first
        (call(2, 1, 100003, 3, TCP, 999), words(3)),  # nobody registers over the network
        (call(3, 1, program=100003), words(1)),
    ],
)
def test_a_call_is_answered(asked: bytes, answered: bytes) -> None:
    assert reply(asked, PORTS) == ACCEPTED + answered


def test_all_services_are_listed() -> None:
    rows = [
        words(1, 100003, 3, TCP, 2049),
        words(1, 100003, 3, UDP, 2049),
        words(1, 100005, 3, TCP, 20048),
        words(1, 100005, 3, UDP, 20048),
    ]
    assert reply(call(2, 4), PORTS) == ACCEPTED + words(0) + b"".join(rows) + words(0)


def test_credentials_are_passed_over() -> None:
    known = words(9, 0, 2, 100000, 2, 3) + words(1, 5) + b"12345\0\0\0" + words(0, 0)
    assert reply(known + words(100005, 3, UDP, 0), PORTS) == ACCEPTED + words(0, 20048)


def test_a_server_registers_itself() -> None:
    assert agreed(call(4, 1)) == ACCEPTED + words(0, 1)


@given(st.binary(max_size=80))
def test_noise_is_answered_by_nothing_or_by_a_reply(noise: bytes) -> None:
    said = reply(noise, PORTS)
    assert said == b"" or said[:8] == noise[:4] + words(1)
