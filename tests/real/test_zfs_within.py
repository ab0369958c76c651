"""What only a real OpenZFS can answer: tests of this checkout, run in machines that have one."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future

import pytest
from guest.tested import Outcome
from guest.within import FILES

# The first builds the machine, if it is not kept.
pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]


@pytest.mark.parametrize("file", FILES)
def test_in_the_guest(file: str, within: Mapping[str, Future[Outcome]]) -> None:
    outcome = within[file].result()
    bad = [name for name in (*outcome.failed, *outcome.skipped) if name.startswith(file)]
    assert not bad, outcome.said
    assert any(name.startswith(file) for name in outcome.passed), outcome.said
