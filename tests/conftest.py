"""What all tests share: a home of their own, and where installed releases are kept between runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from homes import sharing

from behunt.storage.home import Home

# A shell's `&` and nohup have it ignored, and so would everything that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kept() -> Path:
    """Outside the checkout: archives of installed releases, keyed by what they are made of.

    Everything works without it, only slower: what is not there is installed and kept.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "behunt-tests"
    directory = Path(os.environ.get("BEHUNT_TEST_CACHE", default))
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture
def home(tmp_path: Path, kept: Path) -> Home:
    """An empty home whose archives, kernels and machines are the kept ones."""
    return sharing(tmp_path / "home", kept)
