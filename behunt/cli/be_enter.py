"""`behunt be jail`, `chroot` and `shell`: a command, or a terminal, inside a boot environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from behunt.cli import options as opt
from behunt.cli.be_place import lab_for, named
from behunt.cli.groups import TakesCommand, rest_of
from behunt.errors import BehuntError, UsageError

if TYPE_CHECKING:
    from behunt.drive.lab import Lab
    from behunt.model import BootEnv
    from behunt.runners.protocol import Runner

in_place = click.option(
    "--in-place", "-w", is_flag=True, help="Enter the dataset itself: what is changed stays."
)
network = click.option("--network", is_flag=True, help="Let it reach the network.")
_vnet = click.option(
    "--vnet", is_flag=True, help="Give the jail a network stack of its own, with 127.0.0.1."
)
_SHELL = ("/bin/sh", "-i")
_USUAL = {"FreeBSD": "jail"}  # runner by system


@click.command(
    cls=TakesCommand,
    epilog="""\b
Examples:
  behunt be shell debian-12
  behunt be shell debian-12 -- apt list --installed
  behunt be shell --host root@fbsd.lab zroot/behunt/test""",
)
@click.argument("release", metavar="NAME", shell_complete=opt.complete_release)
@opt.where
@opt.installing
@click.option(
    "--runner",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="How to get inside: namespace, chroot, jail, or the lightest that isolates.",
)
@in_place
@network
@opt.verbose
@click.pass_context
def shell(ctx: click.Context, /, release: str, **options: Any) -> None:
    """Open a shell in a clone of NAME, a boot environment or a release.

    What is changed there is gone afterwards. A release is installed if it is not yet.
    """
    _enter(ctx, release, options, rest_of(ctx) or list(_SHELL))


def _entering(runner: str, about: str) -> click.Command:
    @click.command(
        runner,
        cls=TakesCommand,
        help=f"{about}\n\nThe exit status is the command's own.",
        epilog=f"""\b
Examples:
  behunt be {runner} zroot/behunt/test -- uname -a
  behunt be {runner} -w zroot/behunt/test -- passwd -l toor""",
    )
    @click.argument("name")
    @opt.keeping
    @in_place
    @network
    @opt.verbose
    @click.pass_context
    def command(ctx: click.Context, /, name: str, **options: Any) -> None:
        alone = options.get("vnet", False)
        if alone and options["network"]:
            raise UsageError(
                "--vnet gives a network stack of its own, --network the host's", "leave one of them"
            )
        how = "vnet" if alone else runner
        enter = {**options, "runner": how, "os": None, "arch": None, "own": ()}
        _enter(ctx, name, enter, rest_of(ctx) or list(_SHELL))

    return command


jail = _vnet(
    _entering("jail", "Run a command, or a shell, in a jail on a clone of NAME (FreeBSD).")
)
chroot = _entering("chroot", "Run a command, or a shell, chrooted into a clone of NAME.")


def _enter(ctx: click.Context, name: str, options: dict[str, Any], argv: list[str]) -> None:
    from behunt.drive.shell import shell as lend  # noqa: PLC0415

    place = named(name, options)
    with lab_for(ctx, {**options, "store": place.store}) as lab:
        ready, bootenv = found(ctx, lab, place.name, options)
        code = lend(ready, bootenv, argv, network=options["network"], in_place=options["in_place"])
    ctx.exit(code if code >= 0 else 128 - code)


def found(ctx: click.Context, lab: Lab, name: str, options: dict[str, Any]) -> tuple[Lab, BootEnv]:
    """What `name` means, and a lab with the runner to enter it.

    That is a boot environment there is, or else a release, which is installed if need be.
    """
    from behunt.drive.choosing import choose  # noqa: PLC0415
    from behunt.drive.datasets import called  # noqa: PLC0415
    from behunt.drive.installing import check, ensure  # noqa: PLC0415
    from behunt.model import Test  # noqa: PLC0415

    known = opt.runners_of(ctx.obj, options)
    there = called(lab, name)
    if there is None:
        release = opt.release_of(name, options)
        ready = replace(
            lab, runner=known[choose(known, options["runner"], [release], Test("shell", ()))]
        )
        check(ready, [release])
        return ready, ensure(ready, release)
    runner = known[_runner_for(there, lab, known, options["runner"])]
    if lacks := runner.missing():
        raise BehuntError(lacks, "`behunt doctor` tells what the host can do")
    return replace(lab, runner=runner), there


def _runner_for(bootenv: BootEnv, lab: Lab, known: Mapping[str, Runner], wanted: str) -> str:
    """Raises BehuntError for a release that cannot be entered on the host."""
    from behunt.drive.choosing import AUTO, choose, way_out  # noqa: PLC0415
    from behunt.model import Test  # noqa: PLC0415

    try:
        release = opt.release_of(bootenv.release, {"os": None, "arch": None, "own": ()})
    except UsageError:  # the user's own: taken to fit the host
        return wanted if wanted != AUTO else _USUAL.get(lab.facts.system, "namespace")
    runner = choose(known, wanted, [release], Test("shell", ()))
    if why := known[runner].unfit(release):
        raise BehuntError(
            f"the runner {runner} cannot enter {bootenv.name}: {why}", way_out(release)
        )
    return runner


COMMANDS: tuple[click.Command, ...] = (jail, chroot, shell)
