"""Options that several commands share, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.decorators import FC
from click.shell_completion import CompletionItem

from behunt.cli import settings
from behunt.cli.amounts import Duration, Size
from behunt.errors import UsageError

if TYPE_CHECKING:
    from behunt.drive.lab import Settings
    from behunt.model import Release, Test
    from behunt.runners.protocol import Runner


@dataclass(frozen=True, slots=True)
class Place:
    """Where behunt keeps things: what every command is handed as its object."""

    home: Path
    database: str = ""  # SQLAlchemy URL, instead of the home's own database

    @property
    def results_path(self) -> Path | str:
        return self.database or self.home / "results.db"


def complete_release(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from behunt import catalogue  # noqa: PLC0415

    ids = {f"{r.os}-{r.version}" for r in catalogue.load().releases}
    return [CompletionItem(name) for name in sorted(ids) if name.startswith(incomplete)]


def together(*options: Callable[[FC], FC]) -> Callable[[FC], FC]:
    def decorate(command: FC) -> FC:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _lower(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """People write FreeBSD; catalogues say freebsd."""
    return value.lower() if value else value


where = together(
    click.option(
        "--os",
        "-o",
        metavar="OS",
        callback=_lower,
        help="Operating system; a prefixed name needs none.",
    ),
    click.option("--arch", "-a", metavar="ARCH", help="Architecture, such as amd64 or i386."),
    click.option(
        "--catalogue",
        "own",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="FILE",
        help="Add your own releases.",
    ),
)

keeping = together(
    click.option(
        "--host",
        metavar="[USER@]HOST",
        default="",
        help="Work on this machine, reached by ssh, instead of here.",
    ),
    click.option(
        "--store",
        metavar="STORE",
        default="overlay",
        show_default=True,
        help="Where boot environments are kept: overlay, or zfs:POOL/DATASET.",
    ),
)

installing = together(
    keeping,
    click.option(
        "--package", "packages", multiple=True, metavar="NAME", help="Install this too; repeat."
    ),
    click.option(
        "--mirror",
        "-p",
        metavar="URL",
        default="",
        help="Take releases from here first; of sets also a directory, such as /pub.",
    ),
    click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="NAME",
        help="Install these distribution sets instead of the usual ones; repeat.",
    ),
    click.option(
        "--layout",
        "-l",
        metavar="LAYOUT",
        default="",
        help="Datasets of a new boot environment: freebsd, netbsd, openbsd, illumos, linux, flat.",
    ),
    click.option(
        "--keyring",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Trust the keys in this file or directory, and no others.",
    ),
)

lab = click.option(
    "--lab",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The machines of a lab, instead of the first lab.toml there is.",
)

testing = together(
    click.option(
        "--runner",
        metavar="NAME",
        default="auto",
        show_default=True,
        help="namespace, chroot, jail, vnet, uml, qemu, bhyve, vmm, metal, none, or auto: the "
        "lightest.",
    ),
    lab,
    click.option(
        "--machine", metavar="NAME", default="", help="Use this machine of the lab, and no other."
    ),
    click.option(
        "--needs", multiple=True, metavar="WHAT", help="A capability that the test needs; repeat."
    ),
    click.option(
        "--timeout", type=Duration(), default="10m", show_default=True, help="For one trial."
    ),
    click.option(
        "--file",
        "files",
        type=click.Path(path_type=Path),
        multiple=True,
        metavar="PATH",
        help="Lay this file or directory beside the test; repeat.",
    ),
    click.option("--env", multiple=True, metavar="NAME=VALUE", help="Set it for the test; repeat."),
    click.option("--network", is_flag=True, help="Let the test reach the network."),
    click.option(
        "--memory", type=Size(), metavar="SIZE", help="Memory that a trial may use at most."
    ),
    click.option(
        "--processes",
        type=click.IntRange(1),
        metavar="N",
        help="Processes that a trial may have at most.",
    ),
    click.option(
        "--cpus",
        type=click.FloatRange(0.01),
        metavar="N",
        help="Processors that a trial may use, say 0.5.",
    ),
    click.option("--disk", type=Size(), metavar="SIZE", help="What a clone may grow by at most."),
    click.option(
        "--upper",
        type=click.Choice(["memory", "disk"]),
        default="memory",
        show_default=True,
        help="Where clones keep what is written in them.",
    ),
    click.option("--fresh", is_flag=True, help="Take no cached answer."),
    click.option(
        "--retries",
        type=click.IntRange(0),
        default=1,
        show_default=True,
        help="How often what is broken is tried again.",
    ),
)

verbose = click.option("-v", "--verbose", is_flag=True, help="Show what installers print.")


def settings_of(options: dict[str, Any]) -> Settings:
    """Settings from the options of `installing` and `testing`."""
    from behunt.drive.lab import Settings  # noqa: PLC0415
    from behunt.model import Verdict  # noqa: PLC0415

    if options.get("disk") and options.get("upper") == "disk":
        raise UsageError(
            "--disk limits clones that are kept in memory", "leave --upper disk away, or --disk"
        )
    keyring: Path | None = options["keyring"]
    if keyring and not keyring.exists():
        raise UsageError(
            f"there is no keyring {keyring}", "name a file of keys, or a directory of such files"
        )
    lab, machine = _metal(options)
    return Settings(
        packages=tuple(sorted(set(options["packages"]))),
        mirror=_mirror(options["mirror"]),
        keyring=str(keyring.resolve()) if keyring else "",
        retries=options.get("retries", 1),
        fresh=options.get("fresh", False),
        timeout_is=Verdict(options.get("timeout_is", "unknown")),
        on_disk=options.get("upper") == "disk",
        host=options["host"],
        store=options["store"],
        layout=options["layout"],
        sets=tuple(options["sets"]),
        lab=lab,
        machine=machine,
    )


def runners_of(place: Place, options: dict[str, Any]) -> Mapping[str, Runner]:
    """The runners there are on the host that `options` name."""
    from behunt.drive.site import host_of  # noqa: PLC0415
    from behunt.runners import runners  # noqa: PLC0415
    from behunt.storage.home import Home  # noqa: PLC0415

    lab, machine = _metal(options)
    return runners(Home(place.home), host_of(options["host"]), lab=lab, machine=machine)


def _metal(options: Mapping[str, Any]) -> tuple[str, str]:
    """Lab and machine. Only the runner metal has them: a hunt by another remembers none."""
    if options.get("runner") != "metal":
        return "", ""
    file = options.get("lab") or settings.lab()
    return str(file.absolute()) if file else "", options.get("machine", "")


def _mirror(text: str) -> str:
    """A directory is found again wherever a hunt is resumed."""
    if text.startswith((".", "~")):
        return str(Path(text).expanduser().absolute())
    return text.rstrip("/") or text


def test_of(path: Path | None, rest: Sequence[str] | None, options: dict[str, Any]) -> Test:
    """The test that TEST and what follows `--` stand for, under the options of `testing`."""
    from behunt.model import Limits  # noqa: PLC0415
    from behunt.runners.protocol import CAPABILITIES  # noqa: PLC0415
    from behunt.suites.asking import Terms, command, script  # noqa: PLC0415

    needs = {need for needs in options["needs"] for need in needs.split(",")}
    if unknown := needs - set(CAPABILITIES):
        raise UsageError(
            f"no runner has a capability {', '.join(sorted(unknown))}",
            f"capabilities: {', '.join(CAPABILITIES)}",
        )
    terms = Terms(
        timeout=options["timeout"],
        needs=frozenset(needs),
        network=options["network"],
        limits=Limits(options["memory"], options["processes"], options["cpus"], options["disk"]),
        env=tuple(_pair(text) for text in options["env"]),
    )
    if path is not None:
        return script(path, rest or (), beside=options["files"], terms=terms)
    return command(rest or (), beside=options["files"], terms=terms)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--env {text} is not NAME=VALUE", "write --env LANG=C")
    return name, value


def releases_of(names: Sequence[str], options: dict[str, Any]) -> tuple[Release, ...]:
    """What the given names stand for: releases, ranges, globs."""
    from behunt import catalogue  # noqa: PLC0415

    os = catalogue.os_of(names, os=options["os"], extra=options["own"])
    selection = catalogue.Selection(names=tuple(names), arch=options["arch"], os=os)
    return catalogue.select(catalogue.load(os, extra=options["own"]), selection)


def release_of(name: str, options: dict[str, Any]) -> Release:
    from behunt import catalogue  # noqa: PLC0415

    os = catalogue.os_of([name], os=options["os"], extra=options["own"])
    known = catalogue.load(os, extra=options["own"])
    return catalogue.find(known, name, os=os, arch=options["arch"])
