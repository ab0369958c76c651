"""A behunt that is watched while it runs: what it tells, what runs below it, and its end."""

from __future__ import annotations

import os
import select
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from behunt_cli import Behunt, Done, executable, releases
from tiny_root import tiny_root

PATIENCE = 60.0  # seconds, on a machine however busy
LAST, BREAKS = 17, 7
LAST_GOOD, FIRST_BAD = "demo-6-amd64", "demo-7-amd64"


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


Start = Callable[..., Running]


class Questions:
    """A test that tells when it is asked, and waits until it may answer.

    For the runner `none` only: it reads and writes FIFOs in `place`.
    """

    def __init__(self, place: Path) -> None:
        self._names = place / "asked.fifo", place / "leave.fifo"
        for name in self._names:
            os.mkfifo(name)
        self._asked, self._leave = (os.open(name, os.O_RDWR) for name in self._names)

    @property
    def script(self) -> str:
        """Shell that asks: its version goes out, and it goes on when a line comes in."""
        asked, leave = self._names
        return f'echo "$BEHUNT_VERSION" >{asked}\nread -r _ <{leave}\n'

    def next(self) -> str:
        """The version that the test is asked for next."""
        assert select.select([self._asked], [], [], PATIENCE)[0], "nothing is asked any more"
        version = b""
        while not version.endswith(b"\n"):
            version += os.read(self._asked, 1)
        return version.decode().strip()

    def answer(self, times: int = 99) -> None:
        """Let it answer so many times, by default as often as any hunt here asks."""
        os.write(self._leave, b"\n" * times)

    def close(self) -> None:
        os.close(self._asked)
        os.close(self._leave)


def hunt(behunt: Behunt, runner: str, body: str, last: int = LAST) -> list[str | Path]:
    """The words of a hunt whose test breaks in BREAKS."""
    source = {"source": str(tiny_root(behunt.place / "root"))} if runner == "namespace" else {}
    catalogue = releases(behunt.place / "builds.toml", range(1, last + 1), **source)
    test = executable(behunt.place / "test.sh", f"{body}\ntest $BEHUNT_VERSION -lt {BREAKS}")
    ends = ("--from", "1", "--to", str(last))
    return ["bisect", "--catalogue", catalogue, "--runner", runner, *ends, test]


def finished(behunt: Behunt) -> Counter[str]:
    """How many answers are stored for each release."""
    stored = behunt("results", "--limit", "999", "--json").json
    return Counter(t["release"] for t in stored if t["outcome"] != "broken")


def nothing_is_left(behunt: Behunt) -> None:
    assert str(behunt.home) not in Path("/proc/self/mountinfo").read_text()
    assert behunt("be", "list").code == 0, "whoever comes next reaps"
    left = [*behunt.home.glob("clones/*"), *behunt.home.glob("be/.*")]
    left += [*behunt.home.glob("runs/*/inside"), *behunt.home.glob("locks/owner.*")]
    assert left == []
