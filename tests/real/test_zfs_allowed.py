"""What `zfs allow` must grant to a user: all of it is needed, and it is enough.

Collected only where BEHUNT_TEST_POOL says that there is an OpenZFS; alice is a user without rights.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from behunt_cli import Behunt

from behunt.hosts.local import LocalHost, Prefixed
from behunt.storage.zfs.commands import Commands
from behunt.storage.zfs.door import Door, Mount
from behunt.storage.zfs.faults import DeniedError
from behunt.storage.zfs.privileges import NEEDED, SUDO, grant, lacking
from behunt.storage.zfs.watched import Watched

pytestmark = pytest.mark.real

POOL = os.environ.get("BEHUNT_TEST_POOL", "")
ALICE = Prefixed(LocalHost(), ("setpriv", "--reuid=alice", "--regid=alice", "--clear-groups"))
SUDOERS = Path("/etc/sudoers.d/behunt-test")


def sh(script: str, root: str) -> None:
    """As root, with the dataset as $r."""
    subprocess.run(["sh", "-ec", script], check=True, env={**os.environ, "r": root})


@pytest.fixture(scope="module")
def root() -> Iterator[str]:
    """A dataset with x, which has a snapshot, and a clone of it."""
    root = f"{POOL}/allowed-{secrets.token_hex(3)}"
    sh("chmod 666 /dev/zfs", root)  # as udev does it
    sh("zfs create -o mountpoint=none $r; zfs create -o canmount=noauto -o mountpoint=/ $r/x", root)
    sh("zfs snapshot $r/x@s; zfs clone -o canmount=noauto -o mountpoint=/ $r/x@s $r/copy", root)
    yield root
    sh("zfs destroy -R $r", root)


def verbs(door: Door, root: str) -> dict[str, Callable[[], None]]:
    """By the permission that each needs, in an order in which all of them can be done."""
    marks = {"mountpoint": "/", "behunt:owner": "alice"}
    return {
        "create": lambda: door.create([(f"{root}/new", marks)]),
        "snapshot": lambda: door.snapshot([f"{root}/x@t"]),
        "hold": lambda: door.hold([f"{root}/x@t"], "behunt"),
        "release": lambda: door.release([f"{root}/x@t"], "behunt"),
        "clone": lambda: door.clone([(f"{root}/x@s", f"{root}/other", marks)]),
        "userprop": lambda: door.set([f"{root}/x"], {"behunt:state": "kept"}),
        "mountpoint": lambda: door.set([f"{root}/x"], {"mountpoint": "/"}),
        "canmount": lambda: door.set([f"{root}/x"], {"canmount": "noauto"}),
        "atime": lambda: door.set([f"{root}/x"], {"atime": "off"}),
        "exec": lambda: door.set([f"{root}/x"], {"exec": "off"}),
        "setuid": lambda: door.set([f"{root}/x"], {"setuid": "off"}),
        "mount": lambda: door.create([(f"{root}/one", {})]),
        "rollback": lambda: door.rollback([f"{root}/x@t"]),
        "rename": lambda: door.rename(f"{root}/new", f"{root}/newer"),
        "destroy": lambda: door.destroy([f"{root}/newer"]),
        "promote": lambda: door.promote(f"{root}/copy"),
    }


def test_each_permission_is_needed_and_all_are_enough(root: str) -> None:
    door = Watched(Commands(ALICE), root)
    done = verbs(door, root)
    assert set(done) == set(NEEDED)
    sh(grant(root, "alice"), root)
    assert lacking(ALICE, root) == ("alice", [])
    for permission, do in done.items():
        sh(f"zfs unallow -u alice {permission} $r", root)
        with pytest.raises(DeniedError) as caught:
            do()
        assert f"alice is not allowed {permission}" in caught.value.message
        assert caught.value.hint == f"zfs allow -u alice {permission} {root}"
        sh(caught.value.hint, root)
        do()


def test_mounts_go_by_sudo_with_the_line_that_doctor_prints(root: str, tmp_path: Path) -> None:
    sh(grant(root, "alice"), root)
    door = Commands(ALICE, elevate=("sudo", "-n"))
    mounts = [Mount(f"{root}/x", str(tmp_path / "at"))]
    with pytest.raises(DeniedError, match="password"):
        door.mount(mounts)
    with in_sudoers(SUDO.format(user="alice")):
        door.mount(mounts)
        assert [m for m in door.mounted() if m in mounts] == mounts
        door.umount([mounts[0].directory])
        assert not [m for m in door.mounted() if m in mounts]


@contextlib.contextmanager
def in_sudoers(line: str) -> Iterator[None]:
    SUDOERS.write_text(f"{line}\n")
    try:
        yield
    finally:
        SUDOERS.unlink()


@pytest.fixture
def alice() -> Iterator[Behunt]:
    place = Path("/home/alice/place")
    place.mkdir()
    shutil.chown(place, "alice", "alice")
    yield Behunt(place, place / "home", user="alice")
    shutil.rmtree(place)


def test_she_has_boot_environments_once_what_doctor_prints_is_done(alice: Behunt) -> None:
    root = f"{POOL}/hers"
    sh("chmod 666 /dev/zfs; zfs create -o mountpoint=none $r", root)

    def be(verb: str, *words: str) -> str:
        done = alice("be", verb, *words)
        assert done.code == 0, done.err
        return done.out.strip()

    def checks() -> dict[str, tuple[bool, str]]:
        told = alice("doctor", "--json", "--store", f"zfs:{root}").json
        return {row["name"]: (row["ok"], row["fix"]) for row in told}

    try:
        alice.fails(1, "be", "create", f"{root}/test", says="alice is not allowed create")
        before = checks()
        assert not before["zfs allow"][0]
        assert not before["mounting"][0]
        sh(before["zfs allow"][1], root)
        with in_sudoers(before["mounting"][1]):
            after = checks()
            assert after["zfs allow"][0]
            assert after["mounting"][0]
            be("create", "-l", "flat", f"{root}/test")
            where = be("mount", f"{root}/test")
            assert os.path.ismount(where)
            be("umount", f"{root}/test")
            be("clone", f"{root}/test", f"{root}/other")
            be("rename", f"{root}/other", f"{root}/another")
            be("destroy", "--force", f"{root}/another", f"{root}/test")
            assert be("list", "--store", f"zfs:{root}") == "nothing installed"
    finally:
        sh("zfs destroy -R $r", root)
