"""A clone as the root of one machine of a lab: served, and the machine told so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from behunt.errors import HostError
from behunt.netboot.dnsmasq import Booting
from behunt.netboot.exports import Export
from behunt.netboot.lab import Machine
from behunt.netboot.nfs import Share
from behunt.netboot.nfs_faults import Exported, clients, faults
from behunt.netboot.serving import Servers
from behunt.runners.lab.families import FAMILIES
from behunt.runners.lab.root import Made, Offer, Root
from behunt.runners.lab.root import read as made_in
from behunt.runners.lab.tree import Tree
from behunt.storage.protocol import Clone


@dataclass(frozen=True, slots=True)
class Offered:
    """What the machine boots (`made`), what it is told, and the files of its root."""

    made: Made
    offer: Offer
    share: Share
    tree: Tree


@contextlib.contextmanager
def offered(
    servers: Servers, machine: Machine, clone: Clone, place: Path, init: str = ""
) -> Iterator[Offered]:
    """Until it is left, `machine` boots `clone` by what was made in `place`, and gets its files.

    It does a run's job there, or runs `init`. Raises HostError and InstallError.
    """
    made = made_in(place)
    family = FAMILIES[made.os]
    _check(made, servers)
    with (
        servers.nfs.shared(family.layered(clone, place, machine), machine.name) as share,
        Tree(share.host) as tree,
    ):
        offer = family.offer(machine, Root(share.server, share.path), place, init)
        tree.lay(offer.laid)
        booting = Booting(machine, offer.way, offer.options)
        with servers.answered(booting, offer.web, offer.tftp):
            yield Offered(made, offer, share, tree)


def _check(made: Made, servers: Servers) -> None:
    """Raises HostError where the server does not speak what machines do on their way up."""
    network = servers.lab.address.network
    wanted, given = Export("/", network, ident=0), Exported("/", network, root=True)
    for why in faults(wanted, [given], servers.nfs.served, clients(made.os, made.version)):
        raise HostError(why, "see docs/netboot.md for what each release needs")
