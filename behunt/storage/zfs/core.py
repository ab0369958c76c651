"""ZFS of this machine through OpenZFS's own library: no process per step, one transaction for many.

Debian's python3-pyzfs, FreeBSD's py-libzfs_core; the `pyzfs` of the package index is another,
dead one. What the library does not do (properties, listing) goes through zfs(8).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import itertools
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from behunt.errors import HostError
from behunt.hosts.protocol import Host
from behunt.hosts.syscalls import MS_NODEV, MS_RDONLY, mount, umount
from behunt.storage.zfs import mounting
from behunt.storage.zfs.commands import Commands, pool_of
from behunt.storage.zfs.door import Dataset, Mount
from behunt.storage.zfs.faults import BusyError, TakenError, explained, reason_of, words_of
from behunt.storage.zfs.programs import DESTROY
from behunt.storage.zfs.tables import Mounted, below, parse_linux_mounts
from behunt.storage.zfs.together import together

_LINUX = sys.platform == "linux"
_PATIENCE = 2.0  # seconds for who still uses a dataset to let go of it

# Properties that the library takes as numbers, as zfs_prop.c numbers their values.
_INDEXED: dict[str, dict[str, int]] = {
    "canmount": {"off": 0, "on": 1, "noauto": 2},
    **{name: {"off": 0, "on": 1} for name in ("atime", "devices", "exec", "readonly", "setuid")},
}
_Wanted = tuple[str, bytes, Mapping[str, str]]  # dataset, snapshot to clone or none, properties


def library() -> ModuleType:
    """OpenZFS's libzfs_core. Raises HostError if it is not here, or another one is."""
    try:
        found = importlib.import_module("libzfs_core")
    except ImportError as error:
        raise HostError(
            f"libzfs_core is not there: {error}",
            "install python3-pyzfs, in a virtualenv made with --system-site-packages",
        ) from error
    if not hasattr(found, "lzc_channel_program"):
        raise HostError(
            f"{found.__file__} is not OpenZFS's libzfs_core but the old one for Python 2",
            "pip uninstall pyzfs",
        )
    return found


