"""`behunt be`: boot environments."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from behunt.cli import options as opt
from behunt.cli.groups import TakesCommand, rest_of
from behunt.errors import UsageError

if TYPE_CHECKING:
    from behunt.drive.lab import Lab
    from behunt.model import BootEnv


@click.group()
def be() -> None:
    """Keep boot environments: one installed root per release, cloned for every run."""


@contextlib.contextmanager
def _lab(ctx: click.Context, options: dict[str, Any], runner: str = "namespace") -> Iterator[Lab]:
    from behunt.cli.progress import watching  # noqa: PLC0415 - slow to import
    from behunt.drive.lab import opened  # noqa: PLC0415

    place: opt.Place = ctx.obj
    settings = opt.settings_of(options) if "packages" in options else opt.settings_of(_NOTHING)
    with (
        watching(verbose=options.get("verbose", False)) as emit,
        opened(place.home, runner, results=place.results_path, settings=settings, emit=emit) as lab,
    ):
        yield lab


_NOTHING: dict[str, Any] = {"packages": (), "mirror": "", "keyring": None}


@be.command("list", epilog="Example: behunt be list --json")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List what is installed."""
    with _lab(ctx, {}) as lab:
        found = lab.store.bootenvs()
        rows = [_as_object(bootenv, len(lab.store.build(bootenv).packages)) for bootenv in found]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from tabulate import tabulate  # noqa: PLC0415

    table = [
        (
            r["name"],
            r["created"][:10],
            r["packages"],
            f"{r['bytes'] / 1e6:.0f} MB",
            r["identity"][:12],
        )
        for r in rows
    ]
    headers = ("name", "installed", "packages", "size", "identity")
    click.echo(tabulate(table, headers=headers, tablefmt="plain") if rows else "nothing installed")


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
  behunt be install --refresh debian-sid"""
)
@click.argument("releases", nargs=-1, required=True, shell_complete=opt.complete_release)
@opt.where
@opt.installing
@click.option(
    "--jobs", "-j", type=click.IntRange(1), default=1, metavar="N", help="Installations at a time."
)
@click.option("--refresh", is_flag=True, help="Destroy what is installed under the name first.")
@opt.verbose
@click.pass_context
def install(ctx: click.Context, /, releases: tuple[str, ...], **options: Any) -> None:
    """Install RELEASES, each once, and seal them."""
    from behunt.drive.installing import install_all, name_of  # noqa: PLC0415

    chosen = opt.releases_of(releases, options)
    with _lab(ctx, options) as lab:
        if options["refresh"]:
            for release in chosen:
                if old := lab.store.find(name_of(release, lab.settings.packages)):
                    lab.store.destroy(old)
        for bootenv in install_all(lab, chosen, options["jobs"]):
            click.echo(f"{bootenv.name}  {_megabytes(bootenv.bytes)}  {bootenv.identity[:12]}")


@be.command(
    cls=TakesCommand,
    epilog="""\b
Examples:
  behunt be shell debian-12
  behunt be shell debian-12 -- apt list --installed""",
)
@click.argument("release", shell_complete=opt.complete_release)
@opt.where
@opt.installing
@click.option("--network", is_flag=True, help="Let it reach the network.")
@opt.verbose
@click.pass_context
def shell(ctx: click.Context, /, release: str, **options: Any) -> None:
    """Open a shell in a clone of RELEASE. What is changed there is gone afterwards."""
    from behunt.drive.shell import shell as lend  # noqa: PLC0415

    chosen = opt.release_of(release, options)
    argv = rest_of(ctx) or ["/bin/sh", "-i"]
    with _lab(ctx, options) as lab:
        code = lend(lab, chosen, argv, network=options["network"])
    ctx.exit(code if code >= 0 else 128 - code)


@be.command(epilog="Example: behunt be destroy debian-12-amd64")
@click.argument("names", nargs=-1, required=True)
@click.pass_context
def destroy(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Destroy boot environments. Their archives stay: installing them again takes a second."""
    with _lab(ctx, {}) as lab:
        doomed = [_named(lab, name) for name in names]
        for bootenv in doomed:
            lab.store.destroy(bootenv)
            click.echo(f"destroyed {bootenv.name}")


def _named(lab: Lab, name: str) -> BootEnv:
    """The boot environment called `name`, or the one of the release that `name` means."""
    if found := lab.store.find(name):
        return found
    with contextlib.suppress(UsageError):
        release = opt.release_of(name, {"os": None, "arch": None, "own": ()})
        if found := lab.store.find(release.id):
            return found
    known = ", ".join(bootenv.name for bootenv in lab.store.bootenvs()) or "none"
    raise UsageError(f"there is no boot environment {name}", f"there are: {known}")


@be.command(
    epilog="""\b
Examples:
  behunt be prune --dry-run
  behunt be prune --older-than 30
  behunt be prune --all"""
)
@click.option("--older-than", type=click.IntRange(0), metavar="DAYS", help="Also logs of old runs.")
@click.option("--all", "everything", is_flag=True, help="Also all boot environments.")
@click.option("--dry-run", "-n", is_flag=True, help="Only print what would go.")
@click.pass_context
def prune(ctx: click.Context, *, older_than: int | None, everything: bool, dry_run: bool) -> None:
    """Remove archives and kernels that nothing is made from any more."""
    from behunt.drive.prune import plan  # noqa: PLC0415
    from behunt.drive.prune import prune as remove  # noqa: PLC0415

    with _lab(ctx, {}) as lab:
        doomed = plan(lab, older_than_days=older_than, everything=everything)
        for row in doomed:
            click.echo(f"{row.kind:8} {row.bytes / 1e6:8.1f} MB  {row.name}  ({row.why})")
        freed = sum(row.bytes for row in doomed) if dry_run else remove(lab, doomed)
    click.echo(f"{'would free' if dry_run else 'freed'} {freed / 1e6:.1f} MB")
