"""`behunt be` on a real pool, as an operator types it on the machine that has it.

By zfs(8) on a pool of zfs-fuse; where BEHUNT_TEST_POOL names a pool of OpenZFS, on that one, and by
libzfs_core.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from be_operator import Operator, hunt, own_releases, pub, working
from behunt_cli import Behunt, executable
from tiny_root import tiny_root
from zfs_fuse import fuse_pool

from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host

pytestmark = pytest.mark.real

POOL = os.environ.get("BEHUNT_TEST_POOL", "")
ROOT = f"{POOL or 'bhpool'}/operator"
# In the emulated machine of the pool of OpenZFS each dataset takes seconds.
NESTED = "linux" if POOL else "freebsd"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with contextlib.ExitStack() as stack:
        image = tmp_path_factory.mktemp("pool") / "image"
        yield LocalHost() if POOL else stack.enter_context(fuse_pool(image, "bhpool"))


@pytest.fixture
def operator(machine: Host, tmp_path: Path) -> Iterator[Operator]:
    behunt = replace(Behunt.below(tmp_path), prefix=tuple(machine.wrap([])))
    with working(behunt, machine, ROOT) as operator:
        yield operator


def test_the_life_of_a_boot_environment(operator: Operator, tmp_path: Path) -> None:
    name = f"{ROOT}/test"
    assert operator.be("create", "-l", NESTED, name).out == f"created {name}\n"
    words = ("-o", "FreeBSD", "-a", "amd64", "-b", "release", "-r", "11.1", "-p", pub(tmp_path))
    assert operator.be("install", *words, name).out.startswith("test  ")
    assert "test/var/log" in operator.datasets()
    where = operator.be("mount", name).out.strip()
    assert "11.1-RELEASE" in operator.read(f"{where}/bin/freebsd-version")
    operator.write(f"{where}/var/log/mine", "kept\n")
    row = operator.rows()["test"]
    assert (row["state"], row["release"]) == ("installed", "freebsd-11.1-amd64")
    assert row["mountpoint"] == where
    operator.be("umount", name)
    assert operator.be("snapshot", f"{name}@before").out == f"{name}@before\n"
    operator.be("clone", f"{name}@before", f"{ROOT}/mine")
    operator.be("rename", f"{ROOT}/mine", f"{ROOT}/yours")
    (there := tmp_path / "there").mkdir()
    operator.be("mount", f"{ROOT}/yours", there)
    assert operator.read(f"{there}/var/log/mine") == "kept\n"
    operator.refused("destroy", f"{ROOT}/yours", says=f"mounted at {there}", code=1)
    operator.be("umount", f"{ROOT}/yours")
    operator.be("destroy", f"{ROOT}/yours")
    operator.refused("destroy", name, says="before")
    operator.be("destroy", "--force", name)
    assert operator.datasets() == []


def test_a_clone_of_no_snapshot_is_as_it_was_installed(operator: Operator, tmp_path: Path) -> None:
    name = f"{ROOT}/test"
    operator.be("create", "-l", "freebsd", name)
    operator.be("install", "-o", "FreeBSD", "-r", "11.1", "-p", pub(tmp_path), name)
    where = operator.be("mount", name).out.strip()
    operator.write(f"{where}/var/log/mine", "kept\n")
    operator.be("umount", name)
    operator.be("clone", name, f"{ROOT}/fresh")
    fresh = operator.be("mount", f"{ROOT}/fresh").out.strip()
    assert operator.has(f"{fresh}/var/log")
    assert not operator.has(f"{fresh}/var/log/mine")
    operator.be("umount", f"{ROOT}/fresh")
    operator.be("destroy", f"{ROOT}/fresh")


def test_the_list_is_that_of_bectl(operator: Operator) -> None:
    operator.be("create", f"{ROOT}/test")
    assert operator.rows()["test"]["state"] == "empty"
    heading, row = operator.be("list", "--store", f"zfs:{ROOT}").out.splitlines()
    assert heading.split()[:5] == ["BE", "Active", "Mountpoint", "Space", "Created"]
    assert row.split()[:3] == ["test", "-", "-"]
    created = operator.zfs("get", "-Hp", "-o", "value", "creation", f"{ROOT}/test").strip()
    expected = operator.machine.run(["date", "-u", "-d", f"@{created}", "+%Y-%m-%d %H:%M"]).out
    assert expected.strip() in row


def test_an_empty_one_is_for_anything(operator: Operator, tmp_path: Path) -> None:
    name = f"{ROOT}/files"
    operator.be("create", "-l", "flat", name)
    where = operator.be("mount", name).out.strip()
    tiny_root(tmp_path / "tiny")
    operator.machine.run(["cp", "-a", f"{tmp_path}/tiny/.", where], check=True)
    operator.be("umount", name)
    told = operator.be("chroot", name, "--", "sh", "-c", "echo made >/here; ls -d /proc /here")
    assert told.out.split() == ["/here", "/proc"]
    assert operator.behunt("be", "chroot", name, "--", "sh", "-c", "exit 7").code == 7
    where = operator.be("mount", name).out.strip()
    assert operator.read(f"{where}/here") == "made\n"


def test_who_keeps_it_busy_is_told(operator: Operator) -> None:
    name = f"{ROOT}/test"
    operator.be("create", "-l", "flat", name)
    where = operator.be("mount", name).out.strip()
    staying = operator.machine.wrap(["sh", "-c", "cd $0; echo; exec sleep 600", where])
    with subprocess.Popen(staying, stdout=subprocess.PIPE) as busy:
        assert busy.stdout
        busy.stdout.readline()
        done = operator.behunt("be", "umount", name)
        busy.kill()
    assert done.code == 1
    assert f"{name} is in use by sleep ({busy.pid})" in done.err
    assert f"kill {busy.pid}" in done.err
    operator.be("umount", name)


def test_what_is_not_ours_stays(operator: Operator) -> None:
    operator.be("create", f"{ROOT}/test")
    operator.zfs("create", "-o", "mountpoint=none", f"{ROOT}/somebodys")
    operator.zfs("create", "-o", "canmount=off", f"{ROOT}/test/inner")
    operator.refused("destroy", f"{ROOT}/somebodys", says="is not behunt's")
    operator.refused("mount", f"{ROOT}/somebodys", says="is not behunt's")
    operator.refused("rename", f"{ROOT}/somebodys", f"{ROOT}/mine", says="is not behunt's")
    operator.refused("destroy", f"{ROOT}/test", says=f"{ROOT}/test/inner")
    assert {"somebodys", "test", "test/inner"} == set(operator.datasets())


def test_what_cannot_be_is_told_in_a_sentence(operator: Operator) -> None:
    operator.refused("mount", f"{ROOT}/missing", says="there is no boot environment missing")
    operator.refused("create", "-l", "round", f"{ROOT}/test", says="no layout")


def test_a_pool_that_is_not_there_is_named(operator: Operator) -> None:
    operator.refused("create", "nopool/behunt/test", says="nopool", code=1)


def test_two_behunts_hunt_in_one_pool_at_once(operator: Operator, tmp_path: Path) -> None:
    test = executable(tmp_path / "test.sh", "test $(cat /etc/version) -lt 2")
    words = hunt(operator, own_releases(tmp_path, range(1, 3)), test)
    other = replace(operator.behunt, home=tmp_path / "other")
    with contextlib.ExitStack() as both:
        hunting = [
            both.enter_context(behunt.start(*words, "--layout", "linux"))
            for behunt in (operator.behunt, other)
        ]
        said = [one.communicate() for one in hunting]
    for out, err in said:
        assert "Broke in demo 2" in out, err
        assert f"--store zfs:{ROOT}" in out
        assert "broken" not in err
    assert {row["state"] for row in operator.rows().values()} == {"installed"}
    assert not any(":" in name for name in operator.datasets())
    assert operator.mounts() == []
