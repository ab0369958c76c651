"""What is told while behunt works, where it is not drawn: lines for a log."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hunt_events import HOSTILE, a_hunt, trial

from behunt import events
from behunt.cli.progress import can_draw, watching
from behunt.events import Event
from behunt.model import Outcome

TESTS = Path(__file__).parents[1]
UNHEARD = f"""
import sys
sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]
from hunt_events import a_hunt
from behunt.cli.progress import watching
sys.stdin.readline()
with watching() as emit:
    for event in a_hunt():
        emit(event)
print("summary")
"""


def plain(happened: Sequence[Event], *, verbose: bool = False) -> list[str]:
    stream = io.StringIO()
    with watching(stream, verbose=verbose) as emit:
        for event in happened:
            emit(event)
    return stream.getvalue().splitlines()


def test_a_log_has_a_line_for_everything_that_matters() -> None:
    assert plain(a_hunt()) == [
        "hunting test.sh in 5 releases, runner namespace, session 7: demo-1-amd64 to demo-5-amd64",
        "installing demo-5-amd64 (mmdebstrap)",
        "installed demo-5-amd64  12 s",
        "warning: demo-5-amd64: the Release file expired",
        "testing demo-5-amd64 (namespace)",
        "demo-5-amd64  bad      failed      1.2 s  (3 left)  exit 3",
        "testing demo-1-amd64 (namespace)",
        "demo-1-amd64  broken: the clone's disk is full, once more",
        "demo-1-amd64  good     passed      1.2 s  (2 left)",
        "demo-3-amd64  not installed after 400 ms: no source has it",
        "demo-3-amd64  unknown  broken      1.2 s  no source has it",
    ]


def test_verbose_adds_the_installers_lines() -> None:
    quiet, loud = plain(a_hunt()), plain(a_hunt(), verbose=True)
    assert [line for line in loud if line not in quiet] == ["demo-5-amd64: Unpacking libc6"]


def test_without_a_hunt_every_attempt_has_its_line() -> None:
    happened = [
        events.InstallStarted("demo-1-amd64", "archive"),
        events.InstallEnded("demo-1-amd64", "archive", 0.9),
        events.TrialStarted("demo-1-amd64", "test.sh", "uml"),
        events.TrialEnded(trial("demo-1-amd64", Outcome.TIMEOUT, "no end within 5 s: killed")),
    ]
    assert plain(happened) == [
        "installing demo-1-amd64 (archive)",
        "installed demo-1-amd64  900 ms",
        "testing demo-1-amd64 (uml)",
        "demo-1-amd64  timeout  1.2 s  no end within 5 s: killed",
    ]


@pytest.mark.parametrize(
    "event",
    [
        events.Note(HOSTILE),
        events.InstallEnded("demo-1-amd64", "mmdebstrap", 1.0, HOSTILE),
        events.TrialEnded(trial("demo-1-amd64", Outcome.FAILED, HOSTILE)),
        events.InstallProgress("demo-1-amd64", HOSTILE),
    ],
)
def test_hostile_texts_are_one_harmless_short_line(event: Event) -> None:
    (line,) = plain([event], verbose=True)
    assert len(line) < 1100
    assert line.isprintable()
    assert "way" in line


def test_a_stream_that_cannot_encode_gets_what_it_can() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
    with watching(stream) as emit:
        emit(events.Note("größer … ok"))
    assert raw.getvalue() == b"note: gr??er ? ok\n"


def test_a_reader_that_went_away_does_not_end_the_work() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", UNHEARD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stderr
        child.stderr.close()
        out, _ = child.communicate(b"\n", timeout=60)
    assert (child.returncode, out) == (0, b"summary\n")


def test_lines_of_many_threads_stay_whole() -> None:
    stream = io.StringIO()
    with watching(stream) as emit:
        notes = [events.Note(f"{n} " + "ab" * 40) for n in range(200)]
        threads = [threading.Thread(target=emit, args=(note,)) for note in notes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = stream.getvalue().splitlines()
    assert sorted(lines) == sorted(f"note: {note.text}" for note in notes)


def test_nothing_is_drawn_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(ours), os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("CI", raising=False)
        assert can_draw(terminal)
        assert not can_draw(io.StringIO())
        monkeypatch.setenv("CI", "true")
        assert not can_draw(terminal)
        monkeypatch.delenv("CI")
        monkeypatch.setenv("TERM", "dumb")
        assert not can_draw(terminal)
