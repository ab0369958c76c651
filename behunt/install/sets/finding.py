"""Find the place that has a release, and read there what its sets must be."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from behunt.errors import InstallError
from behunt.install import fetch
from behunt.install.protocol import Order, Origin
from behunt.install.sets import places
from behunt.install.sets.places import Place
from behunt.install.sets.protocol import DistSet, Family, NotAsPinnedError
from behunt.model import sha256_of


@dataclass(frozen=True, slots=True)
class Found:
    """A place, the sets that are to be installed as it has them, and what vouches for them."""

    place: Place
    sets: tuple[DistSet, ...]
    origin: Origin
    origins: tuple[tuple[str, str], ...]  # as Build has them


def find(order: Order, family: Family, only: str = "") -> Found:
    """The first place that has the sets of `order`; `only` an address that was found before.

    What lies in a directory of the user's is taken or refused. A URL is passed over if what it
    has is no good, and the notes say so. Raises InstallError naming everything that was tried.
    """
    names = family.sets(order)
    vouchers = family.vouchers(order.release, names)
    absent: list[str] = []
    bad: list[str] = []
    for addresses in [(only,)] if only else places.groups(order, family):
        for place in places.at(order, addresses, vouchers[0]):
            try:
                found = _read(order, family, place, names, vouchers)
            except InstallError as error:
                if place.local:
                    raise InstallError(f"{place.url}: {error.message}", error.hint) from error
                gone = isinstance(error, fetch.UnreadableError)
                (absent if gone else bad).append(_tried(place, error, gone=gone))
            else:
                notes = (*(f"passed over {why}" for why in bad), *found.origin.notes)
                return replace(found, origin=replace(found.origin, notes=notes))
        if not places.is_url(addresses[0]):
            tried = ", ".join(reversed(addresses))  # the directory itself first: a line may be cut
            absent.append(f"there is no {vouchers[0]} in {tried}")
    raise InstallError(
        f"no source has the sets {' '.join(names)} of {order.release.id}: "
        f"{'; '.join([*bad, *absent]) or 'the catalogue names none'}",
        "name a mirror, or a directory that has them, with --mirror",
    )


def _tried(place: Place, error: InstallError, *, gone: bool) -> str:
    return error.message if gone else f"{place.url}: {error.message}"


def _read(
    order: Order, family: Family, place: Place, names: Sequence[str], vouchers: Sequence[str]
) -> Found:
    texts = place.read(vouchers)
    sets = family.read(order.release, names, texts)
    notes = _vouched(order, family, place, sets, texts)
    digest = _digest(texts)
    own = tuple((f"{place.url}/{item.name}", _digest_of_set(item)) for item in sets)
    origins = ((f"{place.url}/{vouchers[0]}", digest), *own)
    return Found(place, sets, Origin(place.url, digest, notes=notes), origins)


def _vouched(
    order: Order,
    family: Family,
    place: Place,
    sets: tuple[DistSet, ...],
    texts: Mapping[str, bytes],
) -> tuple[str, ...]:
    """Notes on who vouches. A directory that the user names may have a build of the user's own."""
    try:
        return family.vouch(order, sets, texts)
    except NotAsPinnedError as error:
        if not (order.mirror and place.local):
            raise
        return (f"not as it was published: {error.message}",)


def _digest(texts: Mapping[str, bytes]) -> str:
    """SHA-256 of the one text that vouches, or of the list of several."""
    digests = {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    return next(iter(digests.values())) if len(digests) == 1 else sha256_of(digests)


def _digest_of_set(item: DistSet) -> str:
    one = dict(item.pieces[0].digests).get("sha256")
    if len(item.pieces) == 1 and one:
        return one
    return sha256_of([piece.digests for piece in item.pieces])
