"""A job begun by hand, where a machine shows its login in the place of starting it itself.

So does one whose boot environment has an rc(8) that runs no rc.local. That is on its disk all the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from behunt.hosts.console import Console, Reached
from behunt.hosts.dialogue import Row
from behunt.runners.vm.consoles import dialogue
from behunt.runners.vm.job import WAITS, System

LOGIN, SHELL = "login", "shell"  # states of dialogues, and what those are called
USER, PASSWORD = "root", ""
_IN_VAIN = "the job does not start"


def prompts(os: str) -> tuple[Row, ...]:
    """What reaches LOGIN. Raises CatalogueError."""
    return dialogue(os, "boot")


def begin(console: Console, system: System, deadline: float, rows: Sequence[Row] = ()) -> Reached:
    """Answer the login that was shown, as root without a password, and begin the job.

    What came of it: READY, or why not. A job that starts by itself meanwhile is not begun once
    more, and what `rows` reach ends this as well: what was shown was no login, and a job runs.
    Raises ConsoleError at the deadline.
    """
    told = [WAITS, *rows]
    console.send(f"{USER}\r".encode(), deadline)
    answers = {"user": USER, "password": PASSWORD}
    shell = console.play([*dialogue(system.os, LOGIN), *told], deadline, answers)
    if shell.state != SHELL:
        return shell
    # In words of every shell, for root's may be csh(1), and in its place: it would read what the
    # script is to be told.
    console.send(f"exec sh {system.begin}\r".encode(), deadline)
    again = [replace(row, reached=_IN_VAIN) for row in prompts(system.os)]
    return console.play([*told, *again], deadline)
