"""What a host, and a store of datasets on it, can do. Only looked at; nothing is made there."""

from __future__ import annotations

from collections.abc import Iterator

from behunt.drive.site import OVERLAY, dataset_of, door_to, host_of, leave
from behunt.errors import BehuntError
from behunt.hosts.facts import Facts, facts
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.install.sets.tools import tools_of
from behunt.model import Check
from behunt.runners import runners
from behunt.storage.home import Home
from behunt.storage.zfs import privileges

_USUAL = {"FreeBSD": "jail", "OpenBSD": "vmm"}  # the runner that a host is for
_RACCT = "echo kern.racct.enable=1 >>/boot/loader.conf, and reboot"


def checks_of(home: Home, destination: str, store: str) -> Iterator[Check]:
    """Every check of `--host` and `--store`: one by one, as each needs the one before."""
    host = host_of(destination)
    try:
        there = facts(host)
        if destination:
            yield from _host(home, host, there)
        if store != OVERLAY:
            yield from _store(host, there, dataset_of(store))
    except BehuntError as error:
        name = "store" if destination == "" else destination
        yield Check("host", name, ok=False, detail=error.message, fix=error.hint)
    finally:
        leave(host)


def _host(home: Home, host: Host, there: Facts) -> Iterator[Check]:
    who = "root" if there.root else "not root"
    detail = f"{there.system} {there.release} {there.machine}, {who}"
    yield Check("host", host.name, ok=True, detail=detail)
    for runner in runners(home, host).values():
        lacks = runner.missing()
        can = ", ".join(sorted(runner.capabilities))
        optional = runner.name != _USUAL.get(there.system, "namespace")
        yield Check("host", runner.name, ok=not lacks, detail=lacks or can, optional=optional)
    if there.system == "OpenBSD":  # what it boots is installed here
        return
    tools = tools_of(there.system)
    has_tar = host.run(["sh", "-c", 'command -v "$1"', "sh", tools.tar]).code == 0
    yield Check(
        "host",
        tools.tar,
        ok=has_tar,
        detail="unpacks distribution sets",
        fix="" if has_tar else tools.install,
        optional=True,
    )
    if there.system == "FreeBSD":
        on = host.run(["sysctl", "-n", "kern.racct.enable"]).out.strip() == "1"
        detail = f"limits of jails: kern.racct.enable is {int(on)}"
        yield Check("host", "rctl", ok=on, detail=detail, fix="" if on else _RACCT, optional=True)


def _store(host: Host, there: Facts, dataset: str) -> Iterator[Check]:
    door = door_to(host)
    way = "zfs(8)" if not isinstance(host, LocalHost) else type(door).__name__.lower()
    parent = dataset.rpartition("/")[0]
    if door.exists(dataset):
        detail = f"is there, by {way}"
    elif parent and door.exists(parent):
        detail = f"will be made, by {way}"
    else:
        fix = f"zfs create -o mountpoint=none {parent or dataset}"
        yield Check("store", dataset, ok=False, detail="is not there", fix=fix)
        return
    yield Check("store", dataset, ok=True, detail=detail)
    if not there.root:
        yield from _allowed(host, there, dataset if door.exists(dataset) else parent)


def _allowed(host: Host, there: Facts, dataset: str) -> Iterator[Check]:
    """What the user may do with datasets, and whether mounting works."""
    user, lacking = privileges.lacking(host, dataset)
    yield Check(
        "store",
        "zfs allow",
        ok=not lacking,
        detail=f"{user} lacks {', '.join(lacking)}" if lacking else "all that behunt does",
        fix=privileges.grant(dataset, user, lacking) if lacking else "",
    )
    if there.system == "FreeBSD":
        may = host.run(["sysctl", "-n", "vfs.usermount"]).out.strip() == "1"
        how, fix = "users may mount", privileges.USERMOUNT
    else:
        may = host.run(["sudo", "-n", "-l", "mount"]).code == 0
        how = "mount by sudo, without a password: who may do this is as good as root"
        fix = privileges.SUDO.format(user=user)
    yield Check("store", "mounting", ok=may, detail=how, fix="" if may else fix)
