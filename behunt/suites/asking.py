"""Make a Test of what the user wrote on the command line. Refuses what cannot be asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from behunt.errors import UsageError
from behunt.model import UNLIMITED, Limits, Test, TestFile


@dataclass(frozen=True, slots=True)
class Terms:
    """How a test is to be run, whatever it is."""

    timeout: float = 600.0  # seconds
    needs: frozenset[str] = frozenset()
    network: bool = False
    limits: Limits = UNLIMITED
    env: tuple[tuple[str, str], ...] = ()


PLAIN = Terms()


def script(
    path: Path, arguments: Sequence[str] = (), *, beside: Sequence[Path] = (), terms: Terms = PLAIN
) -> Test:
    """A test that is a file of the user's, run with `arguments`; `beside` are laid next to it.

    Text without `#!` is run by /bin/sh, as a shell, execvp(3) and git bisect run do it.
    """
    _check_script(path)
    files = [TestFile(path.name, path), *_files(beside)]
    _check_names(files)
    shell = () if _names_interpreter(path) else ("/bin/sh",)
    return _test(path.name, (*shell, f"./{path.name}", *arguments), files, terms)


def command(argv: Sequence[str], *, beside: Sequence[Path] = (), terms: Terms = PLAIN) -> Test:
    """A test that is a command of the release's own."""
    if not argv:
        raise UsageError("there is nothing to run", "name a test file, or a command after `--`")
    files = _files(beside)
    _check_names(files)
    return _test(" ".join(argv)[:60], tuple(argv), files, terms)


def _test(name: str, argv: tuple[str, ...], files: Sequence[TestFile], terms: Terms) -> Test:
    return Test(
        name,
        argv,
        tuple(files),
        timeout=terms.timeout,
        needs=terms.needs,
        network=terms.network,
        limits=terms.limits,
        env=terms.env,
    )


def _check_script(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"there is no test file {path}", "check the path")
    if not path.is_file():
        raise UsageError(f"{path} is not a file", "name the script itself; --file adds others")
    if path.stat().st_size == 0:
        raise UsageError(
            f"{path} is empty: it would pass everywhere", "write a test that fails on a bad release"
        )
    if not os.access(path, os.X_OK):
        raise UsageError(f"{path} is not executable", f"chmod +x {path}")


def _names_interpreter(path: Path) -> bool:
    """Whether the kernel can tell what runs it: a `#!` line, or what is no text. May refuse it."""
    with path.open("rb") as content:
        head = content.read(512)
    first, newline, _ = head.partition(b"\n")
    if newline and first.startswith(b"#!") and first.endswith(b"\r"):
        raise UsageError(
            f"{path} has the line ends of Windows: no system finds its interpreter",
            f"sed -i 's/\\r$//' {path}",
        )
    return head.startswith(b"#!") or b"\0" in head


def _files(paths: Sequence[Path]) -> list[TestFile]:
    found = []
    for path in paths:
        if path.is_dir():
            below = sorted(p for p in path.rglob("*") if p.is_file())
            found += [TestFile(str(PurePosixPath(p.relative_to(path.parent))), p) for p in below]
        elif path.is_file():
            found.append(TestFile(path.name, path))
        else:
            raise UsageError(f"there is no file {path}", "check the path given to --file")
    return found


def _check_names(files: Sequence[TestFile]) -> None:
    names = [file.name for file in files]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two files are called {name} inside", "rename one: they share a directory"
            )
