"""README and docs/, held against the program; the manual page in test_manual_page.py."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from documented import COMMANDS, DOCS, NAMES, PAGE, ROOT, seen_by_a_test, who_can

from behunt.cli.bisect import EXIT_CODES
from behunt.cli.main import cli

MARKDOWN = sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md")])


# -- tables in Markdown


def table(path: Path, head: str) -> dict[str, list[str]]:
    """The rows of the table whose first column is called `head`: first cell → others."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {head} |"))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        rows[first.strip("`")] = others
    return rows


def test_the_table_of_variables_is_what_a_test_sees() -> None:
    rows = table(DOCS / "tests.md", "Variable")
    seen = seen_by_a_test()
    assert list(rows) == list(seen)
    for name, (example, _) in rows.items():
        assert seen[name].startswith(example.strip("`").removesuffix("…")), name


def test_the_table_of_capabilities_is_what_runners_have() -> None:
    rows = table(DOCS / "tests.md", "Capability")
    found = {name: set(re.findall(r"`(\w+)`", cell)) for name, (cell, _) in rows.items()}
    assert found == who_can()


def test_the_table_of_layers_has_every_package() -> None:
    rows = table(DOCS / "architecture.md", "layer")
    packages = {path.parent.name for path in (ROOT / "behunt").glob("*/__init__.py")}
    assert packages <= set(rows)


def test_the_tutorial_knows_the_exit_codes() -> None:
    rows = table(DOCS / "tutorial.md", "exit status")
    ends = {code for name, code in EXIT_CODES.items() if name != "unfinished"}
    assert {int(code) for code in rows} == ends


# -- links


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        if "://" in file:
            continue
        there = path.parent / file if file else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_files_that_are_named_are_there(path: Path) -> None:
    named = re.findall(
        r"`((?:behunt|releases|tests|tools|benchmarks|docs)/[^`*\s]*)`", path.read_text("utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


# -- examples


def in_markdown(path: Path) -> Iterator[str]:
    """The lines of a text's `sh` blocks, and its inline commands; not where one is only named."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    inline = re.findall(r"`(behunt [^`]+)`", prose)
    yield from (line for block in blocks for line in block.splitlines())
    yield from (code for code in inline if code.removeprefix("behunt ") not in NAMES)


def in_the_manual_page() -> Iterator[str]:
    for line in re.findall(r"^\.Dl (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        yield line.replace("\\-", "-")


def behunts(lines: Iterator[str]) -> list[list[str]]:
    """Each behunt command in shell lines, as an argv; pipes and redirections are cut off."""
    found = []
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.wordchars += "$=%,:{}[]@…"
        try:
            words = list(lexer)
        except ValueError:  # a line of a longer quotation: no command of ours
            assert "behunt " not in line
            continue
        found += [command for command in commands(words) if command[:1] == ["behunt"]]
    return found


def commands(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in words:
        if set(word) <= set("|;&<>()"):
            yield command
            command = []
        else:
            command.append(word)
    yield command


# What follows more than one blank is a remark.
IN_HELP = re.compile(r"^(?:Example:)? *(behunt .*?)(?: {2,}.*)?$", re.MULTILINE)
EPILOGS = [command.epilog or "" for command in (cli, *COMMANDS.values())]
EXAMPLES = {
    **{path.name: behunts(in_markdown(path)) for path in MARKDOWN},
    PAGE.name: behunts(in_the_manual_page()),
    "--help": behunts(line for epilog in EPILOGS for line in IN_HELP.findall(epilog)),
}


def parsed(words: list[str]) -> None:
    """Let click read a command line, down to the last command, and invoke nothing."""
    command: click.Command = cli
    name, args, parent = words[0], words[1:], None
    with contextlib.ExitStack() as opened:
        while True:
            parent = opened.enter_context(command.make_context(name, args, parent=parent))
            if not isinstance(command, click.Group):
                return
            rest = [*parent._protected_args, *parent.args]
            found, below, args = command.resolve_command(parent, rest)
            assert found
            assert below
            name, command = found, below


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=f"{of}: {shlex.join(words)}"[:100])
        for of, all_ in EXAMPLES.items()
        for words in all_
    ],
)
def test_examples_are_understood(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("hunt.log", "greet.log"):
        (tmp_path / name).touch()
    with contextlib.suppress(click.exceptions.Exit):  # --version
        parsed(words)


def test_examples_are_found() -> None:
    for of in ("README.md", "tutorial.md", "tests.md", PAGE.name, "--help"):
        assert EXAMPLES[of], of


def test_an_option_that_is_not_there_is_not_understood() -> None:
    with pytest.raises(click.NoSuchOption):
        parsed(["behunt", "bisect", "--sideways", "test.sh"])


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(name: str) -> None:
    command = COMMANDS[name]
    text = command.get_help(click.Context(command, info_name=name))
    assert re.search(rf"Examples?:\s+behunt .*{name.split(maxsplit=1)[0]}", text), name


def test_the_example_is_what_readme_says() -> None:
    script = (DOCS / "examples/crypt.sh").read_text(encoding="utf-8")
    assert script.splitlines()[-1] in (ROOT / "README.md").read_text(encoding="utf-8")
