"""`behunt be boot`: a boot environment as a machine of its own, on the user's terminal."""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from behunt.cli import options as opt
from behunt.cli.amounts import Size
from behunt.cli.be_enter import found, in_place, network
from behunt.cli.be_place import lab_for, named
from behunt.errors import BehuntError, UsageError

if TYPE_CHECKING:
    from behunt.drive.lab import Lab
    from behunt.model import BootEnv, Release
    from behunt.runners.vm.interactive import Order


@click.command(
    epilog="""\b
Examples:
  behunt be boot debian-12
  behunt be boot --package systemd-sysv --network --memory 2G debian-12
  behunt be boot zroot/behunt/test"""
)
@click.argument("name", shell_complete=opt.complete_release)
@opt.where
@opt.installing
@click.option(
    "--console", is_flag=True, help="Type what comes on standard input, if it is no terminal too."
)
@click.option("--memory", type=Size(), metavar="SIZE", help="Memory of the machine.")
@click.option("--cpus", type=click.IntRange(1), metavar="N", help="Its processors.")
@in_place
@network
@opt.verbose
@click.pass_context
def boot(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Boot a clone of NAME, a boot environment or a release, as a machine with its own kernel.

    Its serial console is the terminal, where root is logged in; Ctrl-] leaves. What is changed
    there is gone afterwards. Without a terminal the console is only shown, until power-off.
    """
    from behunt.drive.booting import boot as run  # noqa: PLC0415

    place = named(name, options)
    typing = options["console"] or sys.stdin.isatty()
    with lab_for(ctx, {**options, "store": place.store}) as lab:
        release = _release(lab, place.name, options)
        ready, bootenv = found(ctx, lab, place.name, {**options, "runner": "qemu"})
        way_out = "Ctrl-] leaves and ends it" if typing else "Ctrl-C ends it"
        click.echo(f"behunt: booting {bootenv.name}; {way_out}", err=True)
        order = order_of(bootenv, options)
        left = run(ready, bootenv, release, order, typing=typing, in_place=options["in_place"])
    click.echo(f"\nbehunt: {'left' if left else 'the end of'} {bootenv.name}", err=True)


def _release(lab: Lab, name: str, options: dict[str, Any]) -> Release:
    """The release that `name` is, or is a boot environment of: one that can be booted.

    Raises BehuntError.
    """
    from behunt.drive.datasets import called  # noqa: PLC0415
    from behunt.runners.vm.interactive import unfit  # noqa: PLC0415

    there = called(lab, name)
    if there is None:
        release = opt.release_of(name, options)
    elif there.release:
        release = opt.release_of(there.release, {**options, "os": None, "arch": None})
    else:
        raise UsageError(
            f"nothing tells which release {name} is, and so what machine it boots in",
            "fill it with `behunt be install -r RELEASE DATASET`",
        )
    if why := unfit(release, in_place=options["in_place"]):
        raise BehuntError(
            f"cannot boot {release.id} on a terminal: {why}",
            "`behunt doctor` tells what can be booted here (docs/boot.md)",
        )
    return release


def order_of(bootenv: BootEnv, options: dict[str, Any]) -> Order:
    from behunt.runners.vm.interactive import Order  # noqa: PLC0415
    from behunt.runners.vm.seat import Terminal  # noqa: PLC0415

    columns, lines = shutil.get_terminal_size()
    return Order(
        hostname=re.sub("[^A-Za-z0-9-]+", "-", bootenv.name)[:63].strip("-"),
        terminal=Terminal(os.environ.get("TERM") or "vt100", lines, columns),
        memory=options["memory"],
        cpus=options["cpus"],
        network=options["network"],
    )


COMMANDS: tuple[click.Command, ...] = (boot,)
