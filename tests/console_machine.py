"""A machine at the other end of a serial line: shows what it is told to, and waits for answers.

A program of its own: `console_machine.py PLAN`, a JSON list of ["show", hex, bytes per write],
["typed", line], ["keys", text], ["flood", hex, bytes in all] and ["forever", hex]. It ends with
status 1 when something else is typed than its plan says.
"""

from __future__ import annotations

import json
import os
import sys
import tty
from collections.abc import Sequence
from pathlib import Path

Step = list[str | int]


def show(data: bytes, piece: int = 1 << 16) -> Step:
    return ["show", data.hex(), piece]


def plan(path: Path, steps: Sequence[Step]) -> list[str]:
    """The command line of a machine that follows `steps`."""
    path.write_text(json.dumps(steps), encoding="ascii")
    return [sys.executable, "-S", __file__, str(path)]


def written(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def typed(length: int) -> bytes:
    got = b""
    while len(got) < length and (more := os.read(0, length - len(got))):
        got += more
    return got


def follow(step: Step) -> bool:
    match step:
        case ["show", str(text), int(piece)]:
            data = bytes.fromhex(text)
            for at in range(0, len(data), piece):
                written(data[at : at + piece])
        case ["typed", str(line)]:
            return typed(len(line) + 1) == line.encode() + b"\r"
        case ["keys", str(keys)]:
            return typed(len(keys)) == keys.encode()
        case ["flood", str(text), int(size)]:
            data = bytes.fromhex(text) * (1 + (1 << 14) // (len(text) // 2))
            for _ in range(size // len(data) + 1):
                written(data)
        case ["forever", str(text)]:
            while True:
                written(bytes.fromhex(text) * 100)
        case _:
            raise ValueError(step)
    return True


if __name__ == "__main__":
    if os.isatty(0):
        tty.setraw(0)
    sys.exit(0 if all(follow(s) for s in json.loads(Path(sys.argv[1]).read_bytes())) else 1)
