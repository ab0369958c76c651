"""The spawner: a small single-threaded process that starts every command behunt runs.

behunt itself is large and threaded, so a fork of it is slow and unsafe. The spawner is started
once (spawner.py), forks a *keeper* per sandbox, and each keeper enters its sandbox, then runs
commands there one after another on request. How they speak is in wire.py.

    behunt ──open, fd──▶ spawner ──fork──▶ keeper ◀──run, open, kill── behunt

When behunt dies, however it dies, its ends of the sockets close: the spawner exits, each keeper
kills all that runs below it and exits, and mounts vanish with their namespace. Nothing is left
to clean up. With a pid namespace the keeper is its process 1; without one it is a subreaper, and
so is the spawner, for the day on which a keeper is killed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from behunt.hosts import syscalls, wire
from behunt.hosts.entering import enter
from behunt.hosts.executing import execute
from behunt.hosts.mounts import attach, detach
from behunt.hosts.processes import Tree, child_wakeups, kill_namespace, own_signals, reap
from behunt.hosts.wire import Message

_DESCRIPTORS = 256  # more than the spawner ever has open


def main(control: int) -> None:
    """Serve `open` requests on the inherited socket `control` until its other end closes."""
    # A keeper lives in a foreign root: nothing is ever imported from there, no codec either.
    sys.path.clear()
    sys.meta_path.clear()
    os.umask(0o022)
    own_signals()
    requests = socket.socket(fileno=control)
    with contextlib.suppress(EOFError, ConnectionResetError):
        _serve(requests)


def _serve(requests: socket.socket) -> NoReturn:
    wake = child_wakeups()
    tree = Tree()
    keepers: set[int] = set()
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
    sources: list[Any] = [requests, wake]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if wake in ready:
            keepers -= reap(wake).keys()
            tree.kill(set(tree.children(os.getpid())) - keepers)
        if requests in ready:
            sandbox, fds = wire.receive(requests, 1)
            keepers.add(_open(sandbox, fds[0], own_pids))
            os.close(fds[0])


def _open(sandbox: Message, control: int, own_pids: int) -> int:
    """Fork a keeper; its pid, 0 if that could not be."""
    try:
        child = _fork(own_pids if "pid" in sandbox["namespaces"] else -1)
    except OSError as error:
        with socket.socket(fileno=os.dup(control)) as answer:
            _tell(answer, {"error": str(error)})
        return 0
    if child == 0:
        with contextlib.suppress(BaseException):
            _keep(sandbox, socket.socket(fileno=os.dup(control)))
        os._exit(1)
    return child


def _fork(own_pids: int) -> int:
    """Fork; with `own_pids` >= 0 the child is process 1 of a new pid namespace.

    `own_pids` is the namespace that this process goes on to start children in.
    """
    if own_pids < 0:
        return os.fork()
    syscalls.unshare(syscalls.NAMESPACES["pid"])
    child = -1
    try:
        child = os.fork()
    finally:
        if child != 0:
            syscalls.setns(own_pids, syscalls.NAMESPACES["pid"])
    return child


def _keep(sandbox: Message, control: socket.socket) -> None:
    """Enter the sandbox, then serve `control` to its end."""
    os.closerange(3, control.fileno())
    os.closerange(control.fileno() + 1, _DESCRIPTORS)
    os.setsid()
    try:
        keeper = _Keeper(control, sandbox)
        tree = enter(sandbox)
    except Exception as error:  # noqa: BLE001 - whatever it is, behunt must hear of it
        _tell(control, {"error": str(error)})
        return
    _tell(control, {"ready": os.getpid()}, tree)
    for fd in tree:
        os.close(fd)
    try:
        keeper.serve()
    finally:
        keeper.kill()  # then behunt sees the end of the socket


class _Keeper:
    """Process 1 of a sandbox (or its subreaper): runs commands, reaps orphans, kills the tree."""

    def __init__(self, control: socket.socket, sandbox: Message) -> None:
        self.control = control
        self.tame = sandbox["tame"]
        self.running = 0
        self.wake = child_wakeups()
        self.tree = None if "pid" in sandbox["namespaces"] else Tree()
        self.groups = [os.open(path, os.O_WRONLY) for path in sandbox["groups"]]

    def serve(self) -> NoReturn:
        sources: list[Any] = [self.control, self.wake]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if self.wake in ready:
                self.report(reap(self.wake))
            if self.control in ready:
                request, fds = wire.receive(self.control, 3)
                self.answer(request, fds)
                for fd in fds:
                    os.close(fd)

    def report(self, ended: Mapping[int, int]) -> None:
        if self.running in ended:
            _tell(self.control, {"status": ended[self.running]})
            self.running = 0

    def answer(self, request: Message, fds: list[int]) -> None:
        match request["op"]:
            case "run":
                _tell(self.control, self.run(request, fds))
            case "open":
                self.open_file(request)
            case "space":
                _tell(self.control, _space(request["path"]))
            case "attach":
                _tell(self.control, _done(lambda: attach(fds[0], request["target"])))
            case "detach":
                _tell(self.control, _done(lambda: detach(request["target"])))
            case "signal":
                _tell(self.control, _done(lambda: self.signal(request["number"])))
            case "kill":
                self.kill()

    def run(self, request: Message, fds: list[int]) -> Message:
        failed, fail = os.pipe()
        try:
            child = os.fork()
        except OSError as error:
            os.close(failed)
            os.close(fail)
            return {"failed": {"step": "fork", "errno": error.errno}}
        if child == 0:
            execute(request, fds, fail, groups=self.groups, tame=self.tame)
        os.close(fail)
        with open(failed, "rb") as saying:  # noqa: PTH123 - a descriptor
            said = saying.read()
        if said:
            os.waitpid(child, 0)
            return {"failed": json.loads(said)}
        self.running = child
        return {"started": child}

    def open_file(self, request: Message) -> None:
        """Open a path as it is seen inside, and hand the descriptor out."""
        try:
            # O_NONBLOCK: a FIFO laid where a file was expected must not stop us.
            flags = request["flags"] | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            fd = syscalls.open_no_magic(request["path"], flags, request["mode"])
        except (OSError, ValueError) as error:
            _tell(self.control, _refusal(error))
            return
        _tell(self.control, {"opened": True}, [fd])
        os.close(fd)

    def signal(self, number: int) -> None:
        if not self.running:
            raise ProcessLookupError(errno.ESRCH, "no command runs")
        os.kill(self.running, number)

    def kill(self) -> None:
        """End every process below. The running command is reported when all of them are dead."""
        self.report(kill_namespace() if self.tree is None else self.tree.kill_all(self.wake))


def _space(path: str) -> Message:
    try:
        there = os.statvfs(path)
    except (OSError, ValueError) as error:
        return _refusal(error)
    # Some file systems (btrfs, erofs) do not count inodes at all.
    full = there.f_files > 0 and there.f_favail == 0
    return {"free": 0 if full else there.f_bavail * there.f_frsize}


def _done(work: Callable[[], None]) -> Message:
    try:
        work()
    except (OSError, ValueError) as error:
        return _refusal(error)
    return {"done": True}


def _refusal(error: Exception) -> Message:
    number = getattr(error, "errno", None) or errno.EINVAL
    return {"error": os.strerror(number), "errno": number}


def _tell(control: socket.socket, message: Message, fds: list[int] | None = None) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        wire.send(control, message, fds or [])
