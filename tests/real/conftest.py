"""behunt with an empty home, started and watched; and tests that run where there is an OpenZFS."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest
from behunt_cli import Behunt
from guest.tested import Outcome
from guest.within import begun
from lab_net import LabNet, lab
from running import Questions, Running, Start

# These need a pool to themselves: test_zfs_within.py has them run where there is one.
INSIDE = ["test_kernel_nfs.py", "test_zfs_allowed.py", "test_zfs_faults.py"]
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


@pytest.fixture
def net(tmp_path: Path) -> Iterator[LabNet]:
    """A network of a lab's own, with machines that are off."""
    with lab(tmp_path / "lab") as net:
        yield net


@pytest.fixture(scope="session", autouse=True)
def within(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Future[Outcome]]]:
    """By file, of those that this session asks for. They begin before the first test of these."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    asking = [item for item in items if item.originalname == "test_in_the_guest"]
    with begun({item.callspec.params["file"] for item in asking}) as outcomes:
        yield outcomes
