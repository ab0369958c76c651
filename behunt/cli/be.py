"""`behunt be`: boot environments, of releases and of the user's own."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from behunt.cli import be_boot, be_datasets, be_enter, be_net
from behunt.cli import options as opt
from behunt.cli.be_place import by_store, lab_for, named
from behunt.errors import UsageError

if TYPE_CHECKING:
    from behunt.drive.lab import Lab
    from behunt.model import BootEnv


@click.group()
def be() -> None:
    """Keep boot environments: one installed root per release, cloned for every run.

    NAME is a dataset, such as zroot/behunt/test, or the name of one in the store.
    """


for command in (
    *be_datasets.COMMANDS,
    *be_enter.COMMANDS,
    *be_boot.COMMANDS,
    *be_net.COMMANDS,
):
    be.add_command(command)


@be.command(
    "list",
    epilog="""\b
Examples:
  behunt be list --json
  behunt be list --host root@fbsd.lab --store zfs:zroot/behunt""",
)
@opt.keeping
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_context
def list_(ctx: click.Context, /, *, as_json: bool, **options: Any) -> None:
    """List what is installed, and of a ZFS store also what else is made there."""
    from behunt.drive.datasets import are_in, datasets  # noqa: PLC0415

    with lab_for(ctx, options) as lab:
        if are_in(lab):
            rows = [asdict(row) for row in datasets(lab).rows()]
            told = [_dataset_line(row) for row in rows]
        else:
            found = lab.store.bootenvs()
            rows = [_as_object(one, len(lab.store.build(one).packages)) for one in found]
            told = [_root_line(row) for row in rows]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo("nothing installed")
    else:
        from tabulate import tabulate  # noqa: PLC0415

        click.echo(tabulate(told, headers="keys", tablefmt="plain"))


def _root_line(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": row["name"],
        "installed": row["created"][:10],
        "packages": row["packages"],
        "size": _megabytes(row["bytes"]),
        "identity": row["identity"][:12],
    }


def _dataset_line(row: dict[str, Any]) -> dict[str, Any]:
    """First what `bectl list` shows, in its words."""
    return {
        "BE": row["name"],
        "Active": row["active"] or "-",
        "Mountpoint": row["mountpoint"] or "-",
        "Space": _space(row["bytes"]),
        "Created": row["created"][:16].replace("T", " "),
        "State": row["state"],
        "Release": row["release"] or "-",
        "Layout": row["layout"] or "-",
    }


def _space(count: float) -> str:
    """As zfs(8) does: 96K, 1.5M, 5.32G.

    >>> _space(5712306503), _space(294912), _space(1023)
    ('5.32G', '288K', '1023B')
    """
    for unit in "BKMGTP":
        if count < 1024 or unit == "P":  # noqa: PLR2004
            break
        count /= 1024
    return f"{count:.0f}{unit}" if count >= 99.95 else f"{count:.3g}{unit}"  # noqa: PLR2004


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


def _as_object(bootenv: BootEnv, packages: int) -> dict[str, Any]:
    return {
        "name": bootenv.name,
        "release": bootenv.release,
        "path": str(bootenv.path),
        "created": bootenv.created,
        "bytes": bootenv.bytes,
        "packages": packages,
        "identity": bootenv.identity,
        "layout": bootenv.layout,
    }


@be.command(
    epilog="""\b