class Core:
    """The Door to the pools of this machine. Raises HostError where there is no libzfs_core."""

    def __init__(self, commands: Commands) -> None:
        self.commands = commands
        self._lzc: Any = library()

    @property
    def host(self) -> Host:
        return self.commands.host

    def datasets(self, root: str, *, snapshots: bool = False) -> list[Dataset]:
        return self.commands.datasets(root, snapshots=snapshots)

    def exists(self, name: str) -> bool:
        with self._faults(name):
            return bool(self._lzc.lzc_exists(name.encode()))

    def create(self, datasets: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        self._make_all([(name, b"", properties) for name, properties in datasets])

    def clone(self, clones: Sequence[tuple[str, str, Mapping[str, str]]]) -> None:
        self._make_all([(name, snapshot.encode(), own) for snapshot, name, own in clones])

    def snapshot(self, names: Sequence[str]) -> None:
        if names:
            with self._faults(names[0]):
                self._lzc.lzc_snapshot(_bytes(names))

    def destroy(self, names: Sequence[str]) -> None:
        if not names:
            return
        self._unmounted(names)
        for last in _attempts():
            try:
                self._destroy(names)
            except BusyError:
                if last:
                    raise
            else:
                return

    def rename(self, name: str, to: str) -> None:
        self._unmounted([name])
        with self._faults(name):
            self._lzc.lzc_rename(name.encode(), to.encode())

    def rollback(self, snapshots: Sequence[str]) -> None:
        for snapshot in snapshots:
            with self._faults(snapshot):
                self._lzc.lzc_rollback_to(snapshot.split("@")[0].encode(), snapshot.encode())

    def promote(self, name: str) -> None:
        with self._faults(name):
            self._lzc.lzc_promote(name.encode())

    def hold(self, snapshots: Sequence[str], tag: str) -> None:
        for snapshot in snapshots:
            with contextlib.suppress(TakenError), self._faults(snapshot):
                if self._lzc.lzc_hold({snapshot.encode(): tag.encode()}):
                    raise self._lzc.exceptions.SnapshotNotFound(snapshot.encode())

    def release(self, snapshots: Sequence[str], tag: str) -> None:
        if snapshots:
            with self._faults(snapshots[0]):
                self._lzc.lzc_release({name: [tag.encode()] for name in _bytes(snapshots)})

    def set(self, names: Sequence[str], properties: Mapping[str, str]) -> None:
        self.commands.set(names, properties)

    def set_bootfs(self, name: str) -> None:
        self.commands.set_bootfs(name)

    def mount(self, mounts: Sequence[Mount], *, read_only: bool = False) -> None:
        if not _mounts_itself():
            self.commands.mount(mounts, read_only=read_only)
            return
        done: list[str] = []
        try:
            for number, one in enumerate(mounts):
                above = [mount.directory for mount in mounts[:number]]
                with self._faults(one.dataset):
                    for path in mounting.directories(one.directory, above):
                        _directory(Path(path))
                    flags = MS_NODEV | (MS_RDONLY if read_only else 0)
                    mount(one.dataset, one.directory, "zfs", flags, f"mntpoint={one.directory}")
                done.append(one.directory)
                if not read_only:
                    _refuse_read_only(one)
        except BaseException:
            self.umount(list(reversed(done)))
            raise

    def umount(self, directories: Sequence[str]) -> None:
        if not _mounts_itself():
            self.commands.umount(directories)
            return
        table = _mounts()
        found = [one for directory in directories for one in below(table, directory)]
        for one in dict.fromkeys(found):
            if one.is_zfs:
                _answers(pool_of(one.source))
            _umount(one)

    def mounted(self) -> list[Mount]:
        if not _LINUX:
            return self.commands.mounted()
        return [Mount(one.source, one.directory) for one in _mounts() if one.is_zfs]

    def _make_all(self, wanted: Sequence[_Wanted]) -> None:
        """Make them, all that lie equally deep at once; if one cannot be made, destroy the rest."""
        made: list[str] = []
        try:
            for _, level in itertools.groupby(sorted(wanted, key=_depth), _depth):
                together([functools.partial(self._make, made, *one) for one in level])
        except BaseException:
            for name in reversed(made):
                with contextlib.suppress(self._lzc.exceptions.ZFSError):
                    self._lzc.lzc_destroy(name.encode())
            raise

    def _make(
        self, made: list[str], name: str, origin: bytes, properties: Mapping[str, str]
    ) -> None:
        values = _values({"canmount": "noauto", **properties})
        with self._faults(name):
            if origin:
                self._lzc.lzc_clone(name.encode(), origin, values)
            else:
                self._lzc.lzc_create(name.encode(), "zfs", values)
        made.append(name)

    def _destroy(self, names: Sequence[str]) -> None:
        pool = pool_of(names[0])
        with self._faults(names[0]):
            try:
                said = self._lzc.lzc_channel_program(
                    pool.encode(), DESTROY, params={b"names": _bytes(names)}
                )
            except self._lzc.exceptions.ZCPPermissionError:  # only root may
                self._destroy_each(names)
                return
        if said:
            why = said.get(b"why") or os.strerror(said[b"errno"]).encode()
            raise explained(f"cannot destroy '{said[b'name'].decode()}': {why.decode()}", pool)

    def _destroy_each(self, names: Sequence[str]) -> None:
        for name in names:
            with contextlib.suppress(self._lzc.exceptions.DatasetNotFound):
                if "@" in name:
                    self._lzc.lzc_destroy_snaps([name.encode()], defer=False)
                else:
                    self._lzc.lzc_destroy(name.encode())

    def _unmounted(self, names: Sequence[str]) -> None:
        mounted = [mount.dataset for mount in self.mounted()]
        for name in names:
            if any(one == name or one.startswith(f"{name}/") for one in mounted):
                raise explained(f"'{name}' is mounted, or something below it", pool_of(name))

    @contextlib.contextmanager
    def _faults(self, name: str) -> Iterator[None]:
        """Errors of the library, and of system calls, as those that a Door raises."""
        pool = pool_of(name)
        _answers(pool)
        try:
            yield
        except self._lzc.exceptions.ZFSError as error:
            raise explained(words_of(error), pool) from error
        except OSError as error:
            reason = reason_of(error.errno or 0)
            raise explained(f"cannot mount '{name}': {reason}", pool) from error


def _answers(pool: str) -> None:
    """A call on a pool that is suspended would never come back."""
    state = Path("/proc/spl/kstat/zfs") / pool / "state"
    with contextlib.suppress(FileNotFoundError):
        if state.read_text(encoding="ascii").strip() == "SUSPENDED":
            raise explained("pool is suspended", pool)
        return
    if state.parent.parent.exists():
        raise explained("no such pool", pool)


def _depth(wanted: _Wanted) -> int:
    return wanted[0].count("/")


def _bytes(names: Sequence[str]) -> list[bytes]:
    return [name.encode() for name in names]


def _values(properties: Mapping[str, str]) -> dict[bytes, bytes | int]:
    return {
        key.encode(): _INDEXED[key][value] if key in _INDEXED else value.encode()
        for key, value in properties.items()
    }


def _mounts_itself() -> bool:
    return _LINUX and os.geteuid() == 0


def _mounts() -> list[Mounted]:
    return parse_linux_mounts(Path("/proc/self/mounts").read_text(encoding="utf-8"))


def _directory(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise HostError(f"cannot mount on '{path}': not a directory", "remove what is there")
    path.mkdir(parents=True, exist_ok=True)


def _refuse_read_only(mount: Mount) -> None:
    if os.statvfs(mount.directory).f_flag & os.ST_RDONLY:
        raise explained(f"'{mount.dataset}' is mounted read-only", pool_of(mount.dataset))


def _umount(mounted: Mounted) -> None:
    for last in _attempts():
        try:
            umount(mounted.directory, 0)
        except OSError as error:
            if error.errno == errno.EINVAL:  # it is not mounted
                return
            if error.errno != errno.EBUSY or last:
                raise explained(
                    f"cannot unmount '{mounted.directory}': {error.strerror}",
                    pool_of(mounted.source),
                ) from error
        else:
            return


def _attempts() -> Iterator[bool]:
    """For 2 s; true with the last one."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        yield False
        time.sleep(0.05)
    yield True
