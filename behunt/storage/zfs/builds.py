"""What was installed, kept as user properties of the boot environment: it goes where the pool goes.

`behunt:build` is a summary, a few hundred bytes that every listing reads. The whole Build is
in `behunt:build.0`, `.1`, …: JSON, packed by zlib, in base64, cut to the 1,000 bytes that a value
may have on an old pool (a newer one takes 8,192). 93 packages of a minimal Debian take two
of them, 400 packages seven.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any

from behunt.errors import HostError
from behunt.hosts.protocol import Host, checked
from behunt.model import Build, Package
from behunt.storage.zfs.marks import BUILD

_LONGEST = 1000  # bytes of a user property's value


@dataclass(frozen=True, slots=True)
class Summary:
    identity: str  # Build.identity()
    created: str  # ISO 8601, UTC
    bytes: int
    parts: int  # of the whole Build


def properties(build: Build, created: str, taken: int) -> dict[str, str]:
    """All that keeps `build`. `taken`: bytes of the boot environment when it was sealed."""
    text = json.dumps(asdict(build), separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    parts = [packed[at : at + _LONGEST] for at in range(0, len(packed), _LONGEST)]
    summary = Summary(build.identity(), created, taken, len(parts))
    told = {BUILD: json.dumps(asdict(summary), separators=(",", ":"))}
    return told | {f"{BUILD}.{number}": part for number, part in enumerate(parts)}


def summary_in(dataset: str, value: str) -> Summary:
    """Raises HostError if `value`, the property of `dataset`, is damaged."""
    try:
        return Summary(**json.loads(value))
    except (ValueError, TypeError) as error:
        raise damaged(dataset) from error


def kept(host: Host, dataset: str) -> dict[str, str]:
    """The properties that keep the Build of `dataset`. Raises HostError."""
    # Not through the door: how many there are is only known once they are read.
    argv = ["zfs", "get", "-H", "-s", "local", "-o", "property,value", "all", dataset]
    listed = (line.partition("\t") for line in checked(host.run(argv)).out.splitlines())
    return {name: value for name, _, value in listed if _is_kept(name)}


def _is_kept(name: str) -> bool:
    return name == BUILD or name.startswith(f"{BUILD}.")


def whole_build(host: Host, dataset: str) -> Build:
    """The Build of the boot environment in `dataset`. Raises HostError if it is damaged."""
    found = kept(host, dataset)
    summary = summary_in(dataset, found.get(BUILD, ""))
    try:
        packed = "".join(found[f"{BUILD}.{number}"] for number in range(summary.parts))
        text = zlib.decompress(base64.b64decode(packed, validate=True))
        build = _build(json.loads(text))
    except (KeyError, TypeError, ValueError, zlib.error, binascii.Error) as error:
        raise damaged(dataset) from error
    if build.identity() != summary.identity:
        raise damaged(dataset)
    return build


def _build(about: dict[str, Any]) -> Build:
    return Build(
        recipe=about["recipe"],
        origins=tuple((url, digest) for url, digest in about["origins"]),
        packages=tuple(Package(**package) for package in about["packages"]),
        notes=tuple(about["notes"]),
    )


def damaged(dataset: str) -> HostError:
    return HostError(
        f"the properties {BUILD} of {dataset} are damaged",
        f"`behunt be destroy {dataset}` removes it",
    )
