"""What the documentation has to have: commands, options, runners, the variables of a test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import click

from behunt import catalogue
from behunt.cli.groups import DefaultGroup
from behunt.cli.main import cli
from behunt.hosts.protocol import CLEAN_ENV
from behunt.model import Test
from behunt.runners import runners
from behunt.runners.protocol import CAPABILITIES
from behunt.storage.home import Home
from behunt.suites.contract import environment

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGE = DOCS / "behunt.8"


def leaves(command: click.Command = cli, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """("be install", its command), …; a group's hidden default goes by the group's own name."""
    if not isinstance(command, click.Group):
        yield path.strip(), command
        return
    for name, below in command.commands.items():
        hidden = isinstance(command, DefaultGroup) and name == command.default
        yield from leaves(below, path if hidden else f"{path} {name}")


COMMANDS = dict(leaves())
NAMES = {*COMMANDS, *cli.commands}


def options(command: click.Command) -> set[str]:
    """As the manual page has them: --from, and -j."""
    ours = (p for p in command.params if isinstance(p, click.Option))
    return {name for option in ours for name in option.opts}


def known_runners() -> Mapping[str, frozenset[str]]:
    return {name: r.capabilities for name, r in runners(Home(Path("/nowhere"))).items()}


def who_can() -> dict[str, set[str]]:
    return {c: {n for n, can in known_runners().items() if c in can} for c in CAPABILITIES}


def seen_by_a_test() -> dict[str, str]:
    release = catalogue.find(catalogue.load("debian"), "12", os="debian", arch="amd64")
    at = PurePosixPath("/behunt")
    return {**CLEAN_ENV, **environment(Test("t", ("true",)), release, "namespace", at)}
