"""A Door that does not wait for a pool whose disks are gone.

What waits for such a pool waits in the kernel until an operator brings the disks back, and no
signal ends it. So each call runs in a thread of its own, which is left behind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from threading import Thread
from typing import TypeVar

from behunt.errors import HostError
from behunt.hosts.protocol import Host
from behunt.storage.zfs import privileges
from behunt.storage.zfs.commands import pool_of
from behunt.storage.zfs.door import Dataset, Door, Mount
from behunt.storage.zfs.faults import DeniedError, explained

_LOOK = 2.0  # seconds after which, and then how often, the pool is looked at
_GRACE = 10.0  # seconds for a call to end by itself when we are interrupted

# The kernel tells without any lock; zpool(8) may wait for the very pool that it is asked about.
_STATE = """\
cat "/proc/spl/kstat/zfs/$1/state" 2>/dev/null || sysctl -n "kstat.zfs.$1.misc.state" 2>/dev/null
"""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Watched:
    """`door`, whose calls raise PoolError some seconds after the pool of `root` is suspended.

    A DeniedError tells what the user is not allowed on `root`.
    """

    door: Door
    root: str

    @property
    def pool(self) -> str:
        return pool_of(self.root)

    @property
    def host(self) -> Host:
        return self.door.host

    def datasets(self, root: str, *, snapshots: bool = False) -> list[Dataset]:
        return self._answered(lambda: self.door.datasets(root, snapshots=snapshots))

    def exists(self, name: str) -> bool:
        return self._answered(lambda: self.door.exists(name))

    def create(self, datasets: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        self._answered(lambda: self.door.create(datasets))

    def snapshot(self, names: Sequence[str]) -> None:
        self._answered(lambda: self.door.snapshot(names))

    def clone(self, clones: Sequence[tuple[str, str, Mapping[str, str]]]) -> None:
        self._answered(lambda: self.door.clone(clones))

    def destroy(self, names: Sequence[str]) -> None:
        self._answered(lambda: self.door.destroy(names))

    def rename(self, name: str, to: str) -> None:
        self._answered(lambda: self.door.rename(name, to))

    def rollback(self, snapshots: Sequence[str]) -> None:
        self._answered(lambda: self.door.rollback(snapshots))

    def promote(self, name: str) -> None:
        self._answered(lambda: self.door.promote(name))

    def hold(self, snapshots: Sequence[str], tag: str) -> None:
        self._answered(lambda: self.door.hold(snapshots, tag))

    def release(self, snapshots: Sequence[str], tag: str) -> None:
        self._answered(lambda: self.door.release(snapshots, tag))

    def set(self, names: Sequence[str], properties: Mapping[str, str]) -> None:
        self._answered(lambda: self.door.set(names, properties))

    def set_bootfs(self, name: str) -> None:
        self._answered(lambda: self.door.set_bootfs(name))

    def mount(self, mounts: Sequence[Mount], *, read_only: bool = False) -> None:
        self._answered(lambda: self.door.mount(mounts, read_only=read_only))

    def umount(self, directories: Sequence[str]) -> None:
        self._answered(lambda: self.door.umount(directories))

    def mounted(self) -> list[Mount]:
        return self._answered(self.door.mounted)

    def _answered(self, call: Callable[[], _Answer]) -> _Answer:
        answer: Future[_Answer] = Future()
        Thread(target=_settle, args=(answer, call), daemon=True).start()
        try:
            while not wait([answer], _LOOK).done:
                if self._suspended() and not answer.done():
                    raise explained("pool is suspended", self.pool)
        except KeyboardInterrupt:  # what is half done comes to its end first, if it can
            wait([answer], _GRACE)
            raise
        try:
            return answer.result()
        except DeniedError as error:
            raise self._named(error) from error

    def _named(self, error: DeniedError) -> DeniedError:
        with contextlib.suppress(HostError):  # not even `zfs allow` may be asked
            user, lacking = privileges.lacking(self.host, self.root)
            if lacking:
                message = f"{error.message}: {user} is not allowed {', '.join(lacking)}"
                return DeniedError(message, privileges.grant(self.root, user, lacking))
        return error

    def _suspended(self) -> bool:
        with contextlib.suppress(HostError):  # a host that is lost tells so itself
            said = self.host.run(["sh", "-c", _STATE, "sh", self.pool], timeout=_GRACE).out
            return said.strip() == "SUSPENDED"
        return False


def _settle(answer: Future[_Answer], call: Callable[[], _Answer]) -> None:
    try:
        answer.set_result(call())
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where it is waited for
        answer.set_exception(error)
