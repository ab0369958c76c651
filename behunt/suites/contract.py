"""The contract between behunt and a test: what it finds around it, and what its end means.

docs/tests.md says the same to the test's author. All pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from behunt.hosts.protocol import Completed
from behunt.model import UNLIMITED, Metric, Outcome, Release, Test

SKIPPED = 125  # exit status, as for git bisect run
# Where things lie in the directory that is shared with the inside.
WORK, OUT, METRICS = "test", "out", "metrics"

# As the kernel reads it: a carriage return belongs to the name.
_INTERPRETER = re.compile(rb"^#![ \t]*(?P<path>/[^ \t\n]+)(?:[ \t]+(?P<rest>[^\n]*))?")


def environment(
    test: Test, release: Release, runner: str, at: PurePosixPath, run: str = "1/1"
) -> dict[str, str]:
    """What a test sees beyond PATH, HOME, LANG and TERM. `run` is "k/n"."""
    return {
        **dict(test.env),
        "BEHUNT_RELEASE": release.id,
        "BEHUNT_OS": release.os,
        "BEHUNT_VERSION": release.version,
        "BEHUNT_ARCH": release.arch,
        "BEHUNT_RUNNER": runner,
        "BEHUNT_RUN": run,
        "BEHUNT_OUT": str(at / OUT),
        "BEHUNT_METRICS": str(at / METRICS),
    }


def interpreters(test: Test) -> tuple[str, ...]:
    """Programs that the test's own script needs before its first line can run, outermost first.

    `#!/bin/sh` names one. `#!/usr/bin/env python3` names two; the kernel finds the first, and
    env's exit status 127 for the second looks like an answer of the test.
    """
    program = test.argv[0].removeprefix("./")
    head = next((_first_line(f.path) for f in test.files if f.name == program), b"")
    match = _INTERPRETER.match(head)
    if match is None:
        return ()
    found = [match["path"].decode(errors="replace")]
    if PurePosixPath(found[0]).name == "env":
        words = re.split(r"[ \t]+", (match["rest"] or b"").decode(errors="replace").strip(" \t"))
        found += [word for word in words if word and word[0] != "-" and "=" not in word][:1]
    return tuple(found)


def _first_line(path: Path) -> bytes:
    with path.open("rb") as script:
        return script.readline(512)


@dataclass(frozen=True, slots=True)
class Ending:
    outcome: Outcome
    reason: str = ""
    exit_code: int | None = None


def ending(done: Completed, *, exhausted: str = "", exceeded: str = "") -> Ending:
    """What the end of a test means.

    `exhausted` names a resource of the harness that gave out: then a failure says nothing about
    the release. `exceeded` names a limit that the test ran into: that is the test's failure.
    """
    if not done.started:
        return Ending(Outcome.BROKEN, f"the test never started: {done.failure}")
    if done.code in {0, SKIPPED} and not (done.panic or done.timed_out):
        skipped = Ending(Outcome.SKIPPED, f"exit {SKIPPED}", SKIPPED)
        return skipped if done.code else Ending(Outcome.PASSED, "", 0)
    if exhausted:
        return Ending(Outcome.BROKEN, exhausted, done.code)
    if done.panic:
        return Ending(Outcome.PANICKED, done.panic)
    if done.timed_out:
        return Ending(Outcome.TIMEOUT, f"no end within {done.seconds:.0f} s: killed", None)
    return Ending(Outcome.FAILED, exceeded or _how(done), done.code)


def _how(done: Completed) -> str:
    shells_word = {126: " (a command could not be executed)", 127: " (a command was not found)"}
    return done.how + shells_word.get(done.code, "")


def metrics(text: str) -> tuple[Metric, ...]:
    """Read `name value [unit]` lines; others are left out, and `#` begins a comment."""
    found = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(None, 2)
        if len(words) < 2:  # noqa: PLR2004
            continue
        try:
            value = float(words[1])
        except ValueError:
            continue
        if math.isfinite(value):
            found.append(Metric(words[0], value, words[2].strip() if len(words) > 2 else ""))  # noqa: PLR2004
    return tuple(found)


def unmet(test: Test, capabilities: frozenset[str]) -> Sequence[str]:
    """The needs of a test that a runner with `capabilities` cannot meet."""
    wanted = set(test.needs)
    if test.network:
        wanted.add("network")
    if test.limits != UNLIMITED:
        wanted.add("limits")
    return sorted(wanted - capabilities)
