"""A behunt that is watched while it runs: what it tells, what runs below it, and its end."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from behunt_cli import Behunt, Done

PATIENCE = 60.0  # seconds, on a machine however busy


def below(pid: int) -> list[int]:
    """All descendants of a process, itself left out."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *below(child)]
    return found


def handles(pids: list[int]) -> Iterator[int]:
    for pid in pids:
        with suppress(ProcessLookupError):
            yield os.pidfd_open(pid)


class Running:
    """`behunt WORDS…`, started. Its progress comes line by line."""

    def __init__(self, behunt: Behunt, *words: str | Path) -> None:
        self.process = behunt.start(*words)
        self.told: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def tells(self, lines: int) -> bool:
        """Wait until it has told so many more lines; false if it ended before that."""
        assert self.process.stderr is not None
        for _ in range(lines):
            line = self.process.stderr.readline()
            if not line:
                return False
            self.told.append(line.rstrip("\n"))
        return True

    def tells_of(self, words: str) -> None:
        """Wait until it tells a line with these words."""
        while self.tells(1):
            if words in self.told[-1]:
                return
        raise AssertionError("\n".join(self.told))

    def signalled(self, number: signal.Signals) -> Done:
        """Send a signal; its end. All that ran below it is dead then, or soon after."""
        fds = list(handles(below(self.process.pid)))
        self.process.send_signal(number)
        done = self.ended()
        for fd in fds:
            assert select.select([fd], [], [], PATIENCE)[0], "something runs on"
            os.close(fd)
        return done

    def ended(self) -> Done:
        out, err = self.process.communicate(timeout=PATIENCE)
        said = "\n".join([*self.told, err])
        assert "Traceback" not in said, said
        return Done(self.process.returncode, out, said)


class Questions:
    """A test that tells when it is asked, and waits with its answer as long as `held`.

    For the runner `none` only: it reads and writes FIFOs in `place`.
    """

    def __init__(self, place: Path) -> None:
        self.asked_fifo, self.go = place / "asked.fifo", place / "go"
        os.mkfifo(self.asked_fifo)
        self._asked = os.open(self.asked_fifo, os.O_RDWR)
        os.mkfifo(self.go)
        self._go = os.open(self.go, os.O_RDWR)
        self.free()

    @property
    def script(self) -> str:
        """Shell that asks: the version goes out, and one line comes in and goes back."""
        return (
            f'echo "$BEHUNT_VERSION" >{self.asked_fifo}\n'
            f"read -r line <{self.go}; echo go >{self.go}\n"
        )

    def free(self) -> None:
        os.write(self._go, b"go\n")

    def hold(self) -> None:
        """From now on whoever is asked waits."""
        os.read(self._go, 99)

    def next(self) -> str:
        """The version that the test is asked for next."""
        assert select.select([self._asked], [], [], PATIENCE)[0], "nothing is asked any more"
        version = b""
        while not version.endswith(b"\n"):
            version += os.read(self._asked, 1)
        return version.decode().strip()

    def close(self) -> None:
        os.close(self._asked)
        os.close(self._go)
