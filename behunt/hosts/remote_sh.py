"""What is sent to a host that has a POSIX shell and nothing of ours: scripts, as text.

The command line that the remote login shell parses (sh, csh, fish, …) has nothing of the user's
in it: a shell that reads a script of known length from its standard input, then runs it. The
script tells how things went on standard error, each line marked with a secret:

    SECRET started
    SECRET exited STATUS [NAME]  (of the signal that the status may stand for)
    SECRET failed STEP ERRNO     (it never ran)
    SECRET ended                 (the tree was killed)

A command ends as a tree: when it has exited, when the connection is gone (end of file on our
standard input, which is held open), or when its lifetime is over.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from behunt.hosts.protocol import CLEAN_ENV, KEPT_OUTPUT
from behunt.hosts.remote_tree import MARK, ROOT, Way, ending, killing

_NOISE = 1 << 16  # bytes that a login shell may say before it is our turn
_LINE = 256  # bytes, longer than any line of ours
_WORD = 480  # characters: old csh has words of 1024 at most


@dataclass(frozen=True, slots=True)
class Order:
    """One command, as Host.run gets it. `stdin` is the number of bytes that follow the script."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str = "/"
    stdin: int = 0
    merged: bool = False
    lifetime: float = math.inf  # seconds

    @property
    def possible(self) -> bool:
        """Whether execve(2) could be asked for it."""
        words = (*self.argv, self.cwd, *self.env, *self.env.values())
        names = all(name and "=" not in name for name in self.env)
        return bool(self.argv) and names and not any("\0" in word for word in words)


@dataclass(frozen=True, slots=True)
class Marks:
    """Random words: one that the tree carries, and one that only the script knows."""

    tree: str
    secret: str


def command_line(
    script: bytes, tree: str = "", way: Way | None = None, lifetime: float = math.inf
) -> str:
    """What the login shell is given: the same to sh, csh, tcsh and fish. Then comes `script`."""
    root = f"{ROOT}={tree} " if tree else ""
    reaper = f"timeout -s KILL {_seconds(lifetime)} " if way is Way.REAPER else ""
    reading = f'eval "$(dd ibs=1 count={len(script)} 2>/dev/null)"'
    return f"exec env -i {root}PATH={CLEAN_ENV['PATH']} {reaper}sh -c '{reading}'"


def spelled(script: bytes) -> str:
    """`command_line` for a terminal, which standard input is then: the script is in the words."""
    octal = "".join(f"\\0{byte:03o}" for byte in script)
    words = " ".join(f"'{octal[at : at + _WORD]}'" for at in range(0, len(octal), _WORD))
    return f'exec env -i PATH={CLEAN_ENV["PATH"]} sh -c \'eval "$(printf %b "$@")"\' sh {words}'


def plain(text: str, secret: str) -> bytes:
    """A script of ours that can `say` something."""
    return _whole(f"{_saying(secret)}\n{text}")


def command(order: Order, marks: Marks, way: Way) -> bytes:
    """The script that runs `order`, ends what is left of it, and says how it went."""
    input_, watched = ("", "hangup") if order.stdin == 0 else (_piped(order.stdin), ":")
    return _whole(f"""\
umask 022
exec 3<&0 4>&2 </dev/null 2>/dev/null
{_saying(marks.secret)}
{ending(marks.tree, way)}
{_watching(order.lifetime, way)}
{_clean(order, marks.tree)}
{_entering(order)}
say started
{watched}
set -- {shlex.join(_words(order.argv))}
{input_}clean "$@"
status=$?
case $status in 126 | 127)
    clean true "$@" </dev/null >/dev/null || finish failed exec E2BIG
    set -f
    read -r first <"$file"
    case $first in '#!'*)
        set -- ${{first#??}}
        [ -e "$1" ] || finish failed interpreter ENOENT
    esac
esac
name=
[ $status -le 128 ] || name=$(kill -l $status)
finish exited $status $name
""")


def lent(order: Order) -> bytes:
    """The script that runs `order` on the terminal it was started on."""
    return _whole(f"""\
umask 022
cd -- {_path(order.cwd)} || exit 127
env -i {shlex.join(f"{name}={value}" for name, value in order.env.items())} \
{shlex.join(_words(order.argv))}
exit $?
""")


