"""A guest to try things in: `PYTHONPATH=.:tests python -m guest start` as root, and what it says.

The other words are for while it runs, with the directory that it named: `push DIR`,
`run DIR COMMAND…`, `test DIR WORDS…` (pytest's, after the checkout is pushed).
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from guest.machine import Machine, started
from guest.tested import run_inside


def main(verb: str = "", *words: str) -> int:
    if verb == "start" and not words:
        return _start()
    if verb not in {"push", "run", "test"} or not words:
        print(__doc__, file=sys.stderr)
        return 2
    machine = Machine(Path(words[0]))
    if verb == "run":
        done = machine.run(words[1:], timeout=3600, check=False)
        print(done.out, end="")
        print(done.err, end="", file=sys.stderr)
        return done.code
    machine.push_source()
    if verb == "push":
        return 0
    result = run_inside(machine, *words[1:])
    print(result.said)
    return 1 if result.failed or not result.passed else 0


def _start() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with started() as machine:
            print(f"{machine.directory} is there until interrupted; try", flush=True)
            print(f"  ssh -F {machine.ssh_config} guest", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
