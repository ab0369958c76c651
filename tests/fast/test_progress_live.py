"""The live view, read from a terminal as a user reads it."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pyte
import pytest
from hunt_events import a_hunt

from behunt import events
from behunt.cli.frame import frame
from behunt.cli.watched import Watched, told
from behunt.events import Event

TESTS = Path(__file__).parents[1]


def watched(happened: Sequence[Event]) -> Watched:
    state = Watched()
    for event in happened:
        state = told(state, event, 0.0)
    return state


def test_a_low_terminal_keeps_what_matters_most() -> None:
    state = watched(a_hunt()[:3])
    heights = [len(frame(state, 0.0, 80, height)) for height in range(1, 30)]
    assert all(shown <= height for height, shown in enumerate(heights, start=1))
    two = ["".join(text for text, _ in row) for row in frame(state, 0.0, 80, 3)]
    assert any("[ ·" in row for row in two)
    assert "trials done" in two[-1]


def test_a_test_outside_a_hunt_has_the_terminal_for_itself() -> None:
    installing = watched([events.InstallStarted("demo-1-amd64", "archive")])
    assert frame(installing, 0.0, 80, 24)
    testing = told(installing, events.TrialStarted("demo-1-amd64", "t", "none"), 0.0)
    assert frame(testing, 0.0, 80, 24) == []


class Terminal:
    """A script in a pseudo-terminal, and what a user sees of it. `go` lets it pass a `pause()`."""

    def __init__(self, script: str, columns: int, lines: int, **env: str) -> None:
        self.screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        inherited = {k: v for k, v in os.environ.items() if k not in {"CI", "NO_COLOR", "COLUMNS"}}
        self._child = pexpect.spawn(
            sys.executable,
            ["-c", PROLOGUE + textwrap.dedent(script)],
            dimensions=(lines, columns),
            env={**inherited, "TERM": "xterm-256color", "PYTHONUTF8": "1", **env},  # type: ignore[arg-type]
            echo=False,
        )

    def sees(self, holds: Callable[[list[str]], bool]) -> list[str]:
        """Read until the screen `holds`; its lines."""
        while not holds(self.lines):
            self._take(self._child.read_nonblocking(1 << 16, timeout=20))
        return self.lines

    def go(self) -> None:
        self._child.send("\n")

    def resize(self, columns: int, lines: int) -> None:
        self._child.setwinsize(lines, columns)
        self.screen.resize(lines, columns)

    def ends(self) -> list[str]:
        """Read to its end; its lines."""
        try:
            while True:
                self._take(self._child.read_nonblocking(1 << 16, timeout=20))
        except pexpect.EOF:
            self._child.close()
        return self.lines

    def _take(self, data: bytes) -> None:
        self.raw += data
        self._stream.feed(data)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    @property
    def cursor_visible(self) -> bool:
        return not self.screen.cursor.hidden


PROLOGUE = f"""
import sys
sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]
from hunt_events import *
from behunt.cli.progress import watching
def pause(): sys.stdin.readline()
"""
HUNT = """
    with watching() as emit:
        for event in a_hunt()[:STOP]:
            emit(event)
        pause()
    print("summary")
