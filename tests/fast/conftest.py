"""behunt with an empty home, and a catalogue of 65 releases that have nothing to install."""

from __future__ import annotations

from pathlib import Path

import pytest
from behunt_cli import Behunt, Hunting, releases


@pytest.fixture
def behunt(tmp_path: Path) -> Behunt:
    return Behunt.below(tmp_path)


@pytest.fixture
def hunting(behunt: Behunt) -> Hunting:
    """Its test breaks in 40."""
    catalogue = releases(behunt.place / "builds.toml", range(1, 66))
    hunting = Hunting(behunt, catalogue, behunt.place / "test.sh")
    hunting.asks('test "$BEHUNT_VERSION" -lt 40')
    return hunting
