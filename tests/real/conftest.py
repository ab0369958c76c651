"""behunt with an empty home, started and watched."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from behunt_cli import Behunt
from running import Questions, Running, Start


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
