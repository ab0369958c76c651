"""The back-ends of the Host protocol. A new one is one more function in BACKENDS."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import sshd

from behunt.hosts.confined import Confined
from behunt.hosts.local import LocalHost, chroot, namespace
from behunt.hosts.protocol import Host
from behunt.hosts.sandbox import ALL_NAMESPACES, Sandbox

SERVERS = contextlib.ExitStack()  # started when first needed


@dataclass(frozen=True)
class Backend:
    """A kind of Host, and in what the kinds may differ.

    `place` is a directory there, empty and writable. A prefix does not see whether a command
    `started`: it answers with the prefix's exit code. A command that is `process_1` of its pid
    namespace is shielded from its own signals by the kernel. One that is not `rooted` sees the
    files of the controller. A command has `marks`
    variables more than it was given, each called BEHUNT_*.
    """

    open: Callable[[], AbstractContextManager[Host]]
    place: PurePosixPath
    rooted: bool = True
    started: bool = True
    process_1: bool = False
    marks: int = 0


def _local(_root: Path, place: Path) -> Backend:
    return Backend(lambda: _same(LocalHost()), PurePosixPath(place), rooted=False)


def _local_in_a_sandbox(_root: Path, place: Path) -> Backend:
    host = LocalHost(Sandbox(namespaces=("mount", "pid", "uts", "ipc")))
    return Backend(lambda: _same(host), PurePosixPath(place), rooted=False)


def _tree(_root: Path, place: Path) -> Backend:
    return Backend(lambda: Confined(Sandbox()), PurePosixPath(place), rooted=False)


def _chroot(root: Path, _place: Path) -> Backend:
    host = chroot(LocalHost(), PurePosixPath(root))
    return Backend(lambda: _same(host), PurePosixPath("/tmp"), started=False)


def _namespace(root: Path, _place: Path) -> Backend:
    host = namespace(LocalHost(), PurePosixPath(root))
    return Backend(lambda: _same(host), PurePosixPath("/tmp"), started=False, process_1=True)


def _confined(root: Path, place: Path) -> Backend:
    sandbox = Sandbox(ALL_NAMESPACES, lower=(str(root),), stage=str(place), tame=True)
    return Backend(lambda: Confined(sandbox), PurePosixPath("/tmp"))


def _confined_chroot(root: Path, _place: Path) -> Backend:
    return Backend(lambda: Confined(Sandbox(root=str(root))), PurePosixPath("/tmp"))


def _ssh(_root: Path, place: Path) -> Backend:
    host = _csh_server().host()
    return Backend(lambda: _same(host), PurePosixPath(place), rooted=False, marks=1)


@cache
def _csh_server() -> sshd.Server:
    """root's login shell is csh, as on FreeBSD. It ends with the session."""
    place = Path(SERVERS.enter_context(tempfile.TemporaryDirectory()))
    return SERVERS.enter_context(sshd.running(place, shell="/bin/csh"))


BACKENDS = {
    "local": _local,
    "local in a sandbox": _local_in_a_sandbox,
    "tree": _tree,
    "chroot": _chroot,
    "namespace": _namespace,
    "confined": _confined,
    "confined-chroot": _confined_chroot,
    "ssh": _ssh,
}
UNPRIVILEGED = {"local", "tree"}


@contextlib.contextmanager
def _same(host: Host) -> Iterator[Host]:
    yield host
