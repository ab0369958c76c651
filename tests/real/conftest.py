"""behunt with an empty home, started and watched, and machines with a real OpenZFS."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from behunt_cli import Behunt
from guest import Machine, started
from running import Questions, Running, Start

# These need a pool to themselves: test_zfs_guest.py has them run where there is one.
INSIDE = ["test_zfs_allowed.py", "test_zfs_faults.py"]
collect_ignore = [] if "BEHUNT_TEST_POOL" in os.environ else INSIDE


@pytest.fixture
def behunt(tmp_path: Path) -> Behunt:
    return Behunt.below(tmp_path)


@pytest.fixture
def questions(behunt: Behunt) -> Iterator[Questions]:
    questions = Questions(behunt.place)
    yield questions
    questions.close()


@pytest.fixture
def start(behunt: Behunt) -> Iterator[Start]:
    """Start behunt with these words; what still runs in the end is killed."""
    with contextlib.ExitStack() as stack:
        yield lambda *words: stack.enter_context(Running(behunt, *words))


@pytest.fixture(scope="session")
def guest() -> Iterator[Machine]:
    """Has this checkout in it; its pool is shared by all tests of the session."""
    with started() as machine:
        machine.push_source()
        yield machine


@pytest.fixture(scope="session")
def other_guest() -> Iterator[Machine]:
    """A second one, for what is driven from this machine: only Debian, no checkout."""
    with started() as machine:
        yield machine
