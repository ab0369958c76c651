"""Clones served by the NFS server of Linux's kernel: by exportfs(8), and by ZFS's `sharenfs`.

Collected only where BEHUNT_TEST_POOL says that there is an OpenZFS, in a machine that has nothing
else to serve; its client is the same kernel's.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from be_operator import own_releases
from behunt_cli import Behunt
from running import PATIENCE

pytestmark = pytest.mark.real

ROOT = f"{os.environ.get('BEHUNT_TEST_POOL', '')}/served"
NETWORK = "10.0.2.0/24"
NAME = "demo-1-amd64"
RELEASE = ("--catalogue", "../own.toml", "1")
START = "modprobe nfsd; mount -t nfsd nfsd /proc/fs/nfsd; rpcbind; rpc.mountd; rpc.nfsd -N 4 2"
STOP = "rpc.nfsd 0; pkill -x rpc.mountd; pkill -x rpcbind; umount /proc/fs/nfsd"
POOL = ("--store", f"zfs:{ROOT}", "--layout", "linux")
BY_ZFS = ("--zfs", *POOL)
VALUE = f"sec=sys,async,rw=@{NETWORK},no_root_squash,no_subtree_check,crossmnt"


def sh(script: str) -> str:
    done = subprocess.run(["sh", "-ec", script], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture(scope="module")
def running() -> Iterator[None]:
    sh(START)
    yield
    sh(STOP)


@pytest.fixture(scope="module")
def behunt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behunt]:
    """It has an empty store of datasets."""
    place = tmp_path_factory.mktemp("served")
    own_releases(place, [1])
    sh(f"zfs create -o mountpoint=none {ROOT}")
    yield Behunt.below(place)
    sh(f"zfs list -H -r -t snapshot -o name {ROOT} | xargs -r zfs release behunt")
    sh(f"zfs destroy -R {ROOT}")


def share(behunt: Behunt, *words: str) -> str:
    """Share it in the background; what to mount."""
    done = behunt("be", "sharenfs", "--background", "--network", NETWORK, *words, *RELEASE)
    assert done.code == 0, done.err
    line = re.fullmatch(r"mount -t nfs -o (\S+) (10\.0\.2\.15:\S+) /mnt\n", done.out)
    assert line, done.out
    assert line[1] == "vers=3,tcp,nolock,noacl"
    return line[2]


@contextlib.contextmanager
def mounted(source: str) -> Iterator[Path]:
    sh(f"mount -t nfs -o vers=3,tcp,nolock,noacl {source} /mnt")
    try:
        yield Path("/mnt")
    finally:
        sh("umount --lazy --recursive /mnt")


def exported() -> dict[str, set[str]]:
    """The options of each directory that the kernel exports."""
    lines = sh("exportfs -s").splitlines()
    found = [re.fullmatch(r"(\S+)\s+10\.0\.2\.0/24\((\S+)\)", line) for line in lines]
    return {one[1]: set(one[2].split(",")) for one in found if one}


def set_on() -> dict[str, str]:
    """Datasets that have a `sharenfs` of their own."""
    told = sh(f"zfs get -H -r -t filesystem -s local -o name,value sharenfs {ROOT}")
    return dict(line.split("\t") for line in told.splitlines())


def kill(behunt: Behunt) -> None:
    """Whoever shares there, as nothing else ends."""
    holder = json.loads((behunt.home / f"locks/share.{NAME}").read_text())["pid"]
    handle = os.pidfd_open(holder)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    assert select.select([handle], [], [], PATIENCE)[0]
    os.close(handle)


def nothing_is_left(behunt: Behunt) -> None:
    assert exported() == {}
    assert str(behunt.home) not in Path("/proc/self/mountinfo").read_text()


def test_zfs_shares_only_where_a_server_runs(behunt: Behunt) -> None:
    words = ("be", "sharenfs", "--network", NETWORK, *BY_ZFS, *RELEASE)
    assert "systemctl start nfs-server" in behunt.fails(1, *words, says="does not run")
    assert set_on() == {}


@pytest.mark.usefixtures("running")
def test_zfs_shares_a_clone_and_all_that_is_nested(behunt: Behunt) -> None:
    source = share(behunt, *BY_ZFS)
    at = source.partition(":")[2]
    [(clone, value)] = set_on().items()
    assert clone.startswith(f"{ROOT}/{NAME}:run.")
    assert value == VALUE
    assert {f"{at}", f"{at}/var/log"} <= exported().keys()
    for path, options in exported().items():
        assert path.startswith(at)
        assert {"rw", "async", "no_root_squash", "no_subtree_check", "crossmnt"} <= options
    with mounted(source) as root:
        assert (root / "etc/version").read_text() == "1"
        (root / "etc/version").write_text("2")
        (root / "var/log/mine").write_text("of a client\n")
        assert Path(at, "var/log/mine").read_text() == "of a client\n"
        assert Path(at, "etc/version").stat().st_uid == 0
    assert behunt("be", "unsharenfs", "1").out == f"{NAME} is served no more\n"
    assert set_on() == {}
    assert clone not in sh(f"zfs list -H -r -o name {ROOT}")
    nothing_is_left(behunt)


@pytest.mark.usefixtures("running")
def test_what_a_killed_behunt_shared_by_zfs_is_withdrawn(behunt: Behunt) -> None:
    source = share(behunt, *BY_ZFS)
    at = source.partition(":")[2]
    with mounted(source) as root, (root / "etc/version").open() as held:
        assert held.read() == "1", "what another clone's client wrote went with that"
        kill(behunt)
        assert at in exported()
        listed = behunt("be", "list", *POOL[:2])
        assert listed.code == 0, listed.err
        assert ":run." not in sh(f"zfs list -H -r -o name {ROOT}")
    assert set_on() == {}
    nothing_is_left(behunt)


@pytest.mark.usefixtures("running")
def test_what_is_not_sealed_is_not_shared(behunt: Behunt) -> None:
    assert behunt("be", "create", "-l", "flat", f"{ROOT}/mine").code == 0
    words = ("--zfs", "--network", NETWORK, f"{ROOT}/mine")
    behunt.fails(2, "be", "sharenfs", *words, says="mine is not installed")
    assert set_on() == {}
    assert exported() == {}


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("store", [(), POOL], ids=["overlay", "zfs"])
def test_behunt_exports_a_clone_by_the_kernel(behunt: Behunt, store: tuple[str, ...]) -> None:
    source = share(behunt, *store)
    at = source.partition(":")[2]
    sh("exportfs -ra")  # as ZFS does, and a reload of the service
    assert exported().keys() == {at}
    assert {"rw", "async", "no_root_squash", "crossmnt"} <= exported()[at]
    with mounted(source) as root:
        assert (root / "etc/version").read_text() == "1"
        (root / "etc/version").write_text("2")
        if store:  # what is nested comes along
            (root / "var/log/mine").write_text("of a client\n")
            assert Path(at, "var/log/mine").read_text() == "of a client\n"
    assert behunt("be", "unsharenfs", "1").code == 0
    nothing_is_left(behunt)


@pytest.mark.usefixtures("running")
def test_what_a_killed_behunt_exported_is_withdrawn(behunt: Behunt) -> None:
    source = share(behunt)
    with mounted(source) as root, (root / "etc/version").open() as held:
        assert held.read() == "1"
        kill(behunt)
        assert source.partition(":")[2] in exported()
        assert behunt("be", "list").code == 0
    nothing_is_left(behunt)
