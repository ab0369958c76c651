"""How long behunt takes to say anything, beside `import click` in the same interpreter."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

LIMIT = 3.0  # times `import click`, for --help
COMMANDS = {
    "click": ["-c", "import click"],
    "help": ["-m", "behunt", "--help"],
    "releases": ["-m", "behunt", "releases"],
}


def milliseconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def measure(rounds: int) -> dict[str, float]:
    """Medians; the commands take turns, so that a busy machine slows all alike."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(rounds + 2):
        for name, arguments in COMMANDS.items():
            elapsed = milliseconds(arguments)
            if turn >= 2:  # the first turns fill the caches
                taken[name].append(elapsed)
    row = {f"{name}_ms": round(statistics.median(times), 1) for name, times in taken.items()}
    return {**row, "ratio": round(row["help_ms"] / row["click_ms"], 2), "limit": LIMIT}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    row = measure(options.rounds)
    if options.json:
        print(json.dumps(row))
        return
    print("start-up")
    print(f"  import click       {row['click_ms']:6.1f} ms")
    print(f"  behunt --help      {row['help_ms']:6.1f} ms   {row['ratio']} × (at most {LIMIT:.0f})")
    print(f"  behunt releases    {row['releases_ms']:6.1f} ms")


if __name__ == "__main__":
    main()
