"""The NFS server that needs nothing of the kernel: nfs-ganesha, with its back-end for files, VFS.

    behunt ──▶ keeper (a root of programs alone; /run is our directory) ──▶ ganesha.nfsd
           ──▶ keeper per share (the clone's root, and nothing else)

The mounts of a share's root are handed from its keeper to the other: open_tree(2), move_mount(2).
So no clone is ever mounted where the host sees it, and all ends with behunt, however that ends.

At SIGHUP it reads its exports again: it adds what came, drops what went, and leaves the others be.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Self

from behunt.errors import HostError
from behunt.hosts.confined import Confined
from behunt.hosts.protocol import CLEAN_ENV
from behunt.hosts.sandbox import Bind, Sandbox
from behunt.hosts.serving import Serving
from behunt.netboot.exports import Export, Listener, Served, ganesha_conf
from behunt.netboot.ganesha_log import READ_AGAIN, UP, Log, asked
from behunt.netboot.mount3 import MOUNT, NFS
from behunt.netboot.nfs import Asked, Names, Share, patiently, sandbox_of
from behunt.netboot.portmap import Portmapper, bound
from behunt.storage.protocol import Clone

PROGRAM = "ganesha.nfsd"
LOG = "ganesha.log"  # in its directory
_CONF, _EXPORTS, _ROOT = "ganesha.conf", "exports", "root"
_AT = "/run"  # where it sees its directory, with a socket as rpcbind(8) has one
_PROGRAMS = ("/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64")
_ARGV = (
    *(PROGRAM, "-F", "-f", f"{_AT}/{_CONF}", "-p", f"{_AT}/ganesha.pid"),
    *("-L", "STDOUT", "-N", "NIV_EVENT"),
)
_NFS3 = Served()


def missing() -> str:
    """What this machine lacks to run it; empty if nothing."""
    if shutil.which(PROGRAM, path=CLEAN_ENV["PATH"]) is None:
        return "nfs-ganesha is not installed: apt-get install nfs-ganesha-vfs"
    return "" if os.geteuid() == 0 else "an NFS server needs root: use sudo"


class Ganesha:
    """An NfsServer on `address`, for `network`; its files are in `directory`, empty and ours.

    Raises HostError where it cannot be: a port is taken, the address is not ours.
    """

    def __init__(
        self, address: IPv4Address, network: IPv4Network, directory: Path, served: Served = _NFS3
    ) -> None:
        if lacks := missing():
            raise HostError(lacks, "`behunt doctor` shows what this machine can do")
        self.address, self.network = address, network
        self.directory, self.served = directory, served
        self._listener = Listener(address, f"{_AT}/recovery", served)
        self._exports: list[Export] = []
        self._names = Names()
        self._lock = threading.Lock()  # of what follows: shares come and go in any thread
        with contextlib.ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def shared(self, clone: Clone, name: str, *, size: int = 0) -> Iterator[Share]:
        with (
            self._names.taken(name) as ident,
            Confined(sandbox_of(clone, name, size), f"share {name}") as inside,
            self._attached(inside, name) as at,
            self._exported(Export(at, self.network, ident, called=f"/{name}")),
        ):
            yield Share(inside, self.address, f"/{name}")

    def mounts(self) -> list[Asked]:
        return list(asked(self._log.lines))

    def _start(self, stack: contextlib.ExitStack) -> None:
        ports = (self._listener.nfs_port, self._listener.mount_port)
        _free(self.address, ports, udp=self.served.udp)
        (self.directory / _EXPORTS).mkdir(parents=True)
        self._write()
        local = self.directory / "rpcbind.sock"
        services = _services(self._listener)
        stack.enter_context(Portmapper(self.address, self.network, services, local))
        self._log = stack.enter_context(Log(self.directory / LOG))
        self._server = stack.enter_context(Serving(_sandbox(self.directory)))
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            fds = [nothing.fileno(), self._log.theirs, self._log.theirs]
            self._server.start(_ARGV, env=CLEAN_ENV, cwd="/", fds=fds)
        self._log.begin()
        self._log.wait(UP)

    @contextlib.contextmanager
    def _attached(self, inside: Confined, name: str) -> Iterator[str]:
        at = f"{_AT}/{_EXPORTS}/{name}"
        with self._lock, inside.session.tree() as tree:
            self._server.attach(tree, at)
        try:
            yield at
        finally:
            if patiently(lambda: self._detach(at)):
                (self.directory / _EXPORTS / name).rmdir()

    def _detach(self, at: str) -> None:
        with self._lock:
            self._server.detach(at)

    @contextlib.contextmanager
    def _exported(self, export: Export) -> Iterator[None]:
        try:
            self._told([export], [])
            yield
        finally:
            self._told([], [export])

    def _told(self, more: list[Export], less: list[Export]) -> None:
        with self._lock:
            self._exports = [one for one in self._exports if one not in less] + more
            self._write()
            since = len(self._log.lines)
            self._server.signal(signal.SIGHUP)
            self._log.wait(READ_AGAIN, since)

    def _write(self) -> None:
        new = self.directory / f"{_CONF}.new"
        new.write_text(ganesha_conf(self._listener, self._exports), encoding="utf-8")
        new.replace(self.directory / _CONF)


def _sandbox(directory: Path) -> Sandbox:
    """A root of its own: any mount of the host that it had would be in use as long as it runs.

    Of a dataset, for example, which could not be destroyed.
    """
    root = directory / _ROOT
    for name in ("tmp", "var"):
        (root / name).mkdir(parents=True)
    (root / "var/run").symlink_to(_AT)
    programs = (Bind(path, path, read_only=True) for path in _PROGRAMS if Path(path).exists())
    binds = (*programs, Bind(str(directory), _AT))
    return Sandbox(("mount", "pid", "ipc", "uts"), root=str(root), binds=binds)


def _services(listener: Listener) -> dict[tuple[int, int], int]:
    nfs = {(NFS, version): listener.nfs_port for version in listener.served.versions}
    return {**nfs, **{(MOUNT, version): listener.mount_port for version in (1, 3)}}


def _free(address: IPv4Address, ports: Iterable[int], *, udp: bool) -> None:
    """Raises HostError for what it would only log."""
    kinds = [socket.SOCK_STREAM, *([socket.SOCK_DGRAM] if udp else [])]
    for port, kind in itertools.product(ports, kinds):
        bound(address, port, kind).close()
