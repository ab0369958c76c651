"""`behunt machines`: the machines of a lab, and their power."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from behunt.cli import options as opt
from behunt.cli import settings
from behunt.errors import UsageError

if TYPE_CHECKING:
    from behunt.drive.machines import Status
    from behunt.events import OnEvent
    from behunt.netboot.lab import LabNetwork, Machine
    from behunt.netboot.power.hand import Ask

_HOWS = ("on", "off", "cycle")
_ERROR_WIDTH = 100  # characters; --json has all of it


@click.group(
    epilog="""\b
Examples:
  behunt machines list
  behunt machines status --lab rack3.toml
  behunt machines power cycle rack3-node2
  behunt machines console rack3-node2

They are those of --lab, else of the first lab.toml: here, in ~/.config/behunt,
in /etc/behunt."""
)
def machines() -> None:
    """See and switch the machines of a lab, which boot over the network."""


@machines.command(
    "list",
    epilog="""\b
Examples:
  behunt machines list
  behunt machines list --lab rack3.toml --json""",
)
@opt.lab
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_(*, lab: Path | None, as_json: bool) -> None:
    """List the machines of a lab. None of them is asked anything."""
    rows = [_as_object(machine) for machine in lab_of(lab).machines]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo("no machines")
    else:
        _table([{**row, "address": row["address"] or "any"} for row in rows])


@machines.command(
    epilog="""\b
Examples:
  behunt machines status
  behunt machines status rack3-node2 --json

Exit status: 1 if the power of one could not be asked for, else 0."""
)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@opt.lab
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_context
def status(
    ctx: click.Context, /, *, names: tuple[str, ...], lab: Path | None, as_json: bool
) -> None:
    """Ask machines for their power, all at once, and tell which are in use.

    In use is what a run has that keeps its state in the same --home. The console of one that is
    free is opened, to see whether a run could.
    """
    from behunt.drive.machines import statuses  # noqa: PLC0415

    network = lab_of(lab)
    found = statuses(network, named(network, names), ctx.obj.home)
    if as_json:
        click.echo(json.dumps([_status_object(one) for one in found], indent=2))
    else:
        consoles = any(one.console is not None for one in found)
        _table([_status_row(one, console=consoles) for one in found])
        for one in found:
            if one.hint:
                click.echo(f"  {one.machine.name}: {one.hint}", err=True)
    ctx.exit(1 if any(one.power is None for one in found) else 0)


@machines.command(
    epilog="""\b
Examples:
  behunt machines power on rack3-node2
  behunt machines power off --force rack3-node2"""
)
@click.argument("how", metavar="on|off|cycle", type=click.Choice(_HOWS))
@click.argument("name")
@opt.lab
@click.option("--force", "-F", is_flag=True, help="Also while a run uses it.")
@click.pass_context
def power(ctx: click.Context, /, *, how: str, name: str, lab: Path | None, force: bool) -> None:
    """Switch the machine NAME. Off pulls the plug: no system is asked to shut down."""
    from behunt.drive.machines import switch  # noqa: PLC0415

    network = lab_of(lab)
    machine = network.machine(name)
    state = switch(network, machine, how, home=ctx.obj.home, ask=ask, force=force)
    told = f"is {state}" if state != "unknown" else f"was switched ({how}); nothing tells its power"
    click.echo(f"{name} {told}")


@machines.command(
    epilog="""\b
Examples:
  behunt machines console rack3-node2
  behunt machines console --lab rack3.toml rack3-node2"""
)
@click.argument("name")
@opt.lab
@click.option("--force", "-F", is_flag=True, help="Also while a run uses it.")
@click.pass_context
def console(ctx: click.Context, /, *, name: str, lab: Path | None, force: bool) -> None:
    """Sit at the console of the machine NAME, as lab.toml has it; Ctrl-] leaves.

    Its power is not touched: `behunt machines power` in another terminal does that.
    """
    from behunt.drive.machines import console_of  # noqa: PLC0415
    from behunt.hosts.console_attach import attach  # noqa: PLC0415

    machine = lab_of(lab).machine(name)
    with console_of(machine, home=ctx.obj.home, force=force) as console:
        click.echo(f"behunt: the console of {name}; Ctrl-] leaves", err=True)
        left = attach(console) is None
    click.echo(f"\nbehunt: {'left' if left else 'the end of'} the console of {name}", err=True)


def lab_of(file: Path | None) -> LabNetwork:
    """The lab that --lab or the first lab.toml describes. Raises UsageError."""
    from behunt.netboot.lab import read  # noqa: PLC0415

    found = file or settings.lab()
    if found is None:
        raise UsageError(
            "there is no lab.toml here, in ~/.config/behunt or in /etc/behunt",
            "name one with --lab; docs/netboot.md shows one",
        )
    return read(found)


def named(lab: LabNetwork, names: Sequence[str]) -> list[Machine]:
    """Those called `names`, or all there are. Raises UsageError."""
    if not names and not lab.machines:
        raise UsageError("this lab has no machines", "describe them in lab.toml, as [[machine]]")
    return [lab.machine(name) for name in names] or list(lab.machines)


def ask(what: str) -> None:
    """Have whoever sits at the terminal do it. Raises HostError where there is none."""
    from behunt.runners.metal import nobody  # noqa: PLC0415

    if not sys.stdin.isatty():
        nobody(what)
    click.prompt(
        f"{what} Then press Enter", default="", show_default=False, prompt_suffix=" ", err=True
    )


def asking(emit: OnEvent) -> Ask:
    """The same while events are shown, from any thread: one thing after the other."""
    lock = threading.Lock()

    def ask(what: str) -> None:
        from behunt.events import Note  # noqa: PLC0415
        from behunt.runners.metal import nobody  # noqa: PLC0415

        if not sys.stdin.isatty():
            nobody(what)
        with lock:
            emit(Note(f"{what} Then press Enter", warning=True))
            sys.stdin.readline()

    return ask


def _table(rows: list[dict[str, Any]]) -> None:
    from tabulate import tabulate  # noqa: PLC0415

    click.echo(tabulate(rows, headers="keys", tablefmt="plain"))


def _as_object(machine: Machine) -> dict[str, Any]:
    return {
        "name": machine.name,
        "mac": machine.mac,
        "address": str(machine.ip or ""),
        "firmware": str(machine.firmware),
        "arch": machine.arch,
        "method": machine.power.get("method"),
    }


def _status_object(status: Status) -> dict[str, Any]:
    return {
        **_as_object(status.machine),
        "power": str(status.power) if status.power else None,
        "in_use": status.in_use,
        "error": status.error,
        "hint": status.hint,
        "console": status.console,
        "console_error": status.deaf,
    }


def _status_row(status: Status, *, console: bool) -> dict[str, Any]:
    """With a column for the `console`, if any has one that is told of."""
    from behunt.cli.telling import shown  # noqa: PLC0415

    opens = {None: "", True: "opens", False: shown(status.deaf, _ERROR_WIDTH)}[status.console]
    return {
        "name": status.machine.name,
        "power": str(status.power) if status.power else shown(status.error, _ERROR_WIDTH),
        "use": "in use" if status.in_use else "free",
        "method": status.machine.power.get("method"),
        **({"console": opens} if console else {}),
    }