def end(marks: Marks, way: Way) -> bytes:
    """The script that kills the tree of another command."""
    return plain(
        f"""\
exec 4>&2 2>/dev/null
{killing(marks.tree, way)}
[ -n "$found" ] || say ended""",
        marks.secret,
    )


def _whole(text: str) -> bytes:
    # Braces: the shell runs nothing of a script whose end never came.
    return os.fsencode(f"{{\n{text.rstrip()}\n}}\n")


def _saying(secret: str) -> str:
    return f"say() {{ printf '%s\\n' \"{secret} $*\" >&4; }}"


def _clean(order: Order, tree: str) -> str:
    """A shell function that runs a command with the streams and the environment it is to have."""
    pairs = [f"{MARK}={tree}", *(f"{name}={value}" for name, value in order.env.items())]
    errors = "2>&1" if order.merged else "2>&4"
    # In a subshell: what a shell says of a command's death ("Killed") is not the command's.
    return f'clean() {{ (exec env -i {shlex.join(pairs)} "$@" {errors} 3<&- 4>&-); }}'


def _words(argv: Sequence[str]) -> Sequence[str]:
    """`argv` as env(1) takes it for a command, not for a variable."""
    return ["sh", "-c", 'exec "$@"', "sh", *argv] if "=" in argv[0] else argv


def _piped(stdin: int) -> str:
    """The left side of a pipe; what ends it may only start to listen when the input is through."""
    return f"{{ head -c {stdin} <&3 4>&-; hangup; }} | "


def _path(path: str) -> str:
    return shlex.quote(path if path.startswith("/") else f"./{path}")


def _entering(order: Order) -> str:
    """Go to the directory and look for the program, as spawnd.py's commands do."""
    program = order.argv[0]
    path = order.env.get("PATH", CLEAN_ENV["PATH"])
    names = [program] if "/" in program else [f"{at}/{program}" for at in path.split(":")]
    there = '[ -e "$file" ] && finish failed exec EACCES\n' if "/" in program else ""
    return f"""\
at={_path(order.cwd)}
cd -- "$at" || {{
    [ -d "$at" ] && finish failed cwd EACCES
    [ -e "$at" ] && finish failed cwd ENOTDIR
    finish failed cwd ENOENT
}}
for file in {shlex.join(names)}; do [ -x "$file" ] && [ ! -d "$file" ] && break; done
[ -x "$file" ] && [ ! -d "$file" ] || {{
    {there}finish failed exec ENOENT
}}"""


def _watching(lifetime: float, way: Way) -> str:
    lasting = f"{{ sleep {_seconds(lifetime)}; end; }} >/dev/null 3<&- 4>&- &"
    return f"""\
hangup() {{ {{ read -r _; end; }} <&3 >/dev/null 3<&- 4>&- & }}
{lasting if way is not Way.REAPER and lifetime < math.inf else ":"}"""


def _seconds(lifetime: float) -> int:
    """For sleep(1) and timeout(1), for which 0 is no end."""
    return math.ceil(min(lifetime, 9e7)) if lifetime < math.inf else 0


class Told:
    """A sink for standard error: takes apart what the script says and what its command says."""

    def __init__(self, secret: str) -> None:
        mark = re.escape(secret.encode())
        self._start = re.compile(mark + rb" started\n")
        self._end = re.compile(mark + rb" (exited|failed|ended)((?: \w+)*)\n")
        self._head = bytearray()
        self._tail = b""
        self.started = False
        self.end: tuple[str, ...] = ()

    def __call__(self, data: bytes) -> None:
        self._head += data[: KEPT_OUTPUT + _NOISE - len(self._head)]
        tail = self._tail + data
        self.started = self.started or bool(self._start.search(self._head))
        if end := self._end.search(tail):
            self.end = (end[1].decode(), *end[2].decode().split())
        self._tail = tail[-_LINE:]

    def text(self) -> str:
        """What the command said; without a start, all that anybody said."""
        said = bytes(self._head)
        if start := self._start.search(said):
            said = said[start.end() :]
        if end := self._end.search(said):
            said = said[: end.start()]
        return said[:KEPT_OUTPUT].decode(errors="replace")
