"""What only a real OpenZFS can answer: tests of this checkout, run in machines that have one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from guest import started
from guest.tested import Outcome, run_inside

# The first builds the machine, if it is not kept.
pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

# For each of two machines, as each keeps a processor busy: files, and which of their tests (-k).
# What a store does whichever its pool is was tested on zfs-fuse, in less time.
MACHINES: tuple[dict[str, str], ...] = (
    {
        "tests/conformance/test_zfs_doors.py": "libzfs_core",
        "tests/real/test_be_datasets.py": "life or is_not_ours or hunt",
        "tests/real/test_zfs_allowed.py": "",
    },
    {
        "tests/conformance/test_stores.py": "libzfs_core"
        " and not (any_moment or nested_deeply or hostile_name)",
        "tests/conformance/test_zfs_store.py": "libzfs_core and (all_are_mounted or volume_within"
        " or holds_or_cloned or boots_from or rows_tell)",
        "tests/real/test_zfs_faults.py": "",
    },
)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Future[Outcome]]]:
    """By file, of those that this session wants."""
    here = [item for item in request.session.items if item.path == request.path]
    wanted = {item.callspec.params["file"] for item in here if isinstance(item, pytest.Function)}
    with contextlib.ExitStack() as stack:
        runs = stack.enter_context(ThreadPoolExecutor(len(MACHINES)))
        found = {}
        for chosen in MACHINES:
            if files := {file: which for file, which in chosen.items() if file in wanted}:
                machine = stack.enter_context(started())
                machine.push_source()
                found |= dict.fromkeys(files, runs.submit(run_inside, machine, *selection(files)))
        yield found


def selection(files: Mapping[str, str]) -> list[str]:
    """In pytest's words. It starts once for all, as that takes the machine many seconds."""
    chosen = [f"({Path(file).name} and ({which or '.py'}))" for file, which in files.items()]
    return [*files, "-k", " or ".join(chosen)]


@pytest.mark.parametrize("file", [file for chosen in MACHINES for file in chosen])
def test_in_the_guest(file: str, outcomes: Mapping[str, Future[Outcome]]) -> None:
    outcome = outcomes[file].result()
    bad = [name for name in (*outcome.failed, *outcome.skipped) if name.startswith(file)]
    assert not bad, outcome.said
    assert any(name.startswith(file) for name in outcome.passed), outcome.said
