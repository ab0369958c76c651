"""What ZFS says on its bad days, on Linux, on FreeBSD 13.2 and in zfs-fuse, and what that means."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from behunt.errors import HostError
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Completed
from behunt.storage.home import InUseError
from behunt.storage.zfs.faults import (
    BusyError,
    DeniedError,
    GoneError,
    PoolError,
    ReadOnlyError,
    TakenError,
    explained,
    fault,
)
from behunt.storage.zfs.users import named_users, users


@pytest.mark.parametrize(
    ("said", "error", "tells"),
    [
        # zfs(8) and mount(8) of OpenZFS 2.3 on Linux
        ("cannot create 'p/b/new': out of space", PoolError, "the pool p is full"),
        ("cannot create snapshot 'p/x@t': out of space", PoolError, "the pool p is full"),
        ("cannot create 'p/b': pool I/O is currently suspended", PoolError, "p is suspended"),
        ("cannot create 'p/b/n': read-only file system", PoolError, "the pool p is read-only"),
        ("cannot rename 'p/x': pool is read-only", PoolError, "the pool p is read-only"),
        ("'p/x' is mounted read-only", ReadOnlyError, "'p/x' is mounted read-only"),
        (
            "cannot open 'p/x': dataset does not exist\n\n"
            "pool health: cannot open 'p': no such pool",
            PoolError,
            "the pool p is not there",
        ),
        ("cannot mount 'p/x': encryption key not loaded", PoolError, "encryption key of the pool"),
        ("Key must be loaded when creating child datasets.", PoolError, "encryption key"),
        ("cannot create 'p/x': permission denied", DeniedError, "you may not do this"),
        ("sudo: a password is required", DeniedError, "you may not do this"),
        ("umount: /be/x: target is busy.", BusyError, "/be/x: target is busy"),
        ("cannot destroy 'p/x': dataset is busy", BusyError, "'p/x': dataset is busy"),
        # FreeBSD 13.2
        (
            "cannot destroy 'zroot/behunt/test@installed': snapshot has dependent clones",
            InUseError,
            "snapshot has dependent clones",
        ),
        ("cannot open 'zroot/behunt/nosuch': dataset does not exist", GoneError, "nosuch"),
        ("cannot create 'zroot/nosuch/child': parent does not exist", GoneError, "child"),
        ("cannot create 'zroot/behunt/test': dataset already exists", TakenError, "already exists"),
        ("umount: unmount of /be/x failed: Device busy", BusyError, "/be/x failed: Device busy"),
        ("mount: zroot/x: Operation not permitted", DeniedError, "you may not do this"),
        # zfs-fuse
        ("connect: Connection refused", HostError, "the kernel has no ZFS"),
    ],
)
def test_what_is_said_is_explained(said: str, error: type[HostError], tells: str) -> None:
    told = explained(said, "p")
    assert type(told) is error
    assert tells in told.message
    assert told.hint


def test_a_key_that_is_missing_is_no_permission_that_is_missing() -> None:
    locked = explained("cannot mount 'p/x': encryption key not loaded", "p")
    denied = explained("cannot mount 'p/x': permission denied", "p")
    assert "zfs load-key -r p" in locked.hint
    assert "zfs allow" in denied.hint


def test_what_nobody_foresaw_is_passed_on() -> None:
    told = explained("\n  cannot frob 'p/x': flux inverted\nmore\n", "p")
    assert told.message == "cannot frob 'p/x': flux inverted"


def test_a_pool_that_does_not_answer() -> None:
    told = fault(Completed(("zfs",), -9, seconds=120.2, timed_out=True), "p")
    assert isinstance(told, PoolError)
    assert told.message == "the pool p did not answer in 120 s"


# fstat -f /be/x, as fstat(1) of FreeBSD 13 lays it out
FSTAT = """\
USER     CMD          PID   FD MOUNT      INUM MODE         SZ|DV R/W
root     csh         1321   wd /be/x         34 drwxr-xr-x      12  r
root     tail        1388    3 /be/x        128 -rw-r--r--     512  r
root     tail        1388 text /be/x         99 -r-xr-xr-x   21000  r
www      my daemon   1402 jail /be/x         34 drwxr-xr-x      12  r
"""


def test_fstat_of_freebsd_tells_who() -> None:
    assert users(FSTAT) == {1321: "csh", 1388: "tail", 1402: "my daemon"}
    assert users("") == {}


def test_linux_tells_who_is_in_a_directory(tmp_path: Path) -> None:
    below = tmp_path / "it's $HOME" / "below"
    below.mkdir(parents=True)
    beside = below.parent.with_name(f"{below.parent.name} and more")
    beside.mkdir()
    with (
        (below / "log").open("wb") as log,
        subprocess.Popen(["sleep", "600"], cwd=below) as inside,
        subprocess.Popen(["sleep", "600"], cwd=beside) as outside,
        subprocess.Popen(["sleep", "600"], stdout=log) as writing,
    ):
        try:
            with (
                pytest.raises(BusyError) as caught,
                named_users(LocalHost(), "tank/x", str(below.parent)),
            ):
                raise BusyError("busy", "wait")
        finally:
            for process in (inside, outside, writing):
                process.kill()
    for process in (inside, writing):
        assert f"sleep ({process.pid})" in caught.value.message
        assert str(process.pid) in caught.value.hint
    assert str(outside.pid) not in caught.value.message
    assert caught.value.message.startswith("tank/x is in use by ")


def test_where_nobody_is_found_the_error_stays(tmp_path: Path) -> None:
    with pytest.raises(BusyError, match=r"^busy$"), named_users(LocalHost(), "", str(tmp_path)):
        raise BusyError("busy", "wait")
