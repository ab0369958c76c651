"""What distribution sets need of this machine. All of it is optional: Debian needs none of it."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from urllib.parse import urlsplit

from behunt import catalogue
from behunt.drive.doctor_machine import Machine
from behunt.errors import BehuntError
from behunt.hosts.local import LocalHost
from behunt.install import SETS
from behunt.install.fetch import first_of
from behunt.install.protocol import Order
from behunt.install.sets.openbsd import KEYS, SIGNIFY
from behunt.install.sets.tools import tools_of
from behunt.model import Check, Release

_AREA = "installer"
_XZ = 'printf "" | "$1" -cJf - -T - | "$1" -tf -'  # an archive of nothing, there and back
_PATIENCE = 5.0  # seconds for each server to answer


def checks_of_sets(machine: Machine, *, online: bool) -> Iterator[Check]:
    """Where sets are unpacked and verified; with `online` also whether they can be fetched."""
    known = [one for one in catalogue.load().releases if SETS.serves(one)]
    yield _unpacking(machine, known)
    yield _signify(machine, [one for one in known if one.trait("signify_key")])
    if machine.system == "freebsd":  # elsewhere packages of FreeBSD need a FreeBSD --host
        yield _pkg(machine)
    if online:
        for os, releases in groupby(known, attrgetter("os")):
            yield _fetched(os, list(releases)[-1])


def _unpacking(machine: Machine, known: Sequence[Release]) -> Check:
    try:
        tar = tools_of(platform.system()).tar
    except BehuntError as error:
        return Check(_AREA, "sets", ok=False, detail=error.message, fix=error.hint, optional=True)
    if not machine.has(tar):
        return _lacking(machine, "sets", tar)
    done = LocalHost().run(["sh", "-c", _XZ, "sh", tar])
    if done.code != 0:
        detail = f"{tar} cannot unpack xz: {done.err.strip() or done.how}"
        return Check(_AREA, "sets", ok=False, detail=detail, fix=machine.fix(["xz"]), optional=True)
    counts = [f"{len(list(own))} of {os}" for os, own in groupby(known, attrgetter("os"))]
    detail = f"{tar}; releases: {', '.join(counts)}"
    return Check(_AREA, "sets", ok=True, detail=detail, optional=True)


def _signify(machine: Machine, signed: Sequence[Release]) -> Check:
    program = next((name for name in SIGNIFY if machine.has(name)), "")
    if not program:
        return _lacking(machine, "signify", SIGNIFY[0], "signify-openbsd-keys")
    lacking = [one.version for one in signed if not _key(one).is_file()]
    detail = f"{program}, with the keys of {len(signed) - len(lacking)} releases of OpenBSD"
    if lacking:
        detail += f"; none of {', '.join(lacking)}"
    fix = "" if len(lacking) < len(signed) else machine.fix(["signify-openbsd-keys"])
    return Check(_AREA, "signify", ok=not fix, detail=detail, fix=fix, optional=True)


def _key(release: Release) -> Path:
    return Order(release).key_file(release.trait("signify_key"), KEYS)


def _pkg(machine: Machine) -> Check:
    there = machine.has("pkg") and LocalHost().run(["pkg", "-N"]).code == 0
    detail = "FreeBSD 15 and later from packages" if there else "pkg is not bootstrapped"
    fix = "" if there else "pkg bootstrap"
    return Check(_AREA, "pkg", ok=there, detail=detail, fix=fix, optional=True)


def _fetched(os: str, newest: Release) -> Check:
    try:
        url, _ = first_of(newest.sources, f"the sets of {newest.id}", timeout=_PATIENCE)
    except BehuntError as error:
        servers = dict.fromkeys(urlsplit(source).netloc for source in newest.sources)
        detail = f"{newest.id} is not to be had from {', '.join(servers)}"
        return Check(_AREA, os, ok=False, detail=detail, fix=error.hint, optional=True)
    return Check(_AREA, os, ok=True, detail=f"{urlsplit(url).netloc} answers", optional=True)


def _lacking(machine: Machine, name: str, *programs: str) -> Check:
    detail = f"not installed: {', '.join(programs)}"
    return Check(_AREA, name, ok=False, detail=detail, fix=machine.fix(programs), optional=True)
