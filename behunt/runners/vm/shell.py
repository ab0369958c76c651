"""A shell at the prompt of a console: a line is typed when the one before has ended well."""

from __future__ import annotations

from collections.abc import Iterable

from behunt.errors import ConsoleError, InstallError
from behunt.hosts.console import Console
from behunt.hosts.dialogue import Row

LONGEST = 240  # characters of a line: a terminal of before 2000 takes 255 (MAX_CANON)
# In any sh of POSIX what a prompt holds is expanded each time it is shown. Who edits lines draws
# them anew, prompt and all; a shell that cannot may not know the option, and would forget the rest.
# The quotes keep the echo of it from being a prompt.
_BEGIN = "(set +o emacs) 2>/dev/null && set +o emacs; PS1='be''hunt $?# '"
_WELL, _ILL = "well", "ill"
_PROMPTS = (
    Row(text="behunt 0# ", reached=_WELL),
    Row(regex=r"behunt [1-9]\d*# ", reached=_ILL),
)


def type_all(console: Console, lines: Iterable[str], deadline: float) -> None:
    """Type `lines`, which read no input, to a shell that has shown a prompt or will.

    Raises InstallError at the first that fails, or when the machine dies, with the last screen;
    ConsoleError at the deadline, a moment of time.monotonic().
    """
    for line in (_BEGIN, *lines):
        _type(console, line, deadline)


def _type(console: Console, line: str, deadline: float) -> None:
    if len(line) > LONGEST or not line.isprintable():
        raise ValueError(f"no line to type: {line!r}")
    console.transcript.note(f"typed: {line}")
    console.send(f"{line}\r".encode(), deadline)
    try:
        seen = console.play(_PROMPTS, deadline)
    except ConsoleError as error:
        raise ConsoleError(f"`{line}` does not end: {error.message}", error.hint) from error
    if seen.state == _WELL:
        return
    how = f"exit {_status(seen.said)}" if seen.state == _ILL else f"{seen.state}: {seen.said}"
    raise InstallError(f"`{line}` failed on its console: {how}", seen.screen)


def _status(prompt: str) -> str:
    return prompt.rpartition("behunt ")[2].partition("#")[0]
