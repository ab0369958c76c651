"""What a machine of a lab boots: a root on NFS, and what it is told and given to get there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from behunt.netboot.lab import Serial, serial_of
from behunt.netboot.web import Content

_MADE = "made.json"


@dataclass(frozen=True, slots=True)
class Root:
    """A root on NFS: `server`'s `path`."""

    server: IPv4Address
    path: str


@dataclass(frozen=True, slots=True)
class Offer:
    """For one machine: the `way` it boots (a key of dnsmasq.FILES) and DHCP `options` by name.

    `web` and `tftp` are files that it fetches, by name, and `last` the last of them; `laid` are
    files in its root over those of the boot environment, by paths from there.
    """

    way: str
    last: str
    options: Mapping[str, str] = field(default_factory=dict)
    web: Mapping[str, Content] = field(default_factory=dict)
    tftp: Mapping[str, Content] = field(default_factory=dict)
    laid: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Made:
    """What machines of one boot environment boot from. `version` tells builds of it apart."""

    os: str
    arch: str
    version: str

    def write(self, place: Path) -> None:
        """The last thing to do in a directory that holds the rest."""
        (place / _MADE).write_text(f"{json.dumps(asdict(self), indent=1)}\n", encoding="utf-8")


def read(place: Path) -> Made:
    """Raises FileNotFoundError where nothing has been made."""
    return Made(**json.loads((place / _MADE).read_text(encoding="utf-8")))


def rate_of(console: str) -> str:
    """Baud of a serial port, as lab.toml has it of the other end of its line.

    >>> rate_of("/dev/ttyUSB0,9600")
    '9600'
    """
    serial = serial_of(console) or Serial()
    return str(serial.rate)
