"""The NFS server of Linux's kernel, where it runs already: then no other can have its port.

Its mountd sees what the host sees, so a clone is mounted in a directory of ours. It is exported at
once, and by a file of our own too, as whoever calls `exportfs -r` (a reload of the service, ZFS)
ends what is in no file. A behunt that was killed leaves all that, and `withdraw` takes it away.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Self

from behunt.errors import HostError
from behunt.hosts.confined import Confined
from behunt.hosts.local import LocalHost
from behunt.hosts.mounts import attach, detach, mounted
from behunt.hosts.nfs_cache import forget
from behunt.hosts.protocol import CLEAN_ENV, Host
from behunt.netboot.exports import Export, Served, exportfs, linux_exports, unexportfs
from behunt.netboot.nfs import Asked, Names, Share, patiently, sandbox_of
from behunt.netboot.nfs_faults import linux_exported
from behunt.storage.disk import disk_errors
from behunt.storage.protocol import Clone

_NFSD = Path("/proc/fs/nfsd")
_EXPORTS = Path("/etc/exports.d")
_OURS = "behunt-"  # how our files there begin
_MOUNTED_BY = Path("/var/lib/nfs/rmtab")  # mountd(8) keeps there who mounts what
_FSIDS = 1 << 31  # numbers: ours begin anywhere, those that people give are small


def missing(nfsd: Path = _NFSD) -> str:
    """Why it cannot be used; empty if it can."""
    try:
        threads = int((nfsd / "threads").read_text("ascii"))
    except (OSError, ValueError):
        threads = 0
    if not threads:
        return "the kernel's NFS server does not run here: systemctl start nfs-server"
    if shutil.which("exportfs", path=CLEAN_ENV["PATH"]) is None:
        return "exportfs is not installed: apt-get install nfs-kernel-server"
    return "" if os.geteuid() == 0 else "an NFS server needs root: use sudo"


def served(versions: str, portlist: str) -> Served:
    """What it speaks, by the files of these names in /proc/fs/nfsd.

    >>> sorted(served("-2 +3 +4 +4.1 +4.2", "tcp 2049").versions)
    [3, 4]
    """
    spoken = re.findall(r"\+(\d)(?![.\d])", versions)
    return Served(
        frozenset(int(v) for v in spoken), re.search("^udp ", portlist, re.MULTILINE) is not None
    )


def asked(rmtab: str, below: str) -> list[Asked]:
    """The mounts in it (`client:path:count`, the last in hexadecimal) of what is in `below`."""
    row = rf"^([0-9.]+):({re.escape(below)}/[^:]*):0x([0-9a-f]+)$"
    return [
        Asked(path, IPv4Address(client), granted=True)
        for client, path, times in re.findall(row, rmtab, re.MULTILINE)
        for _ in range(int(times, 16))
    ]


def withdraw(below: Path, host: Host | None = None) -> list[str]:
    """Export and mount nothing below `below` any more; what was taken away, for the log."""
    host = host or LocalHost()
    inside = f"{below}/"
    for file in _EXPORTS.glob(f"{_OURS}*"):
        with contextlib.suppress(FileNotFoundError):  # another behunt's, which has ended
            if any(one.path.startswith(inside) for one in linux_exported(file.read_text("utf-8"))):
                file.unlink()
    gone = [
        Export(one.path, one.network, 0)
        for one in linux_exported(host.run(["exportfs", "-s"]).out)
        if one.path.startswith(inside) and one.network is not None
    ]
    for export in gone:
        host.run(unexportfs(export))
    forget(host, inside)
    points = [point for point in mounted() if point.startswith(inside)]
    for point in points:
        patiently(partial(detach, point))
    return [*(export.path for export in gone), *points]


class KernelNfs:
    """An NfsServer for `network`; its mounts are in `directory`, empty and ours.

    The kernel's server answers on every address of the machine, not on `address` alone.
    """

    def __init__(
        self, address: IPv4Address, network: IPv4Network, directory: Path, host: Host | None = None
    ) -> None:
        if lacks := missing():
            raise HostError(lacks, "`behunt doctor` shows what this machine can do")
        self.address, self.network, self.directory = address, network, directory
        self.served = served(_read("versions"), _read("portlist"))
        self._host = host or LocalHost()
        number = zlib.crc32(os.fsencode(directory))
        self._names = Names(number % _FSIDS + 1)
        self._file = _EXPORTS / f"{_OURS}{number:08x}.exports"
        self._exports: list[Export] = []
        self._lock = threading.Lock()  # of these two: shares come and go in any thread

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        withdraw(self.directory, self._host)

    @contextlib.contextmanager
    def shared(self, clone: Clone, name: str, *, size: int = 0) -> Iterator[Share]:
        at = str(self.directory / name)
        with (
            self._names.taken(name) as ident,
            Confined(sandbox_of(clone, name, size), f"share {name}") as inside,
            self._exported(inside, Export(at, self.network, ident)),
        ):
            yield Share(inside, self.address, at)

    def mounts(self) -> list[Asked]:
        with contextlib.suppress(OSError):
            return asked(_MOUNTED_BY.read_text("utf-8"), str(self.directory))
        return []

    @contextlib.contextmanager
    def _exported(self, inside: Confined, export: Export) -> Iterator[None]:
        with inside.session.tree() as tree:
            attach(tree, export.path)
        try:
            self._keep([export], [])
            self._host.run(exportfs(export), check=True)
            yield
        finally:
            self._keep([], [export])
            self._host.run(unexportfs(export))
            forget(self._host, export.path)
            if patiently(partial(detach, export.path)):
                Path(export.path).rmdir()

    def _keep(self, more: list[Export], less: list[Export]) -> None:
        with self._lock, disk_errors(self._file):
            self._exports = [one for one in self._exports if one not in less] + more
            self._file.parent.mkdir(exist_ok=True)
            new = self._file.with_suffix(".new")  # which exportfs(8) does not read
            new.write_text(linux_exports(self._exports), encoding="utf-8")
            new.replace(self._file)
            if not self._exports:
                self._file.unlink()


def _read(name: str) -> str:
    return (_NFSD / name).read_text("ascii")
