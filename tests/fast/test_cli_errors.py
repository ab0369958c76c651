"""Bad input and bad days at the command line: one sentence, what to do, the exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from behunt_cli import COMMAND, Behunt, Hunting, executable, releases

from behunt.cli.main import cli


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            if not below.hidden:
                yield from commands(below, *path, name)


@pytest.mark.parametrize("path", list(commands(cli)), ids=" ".join)
def test_help_has_an_example(behunt: Behunt, path: tuple[str, ...]) -> None:
    done = behunt(*path, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Example" in done.out or path == ("be",), "each of be's commands has its own"
    assert f"behunt {' '.join(path)}".strip() in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    behunt.fails(2, *path, "--no-such-option", says="--no-such-option")


def test_version(behunt: Behunt) -> None:
    assert behunt("--version").out.startswith("behunt, version ")


def test_a_word_that_is_no_command(behunt: Behunt) -> None:
    behunt.fails(2, "bisct", says="No such command 'bisct'")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--from", "1", "--to", "1"), "demo-1-amd64 is both ends"),
        ((), "a range is missing"),
        (("--from", "1", "--to", "66"), "Near it:"),
        (("--from", "1", "--to", "65", "--needs", "luck"), "no runner has a capability luck"),
        (("--from", "1", "--to", "65", "--needs", "own_kernel"), "needs own_kernel"),
        (("--from", "1", "--to", "65", "--network", "--needs", "root"), "needs root"),
        (("--from", "1", "--to", "65", "--runner", "magic"), "there is no runner magic"),
        (("--from", "1", "--to", "65", "--env", "A"), "--env A is not NAME=VALUE"),
        (("--from", "1", "--to", "65", "--file", "gone"), "there is no file gone"),
        (("--from", "1", "--to", "65", "--file", "test.sh"), "two files are called test.sh"),
        (("--from", "1", "--to", "65", "--timeout", "soon"), "'soon' is not a time"),
        (("--from", "1", "--to", "65", "--memory", "lots"), "'lots' is not a size"),
        (("--from", "1", "--to", "65", "--memory", "512"), "512 is less than a megabyte"),
        (("--from", "1", "--to", "65", "--jobs", "0"), "0 is not in the range"),
        (("--from", "1", "--to", "65", "--keyring", "gone.gpg"), "there is no keyring"),
    ],
)
def test_what_cannot_be_hunted(hunting: Hunting, words: tuple[str, ...], says: str) -> None:
    own = ("--catalogue", "builds.toml", "--runner", "none") if words else ()
    hunting.behunt.fails(2, "bisect", *own, *words, "test.sh", says=says)
    assert hunting.asked == [], "nothing was run"


def test_an_unknown_release_lists_near_names(behunt: Behunt) -> None:
    executable(behunt.place / "t", "true")
    said = behunt.fails(2, "run", "debian-bulseye", "t", says="bulseye")
    assert "bullseye" in said


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Path.exists, "there is no test file test.sh\n  check the path"),
        (lambda file: file.write_text("#!/bin/sh\n"), "test.sh is not executable\n  chmod +x"),
        (Path.mkdir, "test.sh is not a file"),
        (Path.touch, "test.sh is empty: it would pass"),
    ],
)
@pytest.mark.parametrize("command", [("run", "1"), ("bisect", "--from", "1", "--to", "3")])
def test_a_test_that_is_none(
    behunt: Behunt, make: Callable[[Path], object], says: str, command: tuple[str, ...]
) -> None:
    catalogue = releases(behunt.place / "builds.toml", range(1, 4))
    make(behunt.place / "test.sh")
    verb, *rest = command
    behunt.fails(2, verb, "--catalogue", catalogue, *rest, "test.sh", says=says)
    behunt.fails(2, verb, "--catalogue", catalogue, *rest, says="there is nothing to run")


def test_a_network_is_the_hosts_or_the_jails_own(behunt: Behunt) -> None:
    behunt.fails(2, "be", "jail", "--vnet", "--network", "p/be", says="leave one of them")


def test_another_operating_system_says_what_is_missing(behunt: Behunt) -> None:
    executable(behunt.place / "test.sh", "true")
    words = ("bisect", "--os", "freebsd", "--from", "2.0.5", "--to", "2.1.0", "test.sh")
    said = behunt.fails(1, *words, says="FreeBSD")
    assert "a virtual machine that boots" in said
    assert not (behunt.home / "be").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('os = "demo"\n[[release]]\nverson = "1"', "'version' is missing"),
        ('os = "demo"\n[[release]]\nversion = "1"\ndat = 2', "dat"),
        ('os = "demo"\n[[release]]\nversion = 1', "version"),
        ('os = "demo"\n[[release]]\nversion = "1"\ndate = "soon"', "date"),
        ('os = "demo"\n[[release]]\nversion = "1"\n[[release]]\nversion = "1"', "1"),
        ("os = ", "mine.toml"),
    ],
)
def test_a_wrong_row_in_a_catalogue(behunt: Behunt, text: str, says: str) -> None:
    (behunt.place / "mine.toml").write_text(text)
    said = behunt.fails(1, "releases", "--catalogue", "mine.toml", says=says)
    assert "mine.toml" in said


def test_a_home_that_is_a_file(behunt: Behunt) -> None:
    behunt.home.write_text("")
    behunt.fails(1, "be", "list", says="as behunt's home")
    behunt.fails(1, "results", says=str(behunt.home))


@pytest.mark.parametrize("home", ["/proc", "/proc/behunt", "/sys/behunt"])
def test_a_home_that_cannot_be_written(behunt: Behunt, home: str) -> None:
    for words, says in ((("be", "list"), "as behunt's home"), (("results",), "results database")):
        said = behunt.fails(1, *words, says=says, env={"BEHUNT_HOME": home})
        assert len(said.splitlines()) == 2, said


def test_results_that_are_none(hunting: Hunting) -> None:
    hunting.behunt.home.mkdir()
    (hunting.behunt.home / "results.db").write_text("garbage " * 999)
    words = hunting.words("--from", "1", "--to", "65")
    hunting.behunt.fails(1, *words, says="is not a results database\n  move it away")
    assert hunting.asked == []


def test_a_reader_that_has_enough(behunt: Behunt) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [*COMMAND, "releases"],
            env=behunt.environment(),
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("coding", [{"PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_terminal_of_another_age(hunting: Hunting, coding: dict[str, str]) -> None:
    ascii_only = {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", **coding}
    hunting.asks('echo "\u00e9\u2026"; test "$BEHUNT_VERSION" -lt 40 || exit 125')
    words = hunting.words("--from", "1", "--to", "65", "--find", "change")
    assert hunting.behunt(*words, env=ascii_only).code == 5
    for command in (
        ("report",),
        ("results",),
        ("releases", "--os", "debian"),
        ("report", "--html"),
    ):
        assert hunting.behunt(*command, env=ascii_only).code == 0
    run = ("run", "--catalogue", hunting.catalogue, "1", hunting.test)
    assert hunting.behunt(*run, env=ascii_only).code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(behunt: Behunt, shell: str) -> None:
    script = behunt("completion", shell).out
    assert "_BEHUNT_COMPLETE" in script
    if found := shutil.which(shell):
        subprocess.run([found, "-n"], input=script, text=True, check=True)


def test_completion_knows_the_releases(behunt: Behunt) -> None:
    ask = {"_BEHUNT_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    done = behunt(env={**ask, "COMP_WORDS": "behunt run debian-1"})
    assert "plain,debian-12" in done.out.split()
    done = behunt(env={**ask, "COMP_WORDS": "behunt bisect --th"})
    assert "--thorough" in done.out


def test_a_catalogue_that_is_not_there(behunt: Behunt, tmp_path: Path) -> None:
    done = behunt("run", "--catalogue", tmp_path / "gone.toml", "1", "--", "true")
    assert done.code == 1
    assert "gone.toml" in done.err
