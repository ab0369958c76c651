"""Limits by control groups: version 1, version 2 or both mounted, as found on the machine."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from behunt.errors import HostError
from behunt.hosts.mounts import unescaped
from behunt.model import Limits

_PERIOD = 100_000  # microseconds, the kernel's default for cpu bandwidth
_CONTROLLERS = ("memory", "pids", "cpu")
PREFIX = "behunt-"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Where groups can be made: a directory per version-1 controller, and one for version 2."""

    v1: Mapping[str, Path] = field(default_factory=dict)
    v2: Path | None = None
    v2_controllers: frozenset[str] = frozenset()

    def version_of(self, controller: str) -> int:
        """1 or 2; 0 where this machine cannot limit `controller`."""
        if controller in self.v1:
            return 1
        return 2 if self.v2 is not None and controller in self.v2_controllers else 0


def hierarchies(mountinfo: str, controllers: str = "") -> Hierarchies:
    """Parse /proc/self/mountinfo; `controllers` is cgroup.controllers of the version-2 root."""
    v1: dict[str, Path] = {}
    v2 = None
    for row in mountinfo.splitlines():
        left, _, right = row.partition(" - ")
        if not right:
            continue
        point = Path(unescaped(left.split()[4]))
        fstype, *_, options = right.split()
        if fstype == "cgroup2":
            v2 = point
        elif fstype == "cgroup":
            for name in set(options.split(",")).intersection(_CONTROLLERS):
                v1[name] = point
    return Hierarchies(v1, v2, frozenset(controllers.split()))


def found() -> Hierarchies:
    """The control groups of this machine."""
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    there = hierarchies(mountinfo)
    if there.v2 is None:
        return there
    with contextlib.suppress(OSError):
        listed = (there.v2 / "cgroup.controllers").read_text(encoding="ascii")
        return hierarchies(mountinfo, listed)
    return there


def settings(limits: Limits, where: Hierarchies) -> dict[tuple[str, str], str]:
    """What to write: {(controller, file): value}. Raises HostError for a limit without a group."""
    wanted: dict[tuple[str, str], str] = {}
    if limits.memory is not None:
        file = {1: "memory.limit_in_bytes", 2: "memory.max"}
        wanted["memory", _file(where, "memory", file)] = str(limits.memory)
    if limits.processes is not None:
        file = {1: "pids.max", 2: "pids.max"}
        wanted["pids", _file(where, "pids", file)] = str(limits.processes)
    if limits.cpus is not None:
        quota = int(limits.cpus * _PERIOD)
        version = where.version_of("cpu")
        file = {1: "cpu.cfs_quota_us", 2: "cpu.max"}
        value = str(quota) if version == 1 else f"{quota} {_PERIOD}"
        wanted["cpu", _file(where, "cpu", file)] = value
    return wanted


def _file(where: Hierarchies, controller: str, files: Mapping[int, str]) -> str:
    version = where.version_of(controller)
    if version == 0:
        raise HostError(
            f"this machine cannot limit {controller}: no such control group",
            "run without the limit, or boot with the controller enabled (cgroup_enable=memory)",
        )
    return files[version]


@dataclass(frozen=True, slots=True)
class Group:
    """One run's control groups."""

    directories: tuple[Path, ...] = ()

    @property
    def procs(self) -> tuple[str, ...]:
        """Files into which a process writes 0 to enter."""
        return tuple(str(directory / "cgroup.procs") for directory in self.directories)

    def out_of_memory(self) -> bool:
        """Whether the kernel killed something for the memory limit."""
        for directory in self.directories:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    rows = (directory / name).read_text(encoding="ascii").split("\n")
                    if any(r.startswith("oom_kill ") and r != "oom_kill 0" for r in rows):
                        return True
        return False


@contextlib.contextmanager
def limited(limits: Limits, owner: str) -> Iterator[Group]:
    """Make the groups that `limits` need, named after `owner`; gone when all in them is dead."""
    if limits.memory is limits.processes is limits.cpus is None:
        yield Group()
        return
    made: list[Path] = []
    try:
        _make(limits, f"{PREFIX}{owner}-{next(_numbers)}", made)
        yield Group(tuple(made))
    finally:
        for directory in made:
            remove(directory)


def _make(limits: Limits, name: str, made: list[Path]) -> None:
    """Make and set the groups; each is in `made` as soon as it is there."""
    where = found()
    for (controller, file), value in settings(limits, where).items():
        try:
            directory = _directory(where, controller) / name
            if directory not in made:
                directory.mkdir()
                made.append(directory)
            (directory / file).write_text(value, encoding="ascii")
        except OSError as error:
            raise HostError(
                f"cannot set {file} to {value} for a control group: {error.strerror}",
                "run as root, outside a container that forbids it",
            ) from error
        if controller == "memory":
            _without_swap(directory, value)


def _without_swap(directory: Path, limit: str) -> None:
    """Swap would only delay the end. The files are there where the kernel accounts for it."""
    for file, value in (("memory.swap.max", "0"), ("memory.memsw.limit_in_bytes", limit)):
        with contextlib.suppress(OSError):
            (directory / file).write_text(value, encoding="ascii")


def _directory(where: Hierarchies, controller: str) -> Path:
    if controller in where.v1:
        return where.v1[controller]
    if where.v2 is None:  # settings() has refused this already
        raise HostError(f"no control group for {controller}")
    # Controllers reach a child only through its parent's subtree_control.
    (where.v2 / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
    return where.v2


def remove(directory: Path) -> None:
    """Remove a group; its processes are dead but may take the kernel a moment to leave it."""
    for wait in (0.0, 0.001, 0.01, 0.1, 1.0):
        time.sleep(wait)
        with contextlib.suppress(OSError):
            directory.rmdir()
        if not directory.exists():
            return


def leftovers(where: Hierarchies) -> list[Path]:
    """Groups of ours, of whatever owner."""
    roots = {*where.v1.values()} | ({where.v2} if where.v2 else set())
    return sorted(path for root in roots for path in root.glob(f"{PREFIX}*"))
