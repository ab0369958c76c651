"""The spawner: a small single-threaded process that starts every command behunt runs.

behunt itself is large and threaded, so a fork of it is slow and unsafe. The spawner is started
once (client.py), forks a *keeper* per sandbox, and each keeper enters its sandbox, then runs
commands there one after another on request. Messages are JSON over SOCK_SEQPACKET sockets, with
file descriptors attached.

    behunt ──open, fd──▶ spawner ──fork──▶ keeper ◀──run, open, kill── behunt

When behunt dies, however it dies, its ends of the sockets close: the spawner exits, each keeper
kills all that runs below it and exits, and mounts vanish with their namespace. Nothing is left
to clean up. With a pid namespace the keeper is its process 1; without one it is a subreaper.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import sys
import termios
from typing import Any, NoReturn

from behunt.hosts import syscalls
from behunt.hosts.entering import enter

MESSAGE = 1 << 20  # bytes; a request with a large environment fits
_DESCRIPTORS = 256  # more than a keeper ever has open


def main(control: int) -> None:
    """Serve `open` requests on the inherited socket `control` until its other end closes."""
    sys.path.clear()  # a keeper lives in a foreign root: never import from there
    requests = socket.socket(fileno=control)
    syscalls.become_subreaper()
    wake = _child_wakeups()
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
    sources: list[Any] = [requests, wake]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if wake in ready:
            _drain(wake)
            _reap()
        if requests in ready:
            message, fds, _, _ = socket.recv_fds(requests, MESSAGE, 1)
            if not message:
                return
            _open(json.loads(message), fds[0], own_pids)
            os.close(fds[0])


def _open(sandbox: dict[str, Any], control: int, own_pids: int) -> None:
    try:
        child = _fork(own_pids if "pid" in sandbox["namespaces"] else -1)
    except OSError as error:
        with socket.socket(fileno=os.dup(control)) as answer:
            _send(answer, {"error": str(error)})
        return
    if child == 0:
        with contextlib.suppress(BaseException):
            _keep(sandbox, socket.socket(fileno=os.dup(control)))
        os._exit(1)


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


def _keep(sandbox: dict[str, Any], control: socket.socket) -> NoReturn:
    """Enter the sandbox, then serve `control`. Never returns."""
    os.closerange(3, control.fileno())
    os.closerange(control.fileno() + 1, _DESCRIPTORS)
    os.setsid()
    keeper = _Keeper(control, alone="pid" in sandbox["namespaces"], tame=sandbox["tame"])
    try:
        keeper.groups = [os.open(path, os.O_WRONLY) for path in sandbox["groups"]]
        if not keeper.alone:
            syscalls.become_subreaper()
        enter(sandbox)
    except Exception as error:  # noqa: BLE001 - whatever it is, behunt must hear of it
        _send(control, {"error": f"{error}"})
        os._exit(1)
    _send(control, {"ready": os.getpid()})
    keeper.serve()


class _Keeper:
    """Process 1 of a sandbox (or its subreaper): runs commands, reaps orphans, kills the tree."""

    def __init__(self, control: socket.socket, *, alone: bool, tame: bool) -> None:
        self.control = control
        self.alone = alone
        self.tame = tame
        self.groups: list[int] = []
        self.running = 0
        self.wake = _child_wakeups()

    def serve(self) -> NoReturn:
        sources: list[Any] = [self.control, self.wake]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if self.wake in ready:
                _drain(self.wake)
                self.report(_reap())
            if self.control in ready:
                message, fds, _, _ = socket.recv_fds(self.control, MESSAGE, 3)
                if not message:
                    self.kill()
                    os._exit(0)
                self.answer(json.loads(message), fds)
                for fd in fds:
                    os.close(fd)

    def report(self, ended: dict[int, int]) -> None:
        if self.running in ended:
            status = ended[self.running]
            self.running = 0
            _send(self.control, {"status": status})

    def answer(self, request: dict[str, Any], fds: list[int]) -> None:
        match request["op"]:
            case "run":
                self.run(request, fds)
            case "open":
                self.open_file(request)
            case "space":
                self.space(request)
            case "kill":
                self.kill()

    def run(self, request: dict[str, Any], fds: list[int]) -> None:
        failed, fail = os.pipe()
        self.running = os.fork()
        if self.running == 0:
            _execute(request, fds, fail, groups=self.groups, tame=self.tame)
        os.close(fail)
        error = os.read(failed, 4096)
        os.close(failed)
        if error:
            os.waitpid(self.running, 0)
            self.running = 0
            _send(self.control, {"failed": json.loads(error)})
        else:
            _send(self.control, {"started": self.running})

    def open_file(self, request: dict[str, Any]) -> None:
        """Open a path as it is seen inside, and hand the descriptor out."""
        try:
            # O_NONBLOCK: a FIFO laid where a file was expected must not stop us.
            flags = request["flags"] | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            fd = os.open(request["path"], flags, request.get("mode", 0o644))
        except OSError as error:
            _send(self.control, {"error": error.strerror, "errno": error.errno})
            return
        if "mode" in request:
            os.fchmod(fd, request["mode"])
        socket.send_fds(self.control, [b'{"opened": true}'], [fd])
        os.close(fd)

    def space(self, request: dict[str, Any]) -> None:
        try:
            there = os.statvfs(request["path"])
            _send(self.control, {"free": there.f_bavail * there.f_frsize, "inodes": there.f_favail})
        except OSError as error:
            _send(self.control, {"error": error.strerror, "errno": error.errno})

    def kill(self) -> None:
        """End every process below; the end of the running command is reported as usual."""
        if self.alone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)  # all of this pid namespace but ourselves
            return
        while children := _children(os.getpid()):
            for child in children:
                _kill_tree(child)
            # Orphans of those become our children; reap, report, and look again.
            select.select([self.wake], [], [], 0.05)
            _drain(self.wake)
            self.report(_reap())


def _kill_tree(pid: int) -> None:
    """Stop first, so that a fork bomb cannot outrun the walk."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGSTOP)
        for child in _children(pid):
            _kill_tree(child)
        os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as listing:  # noqa: PTH123
            return [int(child) for child in listing.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _execute(
    request: dict[str, Any], fds: list[int], fail: int, *, groups: list[int], tame: bool
) -> NoReturn:
    """In the child: become the command, or say through `fail` why not."""
    step = "start"
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        step = "limits"
        for group in groups:
            os.write(group, b"0")
        step = "tty"
        if request.get("tty"):
            _take_terminal()
        step = "cwd"
        os.chdir(request["cwd"])
        if request.get("seccomp"):
            syscalls.filter_calls(bytes.fromhex(request["seccomp"]))
        if tame:
            syscalls.keep_capabilities(TAME)
        step = "exec"
        # Descriptors that came by message are inheritable; a shell's `>&10` tells them apart.
        os.closerange(3, fail)
        os.closerange(fail + 1, _DESCRIPTORS)
        argv, env = request["argv"], request["env"]
        os.execve(_found(argv[0], env), argv, env)  # noqa: S606 - an argv list, no shell
    except OSError as error:
        os.write(fail, json.dumps({"step": step, "errno": error.errno or 0}).encode())
    os._exit(127)


def _found(program: str, env: dict[str, str]) -> str:
    """`program` as execvp(3) would find it; ENOENT where it is in no directory of PATH."""
    if "/" in program:
        return program
    for directory in env.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").split(":"):
        candidate = f"{directory}/{program}"
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):  # noqa: PTH112
            return candidate
    raise FileNotFoundError(errno.ENOENT, program)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _child_wakeups() -> int:
    """Descriptor that becomes readable when a child has ended."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read


def _drain(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass


def _reap() -> dict[int, int]:
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended[pid] = status
    return ended


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        control.send(json.dumps(message).encode())


# What a root that is not the host's keeps: the set of container engines. Without SYS_ADMIN,
# SYS_RAWIO, SYS_MODULE, SYS_BOOT, SYS_TIME and SYS_PTRACE it cannot reach past its sandbox.
TAME = frozenset(
    {
        0,  # CHOWN
        1,  # DAC_OVERRIDE
        3,  # FOWNER
        4,  # FSETID
        5,  # KILL
        6,  # SETGID
        7,  # SETUID
        8,  # SETPCAP
        10,  # NET_BIND_SERVICE
        13,  # NET_RAW
        18,  # SYS_CHROOT
        27,  # MKNOD: a node can be made (archives hold them) but not opened: all mounts are nodev
        29,  # AUDIT_WRITE
        31,  # SETFCAP
    }
)
