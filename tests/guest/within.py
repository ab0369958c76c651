"""Which of this checkout's tests run in machines that have an OpenZFS, and their outcomes.

They run in the background of this session's other tests, which keep one processor busy at most
times, as do they.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

from guest.machine import started
from guest.tested import Outcome, run_inside

# For each of two machines, one after the other: files, and which of their tests (-k).
# What a store does whichever its pool is was tested on zfs-fuse, in less time.
MACHINES: tuple[dict[str, str], ...] = (
    {
        "tests/real/test_be_datasets.py": "life or busy or hunt",
        "tests/real/test_kernel_nfs.py": "",
        "tests/real/test_zfs_allowed.py": "",
    },
    {
        "tests/conformance/test_zfs_doors.py": "libzfs_core and not (absolute or through_a_link"
        " or in_order or no_device or umount_takes or read_only)",
        "tests/conformance/test_stores.py": "libzfs_core"
        " and not (any_moment or nested_deeply or hostile or names_of_releases or second_to_seal"
        " or nothing_inside)",
        "tests/conformance/test_zfs_store.py": "libzfs_core and (all_are_mounted or volume_within)",
        "tests/real/test_zfs_faults.py": "libzfs_core",
    },
)
_PDEATHSIG = 1  # <linux/prctl.h>
FILES = [file for chosen in MACHINES for file in chosen]


@contextlib.contextmanager
def begun(wanted: Collection[str]) -> Iterator[Mapping[str, Future[Outcome]]]:
    """The outcomes of those of FILES, by their names. Who leaves before they are there ends them.

    A process of its own drives the machines: tests of this one change their environment.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=_end_with_us) as runs:
        found: dict[str, Future[Outcome]] = {}
        for chosen in MACHINES:
            if files := {file: which for file, which in chosen.items() if file in wanted}:
                found |= dict.fromkeys(files, runs.submit(_outcome, files))
        try:
            yield found
        finally:
            busy = not all(run.done() for run in found.values())
            runs.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children() if busy else ():
                assert worker.pid
                os.kill(worker.pid, signal.SIGINT)


def _end_with_us() -> None:
    """However this session ends, its machines do."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGINT)


def _outcome(files: Mapping[str, str]) -> Outcome:
    with started() as machine:
        machine.push_source()
        return run_inside(machine, *_selected(files))


def _selected(files: Mapping[str, str]) -> list[str]:
    """In pytest's words. It starts once for all, as that takes the machine many seconds."""
    chosen = [f"({Path(file).name} and ({which or '.py'}))" for file, which in files.items()]
    return [*files, "-k", " or ".join(chosen)]
