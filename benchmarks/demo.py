"""How long the demo's hunt takes: from nothing, from archives, and when all is answered."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEST = Path(__file__).parents[1] / "docs/examples/crypt.sh"
HUNT = ["--os", "debian", "--from", "11", "--to", "sid", "--package", "python3", "--jobs", "2"]


def seconds(home: Path) -> float:
    command = [sys.executable, "-m", "behunt", "--home", str(home), "bisect", *HUNT, str(TEST)]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return round(time.perf_counter() - began, 1)


def measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        cold = seconds(home)
        answered = seconds(home)
        for part in ("be", "results.db", "results.db-wal", "results.db-shm"):
            path = home / part
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return {"cold_s": cold, "warm_s": seconds(home), "answered_s": answered}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("demo.py needs root: it installs releases")
    row = measure()
    if options.json:
        print(json.dumps(row))
        return
    print("the demo's hunt, Debian 11 to sid")
    print(f"  cold            {row['cold_s']:6.1f} s   (every release installed from the mirror)")
    print(f"  warm            {row['warm_s']:6.1f} s   (made again from kept archives)")
    print(f"  asked before    {row['answered_s']:6.1f} s   (every answer is stored)")


if __name__ == "__main__":
    main()
