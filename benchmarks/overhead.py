"""What one trial costs beyond the bare commands: clone, enter, `true`, destroy, record.

The peer is what a person would type: unshare, a tmpfs, an overlay, chroot, in one shell line.
Both run in turns in the same process, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import Lab, Settings, opened
from behunt.drive.trial import answer
from behunt.model import BootEnv, Release, Test

LIMIT = 1.5  # times the bare commands


def by_hand(bootenv: BootEnv, stage: Path) -> list[str]:
    """The bare commands: nothing but the clone, the namespaces and the program."""
    mount = (
        f"mount -t tmpfs tmpfs {stage} && mkdir {stage}/u {stage}/w {stage}/m && "
        f"mount -t overlay -o lowerdir={bootenv.path},upperdir={stage}/u,workdir={stage}/w "
        f"overlay {stage}/m && exec chroot {stage}/m true"
    )
    flags = ["--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child"]
    return ["unshare", *flags, "sh", "-c", mount]


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def measure(lab: Lab, release: Release, rounds: int) -> dict[str, float]:
    """Median milliseconds of a recorded trial and of the bare commands."""
    bootenv = ensure(lab, release)
    test = Test("true", ("true",))
    hand = by_hand(bootenv, lab.home.stage)
    session = lab.results.new_session("benchmark", {})
    for _ in range(5):
        answer(lab, release, test, session=session)
    ours, bare = [], []
    for _ in range(rounds):
        bare.append(timed(lambda: subprocess.run(hand, check=True)))
        ours.append(timed(lambda: answer(lab, release, test)))
    return {
        "behunt_ms": round(statistics.median(ours), 2),
        "by_hand_ms": round(statistics.median(bare), 2),
        "ratio": round(statistics.median(ours) / statistics.median(bare), 2),
        "limit": LIMIT,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="use this home instead of one thrown away")
    parser.add_argument("--release", default="debian-12")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("overhead.py needs root: it mounts")
    release = catalogue.find(catalogue.load("debian"), options.release)
    with tempfile.TemporaryDirectory() as scratch:
        home = options.home or Path(scratch) / "home"
        with opened(home, "namespace", settings=Settings(fresh=True)) as lab:
            row = measure(lab, release, options.rounds)
    if options.json:
        print(json.dumps(row))
        return
    print("one trial: clone, enter, `true`, destroy; behunt's is recorded as well")
    print(f"  behunt      {row['behunt_ms']:6.2f} ms")
    print(f"  by hand     {row['by_hand_ms']:6.2f} ms   (unshare + overlay + chroot + true)")
    print(f"  ratio       {row['ratio']:6.2f}      (at most {LIMIT})")


if __name__ == "__main__":
    main()
