"""docs/behunt.8, held against the program."""

from __future__ import annotations

import re
import subprocess

import pytest
from documented import COMMANDS, PAGE, known_runners, options, seen_by_a_test, who_can

from behunt.cli.bisect import EXIT_CODES
from behunt.cli.main import cli


def section(heading: str) -> str:
    """The source below `.Ss heading` or `.Sh heading`, up to the next of its kind."""
    text = PAGE.read_text(encoding="utf-8")
    match = re.search(
        rf"^\.S[hs] {re.escape(heading)}\n(.*?)(?=^\.S[hs] |\Z)", text, re.DOTALL | re.MULTILINE
    )
    assert match, f"the manual page has no section {heading}"
    return match[1]


def flags(text: str) -> set[str]:
    """The options in mdoc source: `Fl -from` and `Fl j`, but not `Fl -` (what ends options)."""
    return {f"-{flag}" for flag in re.findall(r"\bFl (-?[A-Za-z][a-z-]*)", text)}


def documented(heading: str) -> set[str]:
    """The options that a section has items for, and those that it takes over by `.Sx`."""
    text = section(heading)
    items = "\n".join(re.findall(r"^\.It (?:Fl .*)$", text, re.MULTILINE))
    taken = re.search(r"^The options are.*?(?:^and:|^\.Sx \w+ \.$)", text, re.DOTALL | re.MULTILINE)
    shared = re.findall(r"^\.Sx (.*?) [,.]$", taken[0], re.MULTILINE) if taken else []
    only = flags(taken[0]) if taken else set()  # named one by one
    found = set().union(*(documented(name) for name in shared)) if shared else set()
    return flags(items) | (found & only if only else found)


def test_the_manual_page_is_clean() -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_manual_page_has_each_command_with_its_options_and_no_other(name: str) -> None:
    assert documented(name) == options(COMMANDS[name])
    assert f"\n.Cm {name}\n" in section("SYNOPSIS")


def test_the_manual_page_has_the_global_options() -> None:
    items = "\n".join(re.findall(r"^\.It (?:Fl .*)$", section("DESCRIPTION"), re.MULTILINE))
    assert flags(items) == options(cli)


def test_the_manual_page_names_no_option_or_command_that_is_not_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    known = options(cli).union(*(options(command) for command in COMMANDS.values()))
    assert flags(text) <= known | {"-h", "--help"}
    named = re.findall(r"^\.Cm ((?:bisect|be|releases)(?: [a-z]+)?)$", text, re.MULTILINE)
    assert set(named) <= {*COMMANDS}


def test_the_manual_page_has_the_exit_codes_of_a_hunt() -> None:
    listed = section("EXIT STATUS").partition(".El")[0]
    codes = {int(code) for code in re.findall(r"^\.It (\d+)$", listed, re.MULTILINE)}
    assert codes == {*EXIT_CODES.values(), 1, 2, 130}


def test_the_manual_page_has_the_variables_of_a_test() -> None:
    assert set(re.findall(r"^\.It Ev (BEHUNT_\w+)$", section("The test"), re.MULTILINE)) == {
        name for name in seen_by_a_test() if name.startswith("BEHUNT_")
    }


def test_the_manual_page_has_the_runners_and_what_they_can() -> None:
    text = section("Runners")
    tags = text.partition(".El")[0]
    assert set(re.findall(r"^\.It Cm (\w+)$", tags, re.MULTILINE)) == set(known_runners())
    rows = re.findall(r"^\.It (\w+) Ta (.*)$", text, re.MULTILINE)
    assert {
        name: set() if cell == "none yet" else set(cell.split(", ")) for name, cell in rows
    } == who_can()


def test_the_variables_of_settings_in_the_manual_page_set_what_they_say() -> None:
    named = re.findall(r"^\.Ev (BEHUNT_[A-Z_]+)", section("ENVIRONMENT"), re.MULTILINE)
    named += re.findall(r"^\.It Ev (BEHUNT_[A-Z]+)$", section("ENVIRONMENT"), re.MULTILINE)
    assert named
    heard = {
        variable
        for command in (cli, *COMMANDS.values())
        for option in command.params
        for variable in (option.envvar if isinstance(option.envvar, list) else [option.envvar])
    }
    assert set(named) <= heard
