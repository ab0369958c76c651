"""ZFS through zfs(8), zpool(8) and mount(8), on any host that has them and sh."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from behunt.hosts.protocol import Completed, Host
from behunt.storage.zfs.door import PROPERTIES, Dataset, Mount
from behunt.storage.zfs.faults import GoneError, fault
from behunt.storage.zfs.mounting import Flavour, steps
from behunt.storage.zfs.scripts import Step, script
from behunt.storage.zfs.tables import (
    Mounted,
    below,
    parse_freebsd_mounts,
    parse_get,
    parse_linux_mounts,
)

_TIMEOUT = 120.0  # seconds; a pool that waits for a disk answers nothing


class Commands:
    """The Door to the pools of `host`.

    `elevate` are words before what only root may do on Linux, whatever `zfs allow` says: mkdir,
    mount and umount. `("sudo", "-n")` for a user who may sudo these.
    """

    def __init__(
        self, host: Host, *, elevate: Sequence[str] = (), timeout: float = _TIMEOUT
    ) -> None:
        self.host = host
        self.elevate = tuple(elevate)
        self.timeout = timeout

    def datasets(self, root: str, *, snapshots: bool = False) -> list[Dataset]:
        kinds = "filesystem,volume,snapshot" if snapshots else "filesystem,volume"
        only = [] if self.flavour is Flavour.FUSE else ["-t", kinds]  # which has no `-t`
        argv = ["zfs", "get", "-Hp", "-r", *only, "-o", "name,property,value,source"]
        blocks: list[bytes] = []  # a pool may have more datasets than a Completed keeps
        try:
            self._do(root, [Step([*argv, ",".join(PROPERTIES), root])], blocks)
        except GoneError:
            return []
        found = parse_get(b"".join(blocks).decode(errors="replace"))
        return [one for one in found if snapshots or "@" not in one.name]

    def exists(self, name: str) -> bool:
        try:
            self._do(name, [Step(["zfs", "list", "-H", "-o", "name", name])])
        except GoneError:
            return False
        return True

    def create(self, datasets: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        self._all(create_steps(datasets))

    def snapshot(self, names: Sequence[str]) -> None:
        self._all(snapshot_steps(names, self.flavour))

    def clone(self, clones: Sequence[tuple[str, str, Mapping[str, str]]]) -> None:
        self._all(clone_steps(clones, self.flavour))

    def destroy(self, names: Sequence[str]) -> None:
        self._all(destroy_steps(names))

    def rename(self, name: str, to: str) -> None:
        # ZFS would mount them where their property says, which may be `/`.
        self._do(name, [Step(["unmounted", name]), Step(["patiently", "zfs", "rename", name, to])])

    def rollback(self, snapshots: Sequence[str]) -> None:
        self._all(Step(["zfs", "rollback", name]) for name in snapshots)

    def promote(self, name: str) -> None:
        self._all([Step(["zfs", "promote", name])])

    def hold(self, snapshots: Sequence[str], tag: str) -> None:
        self._all([Step(["hold", tag, *snapshots])] if snapshots else [])

    def release(self, snapshots: Sequence[str], tag: str) -> None:
        self._all([Step(["release", tag, *snapshots])] if snapshots else [])

    def set(self, names: Sequence[str], properties: Mapping[str, str]) -> None:
        self._all(set_steps(names, properties, self.flavour))

    def set_bootfs(self, name: str) -> None:
        self._do(name, [Step(["zpool", "set", f"bootfs={name}", pool_of(name)])])

    def mount(self, mounts: Sequence[Mount], *, read_only: bool = False) -> None:
        if mounts:
            todo = steps(mounts, self.flavour, self.elevate, read_only=read_only)
            self._do(mounts[0].dataset, list(todo))

    def umount(self, directories: Sequence[str]) -> None:
        table = self._table()
        found = [one for directory in directories for one in below(table, directory)]
        if found:
            umount = ("gone", *self.elevate, "umount")
            todo = [Step([*umount, one.directory]) for one in dict.fromkeys(found)]
            self._do(next((one.source for one in found if one.is_zfs), ""), todo)

    def mounted(self) -> list[Mount]:
        return [Mount(one.source, one.directory) for one in self._table() if one.is_zfs]

    @functools.cached_property
    def flavour(self) -> Flavour:
        ask = "uname -s; test -e /dev/zfs || test ! -S /run/zfs/zfs_socket || echo fuse"
        said = self.host.run(["sh", "-c", ask], check=True).out.split()
        if "fuse" in said:
            return Flavour.FUSE
        return Flavour.FREEBSD if said[0] == "FreeBSD" else Flavour.LINUX

    def _table(self) -> list[Mounted]:
        if self.flavour is Flavour.FREEBSD:
            return parse_freebsd_mounts(self.host.run(["mount", "-p"], check=True).out)
        return parse_linux_mounts(self.host.run(["cat", "/proc/self/mounts"], check=True).out)

    def _all(self, todo: Iterable[Step]) -> None:
        """Steps whose last word is a dataset's name."""
        listed = list(todo)
        if listed:
            self._do(listed[0].do[-1], listed)

    def _do(self, name: str, todo: Sequence[Step], blocks: list[bytes] | None = None) -> Completed:
        """With `blocks` all that is said goes there."""
        pool = pool_of(name)
        sink = None if blocks is None else blocks.append
        done = self.host.run(script(pool, todo), timeout=self.timeout, sink=sink)
        if done.code != 0 or done.timed_out:
            said = b"".join(blocks or ()).decode(errors="replace")
            raise fault(replace(done, out=done.out or said), pool)
        return done


