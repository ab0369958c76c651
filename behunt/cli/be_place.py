"""Which boot environment a name on the command line means, and the lab to work on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from behunt.cli import options as opt

if TYPE_CHECKING:
    from behunt.drive.lab import Lab
    from behunt.storage.zfs.store import ZfsStore

_UNSAID: dict[str, Any] = {"packages": (), "mirror": "", "keyring": None, "sets": (), "layout": ""}


@dataclass(frozen=True, slots=True)
class Named:
    """A boot environment: the store it is in, and its name there."""

    store: str
    name: str


def named(text: str, options: dict[str, Any]) -> Named:
    """A dataset's whole name says its store as well: zroot/behunt/test is in zfs:zroot/behunt."""
    parent, slash, name = text.rpartition("/")
    return Named(f"zfs:{parent}", name) if slash else Named(options["store"], text)


def by_store(
    names: Sequence[str], options: dict[str, Any]
) -> list[tuple[dict[str, Any], list[str]]]:
    """(options, names in its store) for every store that `names` are of."""
    places = [named(name, options) for name in names]
    stores = dict.fromkeys(place.store for place in places)
    return [
        ({**options, "store": store}, [place.name for place in places if place.store == store])
        for store in stores
    ]


@contextlib.contextmanager
def lab_for(ctx: click.Context, options: dict[str, Any], runner: str = "none") -> Iterator[Lab]:
    """A lab with the host and the store that `options` name."""
    from behunt.cli.progress import watching  # noqa: PLC0415 - slow to import
    from behunt.drive.lab import opened  # noqa: PLC0415

    place: opt.Place = ctx.obj
    settings = opt.settings_of({**_UNSAID, **options})
    with (
        watching(verbose=options.get("verbose", False)) as emit,
        opened(place.home, runner, results=place.results_path, settings=settings, emit=emit) as lab,
    ):
        yield lab


@contextlib.contextmanager
def dataset(
    ctx: click.Context, text: str, options: dict[str, Any]
) -> Iterator[tuple[ZfsStore, str]]:
    """The store that `text` means, which keeps datasets, and the name there."""
    from behunt.drive.datasets import datasets  # noqa: PLC0415

    place = named(text, options)
    with lab_for(ctx, {**options, "store": place.store}) as lab:
        yield datasets(lab), place.name
