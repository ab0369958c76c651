"""What ZFS says when it cannot, and what that means for who reads it."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from typing import Any

from behunt.errors import HostError
from behunt.hosts.protocol import Completed
from behunt.storage.home import InUseError


class TakenError(HostError):
    """A dataset of that name is there already."""


class GoneError(HostError):
    """There is no such dataset."""


class BusyError(InUseError):
    """Something is in use, and might not be a moment later."""


class DeniedError(HostError):
    """The user may not do this."""


class PoolError(HostError):
    """A whole pool cannot be used: not there, full, suspended, read-only, its key not loaded."""


class ReadOnlyError(PoolError):
    """A dataset can be looked at, and not be written."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """What is said where `pattern` is found, the first rule that fits; `{pool}` is filled in."""

    pattern: re.Pattern[str]
    error: type[HostError]
    what: str
    hint: str


def _rule(pattern: str, error: type[HostError], what: str, hint: str) -> _Rule:
    return _Rule(re.compile(pattern, re.IGNORECASE), error, what, hint)


# Texts of lib/libzfs/libzfs_util.c and the commands that use it, old and new, of zfs-fuse, and of
# strerror(3); what is wrong with a whole pool first.
_RULES = (
    _rule(
        r"modules are not loaded|/dev/zfs|initialize ZFS library|zfs-fuse daemon"
        r"|connect: (connection refused|no such file)|kernel module failed",
        HostError,
        "the kernel has no ZFS",
        "`modprobe zfs` on Linux, `kldload zfs` on FreeBSD, as root",
    ),
    _rule(
        r"currently suspended|pool is suspended|pool health: suspended",
        PoolError,
        "the pool {pool} is suspended: its disks do not answer",
        "see `zpool status {pool}`; `zpool clear {pool}` once they do",
    ),
    _rule(
        r"pool health: .*no such pool|^no such pool\b",
        PoolError,
        "the pool {pool} is not there",
        "`zpool import {pool}`; `zpool list` shows those that are there",
    ),
    _rule(
        r"pool health: (faulted|unavail)|pool is (unavailable|faulted)",
        PoolError,
        "the pool {pool} is broken",
        "see `zpool status -v {pool}`",
    ),
    _rule(
        r"out of space|no space left|quota exceeded|not enough space|ENOSPC|EDQUOT",
        PoolError,
        "the pool {pool} is full, or a quota on it",
        "`behunt be prune` frees what behunt keeps; see `zfs list -o space -r {pool}`",
    ),
    _rule(
        r"pool is read-only|(cannot|failed to) "
        r"(create|destroy|set|clone|rename|promote|hold|release)[^\n]*read-?only",
        PoolError,
        "the pool {pool} is read-only",
        "`zpool export {pool} && zpool import {pool}` has it imported for writing",
    ),
    _rule(
        r"is mounted read-only",
        ReadOnlyError,
        "a dataset of the pool {pool} is read-only: {said}",
        "`zfs get -r readonly {pool}` shows which property does it; `zfs inherit readonly DATASET`",
    ),
    _rule(
        r"key[^\n]*(not loaded|must be loaded|unavailable)|not loaded[^\n]*key",
        PoolError,
        "an encryption key of the pool {pool} is not loaded",
        "`zfs load-key -r {pool}`",
    ),
    _rule(
        r"dependent clone|has children|already mounted|is mounted|being held|is held|is cloned",
        InUseError,
        "{said}",
        "unmount and destroy what is made of it first: `zfs list -r -t all -o name,origin {pool}`",
    ),
    _rule(
        r"busy",
        BusyError,
        "{said}",
        "end what uses it; `zfs holds` shows what holds a snapshot",
    ),
    _rule(
        r"already exists|dataset exists",
        TakenError,
        "{said}",
        "choose another name, or destroy that one",
    ),
    _rule(
        r"does not exist|no such pool or dataset|not find any snapshots|unable to open the dataset"
        r"|(dataset|filesystem|snapshot|parent) not found",
        GoneError,
        "{said}",
        "`zfs list -r {pool}` shows what is there",
    ),
    _rule(
        r"ZFS utilities must be run as root",
        DeniedError,
        "you may not open /dev/zfs",
        "`chmod 666 /dev/zfs`, as udev does it: what you may do there `zfs allow` tells",
    ),
    _rule(
        r"permission denied|operation not permitted|insufficient privileges"
        r"|must be (run as root|superuser)|only (by )?root|password is required|EPERM|EACCES",
        DeniedError,
        "you may not do this: {said}",
        "`behunt doctor` prints the `zfs allow` that is missing",
    ),
    _rule(
        r"unrecognized command|invalid option|must be upgraded|operation not supported"
        r"|invalid property",
        HostError,
        "this ZFS is too old for behunt: {said}",
        "see `zfs version` and `zpool status`; OpenZFS 0.8 or newer does all of it",
    ),
    _rule(
        r"\b(zfs|zpool|mount|unshare): (command )?not found|cannot execute (zfs|zpool)",
        HostError,
        "zfs(8) is not installed",
        "install zfsutils-linux (Debian, Ubuntu); in FreeBSD it is in the base system",
    ),
)


def fault(done: Completed, pool: str) -> HostError:
    """What to raise for a command on `pool` that failed."""
    if done.timed_out:
        return PoolError(
            f"the pool {pool} did not answer in {done.seconds:.0f} s",
            f"see `zpool status {pool}`: a pool that lost a disk waits until it is back",
        )
    return explained(done.failure or done.err or done.out or done.how, pool)


def explained(text: str, pool: str) -> HostError:
    """The same from the words alone, of zfs(8) or of libzfs_core."""
    said = _first_line(text)
    for rule in _RULES:
        if rule.pattern.search(text):
            return rule.error(
                rule.what.format(pool=pool, said=said), rule.hint.format(pool=pool, said=said)
            )
    return HostError(said, "run the command by hand to see all of its output")


def words_of(error: Any) -> str:
    """What the first cause of an error of libzfs_core says; the reason where that is a number."""
    first = next(iter(getattr(error, "errors", ())), error)
    name = first.name or b""
    name = name.decode() if isinstance(name, bytes) else name  # pyzfs has it either way
    reason = f": {reason_of(first.errno)}" if type(first).__name__ == "ZFSGenericError" else ""
    return f"{first.message} '{name}'{reason}" if name else f"{first.message}{reason}"


def reason_of(number: int) -> str:
    """ZFS has EPERM for who may not do something, and EACCES where a key is missing."""
    said = {errno.EACCES: "encryption key not loaded", errno.ENOENT: "dataset does not exist"}
    return said.get(number) or os.strerror(number)


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "zfs failed and did not say why"
