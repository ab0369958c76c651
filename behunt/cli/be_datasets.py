"""`behunt be create`, `mount`, `snapshot` and so on: what is done with datasets by hand."""

from __future__ import annotations

from typing import Any

import click

from behunt.cli import options as opt
from behunt.cli.be_place import dataset, named
from behunt.errors import UsageError


@click.command(
    epilog="""\b
Examples:
  behunt be create -l freebsd zroot/behunt/test
  behunt be create -l freebsd -r 9.3 zroot/behunt/old
  behunt be create -l flat tank/files"""
)
@click.argument("name")
@opt.keeping
@click.option(
    "--layout",
    "-l",
    default="flat",
    show_default=True,
    metavar="LAYOUT",
    help="freebsd, netbsd, openbsd, illumos, linux: as that system's installer; or flat.",
)
@click.option(
    "--release", "-r", default="", metavar="VERSION", help="The layout that this release had."
)
@click.pass_context
def create(ctx: click.Context, /, name: str, layout: str, release: str, **options: Any) -> None:
    """Create an empty boot environment, for `be install` or for anything."""
    with dataset(ctx, name, options) as (store, called):
        click.echo(f"created {store.make_empty(called, layout, release)}")


@click.command(
    epilog="""\b
Examples:
  behunt be mount zroot/behunt/test
  behunt be mount zroot/behunt/test /mnt"""
)
@click.argument("name")
@click.argument("directory", default="")
@opt.keeping
@click.pass_context
def mount(ctx: click.Context, /, name: str, directory: str, **options: Any) -> None:
    """Mount it, with all that is nested in it, and print where.

    What is changed there stays in it. Runs do not see it: they are clones of what was installed.
    """
    with dataset(ctx, name, options) as (store, called):
        click.echo(store.mount(called, directory))


@click.command(epilog="Example: behunt be umount zroot/behunt/test")
@click.argument("name")
@opt.keeping
@click.pass_context
def umount(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Unmount it, with all that is nested in it."""
    with dataset(ctx, name, options) as (store, called):
        store.umount(called)


@click.command(epilog="Example: behunt be snapshot zroot/behunt/test@before")
@click.argument("name", metavar="NAME@SNAPSHOT")
@opt.keeping
@click.pass_context
def snapshot(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Take a snapshot of it and of all that is nested in it, in one transaction."""
    whole, _, tag = name.partition("@")
    if not tag:
        raise UsageError("the snapshot has no name", f"behunt be snapshot {name}@before")
    with dataset(ctx, whole, options) as (store, called):
        click.echo(store.snapshot(called, tag))


@click.command(
    epilog="""\b
Examples:
  behunt be clone zroot/behunt/test zroot/behunt/mine
  behunt be clone zroot/behunt/test@before zroot/behunt/mine"""
)
@click.argument("name", metavar="NAME[@SNAPSHOT]")
@click.argument("to")
@opt.keeping
@click.pass_context
def clone(ctx: click.Context, /, name: str, to: str, **options: Any) -> None:
    """Make a boot environment of its own out of a snapshot, by default of what was installed."""
    new = _beside(name, to, options)
    with dataset(ctx, name, options) as (store, called):
        click.echo(f"created {store.copy(called, new)}")


@click.command(epilog="Example: behunt be rename zroot/behunt/test zroot/behunt/old")
@click.argument("name")
@click.argument("to")
@opt.keeping
@click.pass_context
def rename(ctx: click.Context, /, name: str, to: str, **options: Any) -> None:
    """Give it another name in its store."""
    new = _beside(name, to, options)
    with dataset(ctx, name, options) as (store, called):
        click.echo(f"renamed to {store.rename(called, new)}")


@click.command(epilog="Example: behunt be activate zroot/ROOT/test")
@click.argument("name")
@opt.keeping
@click.pass_context
def activate(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Have the host boot it next, and from then on (`zpool set bootfs`)."""
    with dataset(ctx, name, options) as (store, called):
        caution = store.activate(called)
        click.echo(f"{store.dataset(called)} boots next")
    if caution:
        click.echo(f"  {caution}", err=True)


def _beside(name: str, to: str, options: dict[str, Any]) -> str:
    """What `to` calls a boot environment in the store of `name`."""
    source = named(name, options)
    target = named(to, {**options, "store": source.store})
    if target.store != source.store:
        raise UsageError(
            f"{to} is in another store than {name}", "choose a name with the same parent dataset"
        )
    return target.name


COMMANDS = (create, mount, umount, snapshot, clone, rename, activate)
