"""What this machine can do, what it lacks, and what brings it. Things are tried, not guessed."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from behunt import catalogue
from behunt.drive.doctor_host import checks_of
from behunt.drive.doctor_machine import Machine, this_machine
from behunt.drive.doctor_machines import QEMU, checks_of_machines
from behunt.drive.doctor_sets import checks_of_sets
from behunt.drive.site import OVERLAY
from behunt.drive.trying import enter, limits, mount_privately, overlay, privilege, scratch, why
from behunt.errors import BehuntError
from behunt.families import debian
from behunt.hosts import cgroups, spawner
from behunt.install import INSTALLERS, aptmirror
from behunt.install.fetch import first_of
from behunt.install.protocol import Order
from behunt.model import Check, Release
from behunt.netboot.serving import IPXE
from behunt.results.store import Results
from behunt.runners import runners
from behunt.runners.jail import JailRunner
from behunt.runners.protocol import Runner
from behunt.runners.qemu import QemuRunner
from behunt.storage.home import Home

_ROOM = 2 << 30  # bytes; five Debian releases with their archives take about half of it
_GIB = 1 << 30
_PROGRAMS = {"mmdebstrap": ("mmdebstrap", "tar", "zstd"), "tree": ("tar",)}


def checks(
    home: Path,
    *,
    results: str | Path = "",
    online: bool = False,
    machine: Machine | None = None,
    host: str = "",
    store: str = OVERLAY,
) -> list[Check]:
    """Every check, by area. Raises nothing, whatever is missing.

    `online` also asks the mirror. `results` is where the database is, if not in `home`. `host`
    and `store` are looked at besides.
    """
    machine = machine or this_machine()
    areas: dict[str, Callable[[], Iterator[Check]]] = {
        "store": lambda: _store(home, machine),
        "runner": lambda: _runners(home, machine),
        "installer": lambda: _installers(machine, online=online),
        "network boot": lambda: _network_boot(machine),
        "report": _report,
        "results": lambda: _results(results or home / "results.db"),
        "host": lambda: checks_of(Home(home), host, store),
    }
    try:
        return [check for area, look in areas.items() for check in _looked(area, look)]
    finally:
        spawner.stop()


def _looked(area: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from look()
    except Exception as error:  # noqa: BLE001 - what a broken machine throws cannot be foreseen
        yield Check(area, area, ok=False, detail=why(error), fix=getattr(error, "hint", ""))


# -- store


def _store(home: Path, machine: Machine) -> Iterator[Check]:
    base = _existing(home)
    yield _room(home, base)
    yield _tried("store", "overlay", partial(overlay, base), "clones kept in memory")
    on_disk = _tried("store", "on disk", partial(overlay, base, on_disk=True), "--upper disk")
    yield replace(on_disk, optional=True)
    yield _zfs(machine)
    yield _module("store", "libzfs_core", machine.fix(["libzfs_core"]), optional=True)


def _zfs(machine: Machine) -> Check:
    check = _program(machine, "store", "zfs", "zfs", what="zfs(8) and /dev/zfs")
    if check.ok and not os.path.exists("/dev/zfs"):  # noqa: PTH110 - never raises
        load = "kldload zfs" if machine.system == "freebsd" else "modprobe zfs"
        return replace(check, ok=False, detail="the kernel has no ZFS: no /dev/zfs", fix=load)
    return check


def _existing(home: Path) -> Path:
    """`home`, or the nearest directory above it that is there."""
    return next(path for path in (home, *home.parents) if os.path.isdir(path))  # noqa: PTH112


def _room(home: Path, base: Path) -> Check:
    try:
        with scratch(base):
            pass
    except OSError as error:
        detail = f"{home}: cannot write to {base}: {error.strerror}"
        fix = "export BEHUNT_HOME=DIR, a directory that you can write to"
        return Check("store", "home", ok=False, detail=detail, fix=fix)
    free = shutil.disk_usage(base).free
    detail = f"{home}{'' if home == base else ' (not made yet)'}, {free / _GIB:.1f} GiB free"
    return Check("store", "home", free >= _ROOM, detail, "" if free >= _ROOM else "behunt be prune")


# -- runners


def _runners(home: Path, machine: Machine) -> Iterator[Check]:
    elsewhere = machine.system != "freebsd"
    for runner in runners(Home(home)).values():
        jails = isinstance(runner, JailRunner)
        # vnet would say the same as jail, and metal is told of under network boot
        if runner.name == "metal" or (elsewhere and runner.name == "vnet"):
            continue
        can = ", ".join(sorted(runner.capabilities))
        check = _tried("runner", runner.name, partial(enter, runner), can)
        if not check.ok:
            check = replace(check, fix=check.fix or _brings(runner, check.detail, machine))
        yield replace(check, optional="own_kernel" in runner.capabilities or jails)
    yield replace(_tried("runner", "limits", limits, _controllers()), optional=True)
    yield from checks_of_machines(Home(home), machine)


def _brings(runner: Runner, lacks: str, machine: Machine) -> str:
    """What brings what a runner lacks, where that is not a right of who asks."""
    if "--host" in lacks:
        return "behunt doctor --host root@HOST, of such a host"
    programs = [program for program in QEMU if not machine.has(program)]
    return machine.fix(programs) if programs and isinstance(runner, QemuRunner) else ""


def _controllers() -> str:
    try:
        where = cgroups.found()
    except OSError:  # not Linux
        return ""
    versions = {name: where.version_of(name) for name in ("memory", "pids", "cpu")}
    told = (f"{name} v{version}" if version else f"no {name}" for name, version in versions.items())
    return f"cgroups: {', '.join(told)}"


def _program(machine: Machine, area: str, name: str, program: str, *, what: str) -> Check:
    there = machine.has(program)
    return Check(
        area,
        name,
        ok=there,
        detail=what if there else f"{program} is not installed",
        fix="" if there else machine.fix([program]),
        optional=True,
    )


# -- installers


def _installers(machine: Machine, *, online: bool) -> Iterator[Check]:
    known = catalogue.load().releases
    for name in INSTALLERS:
        mine = [release for release in known if release.trait("installer") == name]
        yield _installer(machine, name, mine)
    mirror = aptmirror.mirror()
    detail = f"{mirror}, as apt has it" if mirror else f"{debian.DEFAULT_MIRROR}; apt names none"
    check = Check("installer", "mirror", ok=True, detail=detail)
    yield _asked(check, mirror or debian.DEFAULT_MIRROR) if online else check
    yield from checks_of_sets(machine, online=online)


def _installer(machine: Machine, name: str, releases: Sequence[Release]) -> Check:
    needed = _PROGRAMS.get(name, (name,))
    if lacking := [program for program in needed if not machine.has(program)]:
        detail = f"not installed: {', '.join(lacking)}"
        return Check("installer", name, ok=False, detail=detail, fix=machine.fix(lacking))
    newest = releases[-1] if releases else Release(name, name, "1", platform.machine())
    if lacks := INSTALLERS[name].missing(Order(newest)):
        lost = [needed for needed in _keyrings(releases) if not (debian.KEYRINGS / needed).exists()]
        return Check(
            "installer",
            name,
            ok=False,
            detail=lacks,
            fix=machine.fix(lost) if lost else privilege(),
        )
    detail = f"{len(releases)} releases of {newest.os}" if releases else "your own catalogue's"
    return _tried("installer", name, mount_privately, detail)


def _keyrings(releases: Sequence[Release]) -> set[str]:
    return {release.trait("keyring") for release in releases} - {""}


def _asked(check: Check, mirror: str) -> Check:
    try:
        first_of([f"{mirror}/dists/stable/InRelease"], "the mirror")
    except BehuntError as error:
        return replace(check, ok=False, detail=error.message, fix=error.hint)
    return replace(check, detail=f"{check.detail}; it answers")


# -- network boot


def _network_boot(machine: Machine) -> Iterator[Check]:
    area = "network boot"
    nfs = "nfsd" if machine.system == "freebsd" else "ganesha.nfsd"
    yield _program(machine, area, "dnsmasq", "dnsmasq", what="DHCP and TFTP")
    yield _program(machine, area, "nfs", nfs, what="exports of roots")
    ipxe = next(iter(IPXE.glob("*.kpxe")), None)
    yield Check(
        area,
        "ipxe",
        ok=ipxe is not None,
        detail="boots Linux" if ipxe else f"there is no iPXE in {IPXE}",
        fix="" if ipxe else machine.fix(["ipxe"]),
        optional=True,
    )
    wired = _wired()
    detail = f"can be sent from {', '.join(wired)}" if wired else "no wired network"
    yield Check(area, "wake-on-lan", bool(wired), detail, optional=True)


def _wired() -> list[str]:
    """Network cards that are no radio; of Linux, which tells."""
    cards = sorted(path.parent for path in Path("/sys/class/net").glob("*/device"))
    return [card.name for card in cards if not (card / "wireless").exists()]


# -- report and results


def _report() -> Iterator[Check]:
    for name in ("jinja2", "pandas", "rich"):
        yield _module("report", name, f"{sys.executable} -m pip install {name}")


def _module(area: str, name: str, fix: str, *, optional: bool = False) -> Check:
    """Import it: an installed package can still be broken."""
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - whatever a broken package throws
        return Check(area, name, ok=False, detail=why(error), fix=fix, optional=optional)
    try:
        detail = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        detail = ""
    return Check(area, name, ok=True, detail=detail, optional=optional)


def _results(where: str | Path) -> Iterator[Check]:
    if isinstance(where, Path) and not os.path.exists(where):  # noqa: PTH110 - never raises
        yield Check("results", "database", ok=True, detail=f"{where} (not made yet)")
        return
    with Results.open(where) as results:
        sessions = len(results.sessions())
    yield Check("results", "database", ok=True, detail=f"{where}, {sessions} sessions")


# -- what all share


def _tried(area: str, name: str, attempt: Callable[[], None], can: str) -> Check:
    try:
        attempt()
    except (BehuntError, OSError) as error:
        return Check(area, name, ok=False, detail=why(error), fix=privilege())
    return Check(area, name, ok=True, detail=can)
