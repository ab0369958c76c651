"""Which NFS server a lab has here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeAlias

from behunt.errors import HostError
from behunt.netboot import ganesha, kernel_nfs
from behunt.netboot.nfs import NfsServer

_Start: TypeAlias = Callable[[IPv4Address, IPv4Network, Path], AbstractContextManager[NfsServer]]
# The kernel's first: where that runs, no other can.
SERVERS: dict[str, tuple[Callable[[], str], _Start]] = {
    "kernel": (kernel_nfs.missing, kernel_nfs.KernelNfs),
    "ganesha": (ganesha.missing, ganesha.Ganesha),
}


def lacking() -> dict[str, str]:
    """Why each of SERVERS cannot be used here; empty for one that can."""
    return {name: missing() for name, (missing, _) in SERVERS.items()}


def serving(
    address: IPv4Address, network: IPv4Network, directory: Path
) -> AbstractContextManager[NfsServer]:
    """The first that can be used, on `address`, for `network`; `directory` is empty and ours.

    Raises HostError where none can.
    """
    lacks = lacking()
    for name, (_, start) in SERVERS.items():
        if not lacks[name]:
            return start(address, network, directory)
    raise HostError("there is no NFS server here", lacks["ganesha"])