Examples:
  behunt be install debian-12
  behunt be install --os debian 11..13 --jobs 2
  behunt be install debian-13 --package python3 --package curl
  behunt be install --refresh debian-sid
  behunt be install -o FreeBSD -r 11.1 -p /pub zroot/behunt/test"""
)
@click.argument("releases", nargs=-1, required=True, shell_complete=opt.complete_release)
@opt.where
@opt.installing
@click.option("--release", "-r", metavar="RELEASE", help="Install it into the dataset named.")
@click.option(
    "--branch",
    "-b",
    type=click.Choice(["release"], case_sensitive=False),
    default="release",
    show_default=True,
    help="The kind of build that -r names.",
)
@click.option(
    "--jobs", "-j", type=click.IntRange(1), default=1, metavar="N", help="Installations at a time."
)
@click.option("--refresh", is_flag=True, help="Destroy what is installed under the name first.")
@opt.verbose
@click.pass_context
def install(ctx: click.Context, /, releases: tuple[str, ...], **options: Any) -> None:
    """Install RELEASES, each once, and seal them; or, with -r, one into an empty dataset."""
    from behunt.drive.installing import install_all, name_of  # noqa: PLC0415

    if options["release"] is not None:
        _install_into(ctx, releases, options)
        return
    if any("/" in name for name in releases):
        raise UsageError(
            "what shall be installed there is missing",
            f"behunt be install -o FreeBSD -r 14.3 {releases[0]}",
        )
    chosen = opt.releases_of(releases, options)
    with lab_for(ctx, options) as lab:
        if options["refresh"]:
            for release in chosen:
                if old := lab.store.find(name_of(release, lab.settings.packages)):
                    lab.store.destroy(old)
        for bootenv in install_all(lab, chosen, options["jobs"]):
            _tell_installed(bootenv)


def _install_into(ctx: click.Context, names: tuple[str, ...], options: dict[str, Any]) -> None:
    from behunt.drive.datasets import datasets  # noqa: PLC0415
    from behunt.drive.filling import fill  # noqa: PLC0415

    if len(names) != 1:
        raise UsageError("-r installs one release into one dataset", "name one dataset")
    release = opt.release_of(options["release"], options)
    place = named(names[0], options)
    with lab_for(ctx, {**options, "store": place.store}) as lab:
        _tell_installed(fill(lab, release, datasets(lab).fill(place.name, release.id)))


def _tell_installed(bootenv: BootEnv) -> None:
    click.echo(f"{bootenv.name}  {_megabytes(bootenv.bytes)}  {bootenv.identity[:12]}")


@be.command(
    epilog="""\b
Examples:
  behunt be destroy debian-12-amd64
  behunt be destroy zroot/behunt/test"""
)
@click.argument("names", nargs=-1, required=True)
@opt.keeping
@click.option("--force", "-F", is_flag=True, help="With the snapshots that were taken of it.")
@click.pass_context
def destroy(ctx: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Destroy boot environments. Archives stay: installing again takes a second."""
    from behunt.drive.datasets import called  # noqa: PLC0415
    from behunt.drive.datasets import destroy as remove  # noqa: PLC0415

    for at, wanted in by_store(names, options):
        with lab_for(ctx, at) as lab:
            doomed = [called(lab, name) or _of_release(lab, name) for name in wanted]
            for bootenv in doomed:
                remove(lab, bootenv, force=options["force"])
                click.echo(f"destroyed {bootenv.name}")


def _of_release(lab: Lab, name: str) -> BootEnv:
    """The boot environment of the release that `name` means."""
    with contextlib.suppress(UsageError):
        release = opt.release_of(name, {"os": None, "arch": None, "own": ()})
        if bootenv := lab.store.find(release.id):
            return bootenv
    known = ", ".join(bootenv.name for bootenv in lab.store.bootenvs()) or "none"
    raise UsageError(f"there is no boot environment {name}", f"there are: {known}")


@be.command(
    epilog="""\b
Examples:
  behunt be prune --dry-run
  behunt be prune --older-than 30
  behunt be prune --all"""
)
@opt.keeping
@click.option(
    "--older-than",
    type=click.IntRange(0),
    metavar="DAYS",
    help="Also logs of old runs, and states of machines not used since.",
)
@click.option("--all", "everything", is_flag=True, help="Also all boot environments.")
@click.option("--dry-run", "-n", is_flag=True, help="Only print what would go.")
@click.pass_context
def prune(
    ctx: click.Context,
    /,
    *,
    older_than: int | None,
    everything: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Remove archives and kernels that nothing is made from any more."""
    from behunt.drive.prune import plan  # noqa: PLC0415
    from behunt.drive.prune import prune as remove  # noqa: PLC0415

    with lab_for(ctx, options) as lab:
        doomed = plan(lab, older_than_days=older_than, everything=everything)
        for row in doomed:
            click.echo(f"{row.kind:8} {row.bytes / 1e6:8.1f} MB  {row.name}  ({row.why})")
        freed = sum(row.bytes for row in doomed) if dry_run else remove(lab, doomed)
    click.echo(f"{'would free' if dry_run else 'freed'} {freed / 1e6:.1f} MB")
