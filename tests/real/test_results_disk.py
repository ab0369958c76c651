"""The store on a disk that fills up, and on one that cannot be written: real ones, small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import behunt

pytestmark = pytest.mark.real

# The child has a file system of its own, which is gone with it.
MOUNT = """
import json, pathlib, subprocess, sys
from behunt.errors import HostError
from behunt.model import Outcome, Trial
from behunt.results.store import Results

disk = pathlib.Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "behunt-test", disk], check=True)

def trial(size=200):
    return Trial("r", "t", "none", Outcome.PASSED, "k", reason="x" * size)

def refused(what):
    try:
        what()
    except HostError as error:
        return [error.message, error.hint]
"""


def on_a_small_disk(tmp_path: Path, code: str) -> Any:
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", MOUNT + code, tmp_path],
        env=os.environ | {"PYTHONPATH": str(Path(behunt.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_a_full_disk_loses_nothing_recorded_before(tmp_path: Path) -> None:
    said = on_a_small_disk(
        tmp_path,
        """
results = Results.open(disk / "results.db")
(disk / "filler").write_bytes(bytes(600_000))
recorded = []
def fill():
    while True:
        recorded.append(results.add_trial(trial()).id)
error = refused(fill)
readable = len(results.trials())
(disk / "filler").unlink()
recorded.append(results.add_trial(trial()).id)  # the same store goes on
results.close()
with Results.open(disk / "results.db") as again:
    stored = [t.id for t in reversed(again.trials())]
print(json.dumps([error, readable, recorded, stored]))
""",
    )
    (message, hint), readable, recorded, stored = said
    assert message.startswith("no space is left for the results database")
    assert "nothing recorded before is lost" in hint
    assert readable == len(recorded) - 1 > 0
    assert stored == recorded


def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    said = on_a_small_disk(
        tmp_path,
        """
try:
    (disk / "filler").write_bytes(bytes(2_000_000))
except OSError:
    pass
print(json.dumps(refused(lambda: Results.open(disk / "results.db"))))
""",
    )
    message, hint = said
    assert "results database" in message
    assert "full" in hint or "room" in hint


def test_a_file_system_that_is_read_only(tmp_path: Path) -> None:
    said = on_a_small_disk(
        tmp_path,
        """
Results.open(disk / "results.db").close()
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
print(json.dumps([
    refused(lambda: Results.open(disk / "results.db")),
    refused(lambda: Results.open(disk / "new" / "results.db")),
]))
""",
    )
    for message, hint in said:
        assert "results.db" in message
        assert "BEHUNT_HOME" in hint
