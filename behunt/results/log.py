r"""The text of `behunt bisect log`, which a person can read and edit and `replay` accepts.

    # behunt bisect log
    behunt bisect start --find break --jobs 2 --runner namespace -- ./test.sh 'a word'
    # debian 11 (bullseye), 2021-08-14
    release debian-11-amd64
    …
    good debian-11-amd64 # passed
    bad debian-sid-amd64 # failed: exit code 1
    unknown debian-12-amd64 # broken: the mirror answered 404

`#` starts a comment. That of an answer holds its outcome and reason, and may be left out. Options
are quoted as for a shell. A value is what it reads as in JSON (`2`, `null`, `["a", "b"]`), else a
string; an option without a value is true. A number counts as one only in the form JSON writes it:
`9.10` is a version, and `str` of what `11` reads as is what stood there.
"""

from __future__ import annotations

import json
import shlex
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from behunt.errors import UsageError
from behunt.model import Answered, Outcome, Release, Verdict

_START = ["behunt", "bisect", "start"]

# What an answer without an outcome stands for: a person looked, or chose not to.
_BY_HAND = {
    Verdict.GOOD: Outcome.PASSED,
    Verdict.BAD: Outcome.FAILED,
    Verdict.UNKNOWN: Outcome.SKIPPED,
}


class Logged(NamedTuple):
    """One answer of a log."""

    release: str
    verdict: Verdict
    outcome: Outcome
    reason: str


def write_log(
    params: Mapping[str, Any], answers: Sequence[Answered], releases: Sequence[Release]
) -> str:
    """Write a hunt: its parameters (JSON-able), its releases oldest first, its answers in order.

    Two parameters have a form of their own: `argv` follows `--`, and `releases` are the `release`
    lines, made from the argument of that name.
    """
    lines = ["# behunt bisect log", shlex.join(_START) + _options(params)]
    for release in releases:
        lines += [f"# {_described(release)}", f"release {release.id}"]
    lines += [_answer(answered) for answered in answers]
    return "\n".join(lines) + "\n"


def read_log(text: str) -> tuple[dict[str, Any], list[Logged]]:
    """Read what `write_log` wrote: parameters, with `releases` as ids, and answers in order.

    A release may be answered more than once: the caller decides, `write_log`'s order is that of
    the hunt. UsageError names the line that is not understood.
    """
    lines = [
        (number, line)
        for number, line in enumerate(map(str.strip, text.split("\n")), 1)
        if line and not line.startswith("#")
    ]
    if not lines:
        raise UsageError("the log is empty", _HINT)
    params = _read_start(*lines[0])
    releases = [_read_release(n, line) for n, line in lines[1:] if _command(line) == "release"]
    if releases:
        params["releases"] = releases
    answers = [
        _read_answer(n, line, releases) for n, line in lines[1:] if _command(line) != "release"
    ]
    return params, answers


# -- writing


def _options(params: Mapping[str, Any]) -> str:
    argv = params.get("argv")
    positional = _is_plain_argv(argv)
    written = ""
    for name, value in params.items():
        if name == "releases" or (name == "argv" and positional):
            continue
        written += f" --{name.replace('_', '-')}"
        if value is not True:
            written += f" {shlex.quote(_word(value))}"
    return written + (f" -- {shlex.join(argv)}".rstrip() if argv is not None and positional else "")


def _is_plain_argv(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(word, str) and word.isprintable() for word in value
    )


def _word(value: Any) -> str:
    """One word of the start line that `_value` reads as `value`."""
    if not isinstance(value, str):
        return json.dumps(value)
    plain = value.isprintable() and not value.startswith("--") and _value(value) == value
    return value if plain else json.dumps(value)


def _described(release: Release) -> str:
    return release.label + (f", {release.date}" if release.date else "")


def _answer(answered: Answered) -> str:
    trial = answered.trial
    reason = " ".join(trial.why.split())
    said = f"{trial.outcome}: {reason}" if reason else str(trial.outcome)
    return f"{answered.verdict} {trial.release} # {said}"


# -- reading

_HINT = "`behunt bisect log` shows what a log looks like"


def _wrong(number: int, what: str) -> UsageError:
    return UsageError(f"line {number} of the log: {what}", _HINT)


def _command(line: str) -> str:
    return line.split(maxsplit=1)[0]


def _read_start(number: int, line: str) -> dict[str, Any]:
    try:
        words = shlex.split(line, comments=True)
        if words[: len(_START)] != _START:
            raise _wrong(number, f"the first command must be `{shlex.join(_START)}`")
        return _read_options(words[len(_START) :])
    except ValueError as error:  # an unclosed quote, or ours
        raise _wrong(number, str(error)) from error


def _read_options(words: Iterable[str]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    left = deque(words)
    while left:
        word = left.popleft()
        if word == "--":
            return params | {"argv": list(left)}
        if not word.startswith("--"):
            raise ValueError(f"`{word}` is not an option (the test comes after `--`)")
        option, given, value = word.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if name in params:
            raise ValueError(f"{option} is given twice")
        if not given:
            value = left.popleft() if left and not left[0].startswith("--") else "true"
        params[name] = _value(value)
    return params


def _value(word: str) -> Any:
    try:
        value = json.loads(word)
    except ValueError:
        return word
    return word if isinstance(value, int | float) and json.dumps(value) != word else value


def _read_release(number: int, line: str) -> str:
    match line.partition("#")[0].split():
        case [_, release]:
            return release
    raise _wrong(number, "`release` takes one release")


def _read_answer(number: int, line: str, releases: Sequence[str]) -> Logged:
    command, _, comment = line.partition("#")
    match command.split():
        case [("good" | "bad" | "unknown") as word, release]:
            verdict = Verdict(word)
        case [("good" | "bad" | "unknown") as word, *_]:
            raise _wrong(number, f"`{word}` takes one release")
        case _:
            raise _wrong(number, f"`{_command(line)}` is none of release, good, bad, unknown")
    if releases and release not in releases:
        raise _wrong(number, f"{release} is not one of the log's releases")
    said, _, reason = comment.partition(":")
    if said.strip() in set(Outcome):
        return Logged(release, verdict, Outcome(said.strip()), reason.strip())
    return Logged(release, verdict, _BY_HAND[verdict], comment.strip())
