"""Below the spawner and its keepers: notice the end of children, and end whole trees."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from collections.abc import Iterable

from behunt.hosts.syscalls import become_subreaper

# All that the spawner and its keepers have set themselves (see `own_signals`).
_OWN = (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE)


def own_signals() -> None:
    """Forget what Python, nohup or a shell's `&` ignores: no command is to inherit it."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def default_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in _OWN:
        signal.signal(number, signal.SIG_DFL)


def child_wakeups() -> int:
    """Descriptor that becomes readable when a child has ended."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read


def reap(wake: int) -> dict[int, int]:
    """Wait status of each child that has ended; `wake` is quiet again."""
    with contextlib.suppress(BlockingIOError):
        while os.read(wake, 4096):
            pass
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = found[1]
    return ended


def kill_namespace() -> dict[int, int]:
    """As process 1: kill all others in the pid namespace; the wait status of each."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    ended = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, 0)
            ended[pid] = status
    return ended


class Tree:
    """All processes below this one, orphans included.

    They are found through the /proc that was there when this was made: the one of a sandbox may
    be missing, or whatever the release put there.
    """

    def __init__(self) -> None:
        become_subreaper()
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        if not os.access("/proc/thread-self/children", os.R_OK):
            raise OSError(errno.ENOSYS, "the kernel lacks CONFIG_PROC_CHILDREN")

    def children(self, pid: int) -> list[int]:
        try:
            path = f"{pid}/task/{pid}/children"
            with open(path, "rb", opener=self._opened) as listing:
                return [int(child) for child in listing.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            return []

    def kill(self, roots: Iterable[int]) -> None:
        """Kill `roots` and what is below them.

        What escapes (forked meanwhile, or by a second thread) is then a child of ours: look again.
        """
        doomed = list(roots)
        for pid in doomed:  # grows: a stopped parent can neither fork nor reap, so none outruns us
            _signal(pid, signal.SIGSTOP)
            doomed += self.children(pid)
        for pid in doomed:
            _signal(pid, signal.SIGKILL)

    def kill_all(self, wake: int) -> dict[int, int]:
        """Kill all below this process; the wait status of each that was its child in the end."""
        ended: dict[int, int] = {}
        while below := self.children(os.getpid()):
            self.kill(below)
            select.select([wake], [], [], 0.05)  # the death of a grandchild wakes nobody
            ended |= reap(wake)
        return ended

    def _opened(self, path: str, flags: int) -> int:
        return os.open(path, flags, dir_fd=self._proc)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