def pool_of(name: str) -> str:
    return re.split("[/@]", name, maxsplit=1)[0]


def create_steps(datasets: Sequence[tuple[str, Mapping[str, str]]]) -> list[Step]:
    return [
        Step(["zfs", "create", *_options(properties), name], _undo(name, datasets[0][0]))
        for name, properties in datasets
    ]


def snapshot_steps(names: Sequence[str], flavour: Flavour) -> list[Step]:
    """zfs-fuse takes them one by one, and so not at one moment."""
    if flavour is Flavour.FUSE:
        return [Step(["zfs", "snapshot", name], _destroy(name)) for name in names]
    return [Step(["zfs", "snapshot", *names])] if names else []


def clone_steps(
    clones: Sequence[tuple[str, str, Mapping[str, str]]], flavour: Flavour
) -> list[Step]:
    """zfs-fuse mounts a clone whatever its canmount says, unless that is `off`."""
    late = flavour is Flavour.FUSE
    steps = []
    for snapshot, name, properties in clones:
        wanted = {"canmount": "noauto", **properties}
        options = _options({**wanted, "canmount": "off"} if late else wanted)
        undo = _undo(name, clones[0][1])
        steps.append(Step(["zfs", "clone", *options, snapshot, name], undo))
        if late:
            steps.append(Step(["zfs", "set", f"canmount={wanted['canmount']}", name]))
    return steps


def destroy_steps(names: Sequence[str]) -> list[Step]:
    """None of them, if one of the file systems is mounted. No directory goes along (scripts.py)."""
    filesystems = [name for name in names if "@" not in name]
    guard = [Step(["unmounted", *filesystems])] if filesystems else []
    tops = {one for one in filesystems if any(name.startswith(f"{one}/") for name in filesystems)}
    tops = {one for one in tops if not any(one.startswith(f"{top}/") for top in tops)}
    unplaced = [Step(["gone", "zfs", "set", "mountpoint=none", top]) for top in sorted(tops)]
    return [*guard, *unplaced, *(Step(_destroy(name)) for name in names)]


def set_steps(names: Sequence[str], properties: Mapping[str, str], flavour: Flavour) -> list[Step]:
    """zfs-fuse takes one property of one dataset."""
    pairs = [f"{key}={value}" for key, value in properties.items()]
    if flavour is Flavour.FUSE:
        return [Step(["zfs", "set", pair, name]) for name in names for pair in pairs]
    return [Step(["zfs", "set", *pairs, *names])] if pairs and names else []


def _options(properties: Mapping[str, str]) -> Iterator[str]:
    """Unless it is told otherwise, ZFS mounts what it makes."""
    for key, value in {"canmount": "noauto", **properties}.items():
        yield from ("-o", f"{key}={value}")


def _undo(name: str, top: str) -> list[str]:
    """Destroy what was just made, below `top` or not."""
    return ["gone", "unplaced", top, name] if name.startswith(f"{top}/") else _destroy(name)


def _destroy(name: str) -> list[str]:
    return ["gone", "zfs", "destroy", name]
