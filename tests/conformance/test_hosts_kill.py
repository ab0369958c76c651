"""What every Host must do with a command that does not end by itself, or not as a whole."""

from __future__ import annotations

import uuid

import pytest
from backends import Backend
from tiny_root import alive

from behunt.hosts.protocol import Host

# Ignores TERM; one child in its own session, one orphan, one in the background.
TREE = """
trap '' TERM HUP INT
setsid sleep 1000 &
(setsid sh -c 'sleep 1000 & sleep 1000' &)
sleep 1000 &
"""


class EnoughError(Exception):
    """Raised by a sink that has seen what it waited for."""


@pytest.fixture
def marker() -> str:
    return f"behunt-test-{uuid.uuid4().hex}"


def stop_at_up(data: bytes) -> None:
    if b"up" in data:
        raise EnoughError


def test_a_deadline_kills_the_whole_tree(host: Host, marker: str) -> None:
    said = bytearray()
    script = f"{TREE} echo up; sleep 1000"
    ended = host.run(["sh", "-c", script], env={"M": marker}, timeout=1.5, sink=said.extend)
    assert ended.timed_out
    assert ended.how.startswith("timed out after")
    assert said == b"up\n"
    assert alive(marker) == []


def test_a_command_that_floods_is_stopped_as_well(host: Host, marker: str) -> None:
    ended = host.run(["yes"], env={"M": marker}, timeout=0.5)
    assert ended.timed_out
    assert ended.out.startswith("y\ny\n")
    assert alive(marker) == []


def test_a_command_that_leaves_its_input_unread_is_stopped_as_well(host: Host, marker: str) -> None:
    script = "sleep 1000 & sleep 1000"
    ended = host.run(["sh", "-c", script], env={"M": marker}, stdin=b"x" * 5_000_000, timeout=0.5)
    assert ended.timed_out
    assert alive(marker) == []


def test_what_a_deadline_ends_is_not_what_runs_next(host: Host) -> None:
    assert host.run(["sleep", "1000"], timeout=0.1).timed_out
    assert host.run(["echo", "next"]).out == "next\n"


def test_a_daemon_that_holds_the_output_is_not_waited_for(backend: Backend, marker: str) -> None:
    with backend.open() as host:
        ended = host.run(["sh", "-c", f"{TREE} echo done"], env={"M": marker}, timeout=60)
        assert (ended.code, ended.out, ended.timed_out) == (0, "done\n", False)
    assert alive(marker) == []


def test_an_error_on_the_way_kills_the_whole_tree(backend: Backend, marker: str) -> None:
    script = f"{TREE} echo up; sleep 1000"
    with backend.open() as host, pytest.raises(EnoughError):
        host.run(["sh", "-c", script], env={"M": marker}, sink=stop_at_up)
    assert alive(marker) == []


@pytest.mark.parametrize(
    "bomb",
    [
        # 2^7 shells at the leaves, each with a parent that waits
        "b() { [ $1 = 0 ] && { echo up; sleep 1000; }; b $(($1-1)) & b $(($1-1)) & wait; }; b 7",
        # generations, each waiting for the next
        "b() { [ $1 = 0 ] && { echo up; sleep 1000; }; (b $(($1-1)); :); }; b 100",
        # new processes all the time, old ones gone: at most three at once
        "b() { echo up; sleep 0.01; (b &) ; exit; }; b",
    ],
    ids=["wide", "deep", "restless"],
)
def test_a_fork_bomb_is_outrun(backend: Backend, marker: str, bomb: str) -> None:
    with backend.open() as host, pytest.raises(EnoughError):
        host.run(["sh", "-c", f"{bomb}; wait; sleep 1000"], env={"M": marker}, sink=stop_at_up)
    assert alive(marker) == []
