"""What is asked of mountd, as bytes. A real one answers in tests/real/test_mountd.py."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt.errors import HostError
from behunt.netboot import mount3
from behunt.netboot.mount3 import RefusedError, Service

# As a FreeBSD 13.2 lists them; `rpcinfo -p` of Linux has the same columns.
LISTING = """\
   program vers proto   port  service
    100000    4   tcp    111  rpcbind
    100000    2   udp    111  rpcbind
    100005    1   udp    665  mountd
    100005    3   udp    665  mountd
    100005    1   tcp    665  mountd
    100005    3   tcp    665  mountd
    100003    2   udp   2049  nfs
    100003    3   udp   2049  nfs
    100003    2   tcp   2049  nfs
    100003    3   tcp   2049  nfs
"""


def words(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def record(content: bytes) -> bytes:
    return words(1 << 31 | len(content)) + content


DONE = words(7, 1, 0, 0, 0, 0)  # of the call 7: a reply, accepted, no verifier, done


def test_which_service_is_asked_where() -> None:
    found = mount3.services(LISTING)
    assert found[mount3.service(2)] == found[Service(mount3.MOUNT, 1, "tcp")] == 665
    assert found[Service(mount3.NFS, 2, "udp")] == 2049
    assert mount3.services("rpcinfo: can't contact rpcbind") == {}


def test_a_request_byte_by_byte() -> None:
    assert mount3.request("/b/be", 3, 7) == record(
        words(7, 0, 2, 100005, 3, 1)
        + words(1, 28, 0, 6)
        + b"behunt\0\0"
        + words(0, 0, 0)
        + words(0, 0)
        + words(5)
        + b"/b/be\0\0\0"
    )
    old, new = mount3.request("/", 2, 7), mount3.request("/", 3, 7)
    assert [n for n in range(len(new)) if old[n] != new[n]] == [4 + 4 * 4 + 3]  # MOUNT's version


def test_handles_of_both_versions() -> None:
    fixed = bytes(range(32))
    assert mount3.handle(record(DONE + words(0) + fixed), 2, 7) == fixed
    told = b"x" * 28
    flavors = words(1, 1)
    assert mount3.handle(record(DONE + words(0, 28) + told + flavors), 3, 7) == told
    uneven = b"y" * 27
    assert mount3.handle(record(DONE + words(0, 27) + uneven + b"\0" + flavors), 3, 7) == uneven


@pytest.mark.parametrize("nfs", [2, 3])
def test_refusals(nfs: int) -> None:
    with pytest.raises(RefusedError, match="it is not exported to who asked"):
        mount3.handle(record(DONE + words(13)), nfs, 7)
    with pytest.raises(RefusedError, match="status 10006"):
        mount3.handle(record(DONE + words(10006)), nfs, 7)
    with pytest.raises(RefusedError, match="denies"):
        mount3.handle(record(words(7, 1, 1, 1, 1)), nfs, 7)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "breaks off"),
        (record(DONE + words(0, 28) + b"short"), "breaks off"),
        (record(DONE + words(0, 28) + bytes(28))[:-1], "breaks off"),
        (record(words(8) + DONE[4:] + words(13)), "answers something else"),
        (record(words(7, 0) + DONE[8:]), "answers something else"),
        (record(words(7, 1, 0, 0, 0, 3)), r"does not do that call \(3\)"),
        (record(DONE + words(0, 0)), "0 bytes"),
        (record(DONE + words(0, 68) + bytes(68)), "68 bytes"),
        (b"HTTP/1.0 400 Bad Request\r\n", "breaks off"),
    ],
)
def test_what_is_no_answer(answer: bytes, why: str) -> None:
    with pytest.raises(HostError, match=why):
        mount3.handle(answer, 3, 7)


@given(st.lists(st.integers(1, 9), max_size=9))
def test_a_record_may_come_in_fragments(sizes: list[int]) -> None:
    rest, answer = DONE + words(0, 4) + b"abcd", b""
    for size in sizes:
        answer += words(len(rest[:size])) + rest[:size]
        rest = rest[size:]
    assert mount3.handle(answer + record(rest), 3, 7) == b"abcd"


@given(st.binary(max_size=80))
def test_whatever_comes_is_a_handle_or_an_error_of_ours(answer: bytes) -> None:
    with pytest.raises(HostError):
        mount3.handle(answer, 3, 7)