"""


@contextmanager
def terminal(script: str, columns: int = 80, lines: int = 24, **env: str) -> Iterator[Terminal]:
    shown = Terminal(script, columns, lines, **env)
    try:
        yield shown
    finally:
        shown._child.close(force=True)


def has(text: str) -> Callable[[list[str]], bool]:
    return lambda lines: any(text in line for line in lines)


def test_the_live_view_shows_a_hunt_and_leaves_the_terminal_clean() -> None:
    with terminal(HUNT.replace("STOP", "9")) as shown:
        lines = shown.sees(has("testing    demo-1"))
        assert not shown.cursor_visible
        assert "warning: demo-5-amd64: the Release file expired" in lines
        assert "demo-5-amd64  bad      failed      1.2 s  (3 left)  exit 3" in lines
        assert " hunting test.sh in 5 releases, runner namespace, session 7" in lines
        assert "  [ *   ·   ·   · ] B" in lines
        assert " first bad   demo-5-amd64" in lines
        assert " last good   not proved yet" in lines
        assert has("1 trial done, about 3 left")(lines)
        shown.go()
        lines = shown.ends()
        assert shown.cursor_visible
    assert lines[lines.index("summary") - 2] == "  [ ·   ·   ·   · ] B"
    assert not has("testing")(lines)
    assert not has("trial done")(lines)


@pytest.mark.parametrize("error", ["RuntimeError('boom')", "KeyboardInterrupt"])
def test_an_exception_leaves_the_terminal_clean(error: str) -> None:
    script = f"""
        with watching() as emit:
            for event in a_hunt()[:3]:
                emit(event)
            raise {error}
    """
    with terminal(script) as shown:
        lines = shown.ends()
        assert shown.cursor_visible
    assert not has("installing")(lines)
    assert has(error.partition("(")[0])(lines)


def test_hostile_texts_do_not_reach_the_terminal() -> None:
    script = """
        with watching(verbose=True) as emit:
            emit(a_hunt()[0])
            emit(events.InstallStarted("demo-5-amd64", "mmdebstrap"))
            emit(events.InstallProgress("demo-5-amd64", HOSTILE))
            emit(events.Note(HOSTILE[:60]))
            emit(narrowed("demo-5-amd64", Outcome.FAILED, (None, 4), 3, HOSTILE))
            pause()
    """
    with terminal(script) as shown:
        lines = shown.sees(has("1 trial done"))
        assert has("[red]")(lines)
        shown.go()
        shown.ends()
    assert b"\x1b[2J" not in shown.raw
    assert b"owned" not in shown.raw


def test_no_color_is_respected() -> None:
    with terminal(HUNT.replace("STOP", "9"), NO_COLOR="1") as shown:
        shown.sees(has("testing"))
        shown.go()
        shown.ends()
    assert not re.search(rb"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;)", shown.raw)


@pytest.mark.parametrize(("columns", "lines"), [(20, 10), (10, 3), (200, 60)])
def test_any_size_of_terminal_will_do(columns: int, lines: int) -> None:
    with terminal(HUNT.replace("STOP", "9"), columns, lines) as shown:
        shown.sees(has("trial"))
        shown.go()
        assert has("summary")(shown.ends())
        assert shown.cursor_visible


def test_it_follows_the_size_of_the_terminal() -> None:
    script = """
        with watching() as emit:
            emit(events.HuntStarted(7, releases(100), "test.sh", "namespace"))
            emit(events.TrialStarted("demo-1-amd64", "test.sh", "namespace"))
            pause()
    """
    with terminal(script, 120, 30) as shown:
        (wide,) = [line for line in shown.sees(has("[*")) if "[*" in line]
        assert len(wide) == len(" [") + 100 + len("]")
        shown.resize(60, 20)
        lines = shown.sees(lambda lines: any(re.fullmatch(r" \[\*·+99·+\]", x) for x in lines))
        assert sum("testing" in line for line in lines) == 1
        shown.go()
        shown.ends()


def test_what_a_test_prints_is_not_drawn_over() -> None:
    script = """
        with watching() as emit:
            emit(events.InstallStarted("demo-1-amd64", "archive"))
            emit(events.InstallEnded("demo-1-amd64", "archive", 1.0))
            emit(events.TrialStarted("demo-1-amd64", "test.sh", "none"))
            print("half a line, ", end="", flush=True)
            emit(events.TrialStarted("demo-1-amd64", "test.sh", "none"))  # has it drawn again
            print("the other half", flush=True)
            emit(events.TrialEnded(trial("demo-1-amd64", Outcome.PASSED)))
    """
    with terminal(script) as shown:
        lines = [line for line in shown.ends() if line]
    assert lines == ["half a line, the other half", "demo-1-amd64  passed  1.2 s"]
