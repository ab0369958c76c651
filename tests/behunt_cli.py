"""behunt as a user starts it: a process with a home, a directory and an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import forked

COMMAND = (sys.executable, "-m", "behunt")
# What a machine needs to reach its mirrors and its Python; nothing of the user's settings.
_PASSED_ON = ("PATH", "PYTHONPATH", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Started(subprocess.Popen[str]):
    """One that runs on. A test that fails does not wait for its end."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, traceback)


@dataclass(frozen=True)
class Behunt:
    """`place` is where it is started, and its HOME; `home` is BEHUNT_HOME.

    `prefix` are words that bring it to where it shall run: into a namespace. `user` types, if it
    is somebody else.
    """

    place: Path
    home: Path
    prefix: tuple[str, ...] = ()
    user: str | None = None

    @classmethod
    def below(cls, directory: Path) -> Self:
        (directory / "place").mkdir()
        return cls(directory / "place", directory / "home")

    def environment(self, extra: Mapping[str, str] = {}) -> dict[str, str]:
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        own = {"HOME": str(self.place), "BEHUNT_HOME": str(self.home), "LANG": "C.UTF-8"}
        return {**passed, **own, **extra}

    def __call__(
        self, *words: str | Path, env: Mapping[str, str] = {}, stdin: str = "", timeout: float = 300
    ) -> Done:
        """Run it to its end. Whatever happens, it never shows a traceback."""
        argv, environment = [*map(str, words)], self.environment(env)
        if "BEHUNT_TEST_POOL" in os.environ:
            done = forked.run(
                argv,
                cwd=self.place,
                env=environment,
                stdin=stdin,
                timeout=timeout,
                user=self.user,
            )
        else:
            done = subprocess.run(
                [*self.prefix, *COMMAND, *argv],
                cwd=self.place,
                env=environment,
                input=stdin,
                capture_output=True,
                encoding="utf-8",
                timeout=timeout,
                check=False,
                user=self.user,
                extra_groups=None if self.user is None else (),
            )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str | Path) -> Started:
        return Started(
            [*self.prefix, *COMMAND, *map(str, words)],
            cwd=self.place,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def fails(self, code: int, *words: str | Path, says: str, env: Mapping[str, str] = {}) -> str:
        """Run it, see it fail with `code` in one sentence that has `says`; all that it said."""
        done = self(*words, env=env)
        assert (done.code, done.out) == (code, ""), done
        assert says in done.err, done.err
        return done.err


def releases(file: Path, versions: Iterable[object], **fields: str) -> Path:
    """A catalogue of the user's own: os `demo`, with `fields` in every release."""
    lines = ['os = "demo"']
    for version in versions:
        lines += ["[[release]]", f'version = "{version}"']
        lines += [f'{name} = "{value}"' for name, value in fields.items()]
    file.write_text("\n".join(lines) + "\n")
    return file


def executable(file: Path, body: str, interpreter: str = "/bin/sh") -> Path:
    file.write_text(f"#!{interpreter}\n{body}\n")
    file.chmod(0o755)
    return file


@dataclass(frozen=True)
class Hunting:
    """A user with a catalogue and a test, who hunts with the runner `none`."""

    behunt: Behunt
    catalogue: Path
    test: Path

    def asks(self, body: str) -> None:
        """Have the test be `body`, which also writes down that it was asked."""
        executable(self.test, f'echo "$BEHUNT_VERSION" >>{self._asked}\n{body}')

    @property
    def _asked(self) -> Path:
        return self.behunt.place / "asked"

    @property
    def asked(self) -> list[str]:
        """The versions that the test was run for, in order."""
        return self._asked.read_text().split() if self._asked.exists() else []

    def words(self, *more: str | Path) -> list[str | Path]:
        return ["bisect", "--catalogue", self.catalogue, "--runner", "none", *more, self.test]

    def __call__(self, *more: str | Path, first: str = "1", last: str = "65") -> Done:
        return self.behunt(*self.words("--from", first, "--to", last, *more))
