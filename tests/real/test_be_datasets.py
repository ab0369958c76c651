"""`behunt be` on a real pool, as an operator types it: zfs(8) of zfs-fuse, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from behunt_cli import Behunt, Done, executable, releases
from release_sets import freebsd
from tiny_root import tiny_root
from zfs_fuse import fuse_pool, seen

from behunt.hosts.protocol import Host

pytestmark = pytest.mark.real

ROOT = "bhpool/behunt"


@dataclass(frozen=True)
class Operator:
    """Somebody on a machine that has the pool `bhpool`."""

    behunt: Behunt
    machine: Host

    def be(self, *words: str | Path) -> Done:
        done = self.behunt("be", *words)
        assert done.code == 0, done.err
        return done

    def refused(self, *words: str | Path, says: str) -> None:
        self.behunt.fails(2, "be", *words, says=says)

    def rows(self) -> dict[str, dict[str, object]]:
        listed = self.be("list", "--store", f"zfs:{ROOT}", "--json").json
        return {row["name"]: row for row in listed}

    def zfs(self, *words: str) -> str:
        return self.machine.run(["zfs", *words], check=True).out

    def at(self, path: str) -> Path:
        return seen(self.machine, path.strip())


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with fuse_pool(tmp_path_factory.mktemp("pool") / "image") as host:
        yield host


@pytest.fixture
def operator(machine: Host, tmp_path: Path) -> Iterator[Operator]:
    prefix = tuple(machine.wrap([]))
    yield Operator(replace(Behunt.below(tmp_path), prefix=prefix), machine)
    machine.run(["zfs", "destroy", "-R", ROOT])


@pytest.fixture
def pub(tmp_path: Path) -> Path:
    """A mirror's tree with one release."""
    at = tmp_path / "pub/FreeBSD/releases/amd64/amd64/11.1-RELEASE"
    at.mkdir(parents=True)
    freebsd(at, "11.1")
    return tmp_path / "pub"


def test_the_life_of_a_boot_environment(operator: Operator, pub: Path) -> None:
    name = f"{ROOT}/test"
    assert operator.be("create", "-l", "freebsd", name).out == f"created {name}\n"
    assert operator.rows()["test"]["state"] == "empty"
    said = operator.be(
        "install", "-o", "FreeBSD", "-a", "amd64", "-b", "release", "-r", "11.1", "-p", pub, name
    )
    assert said.out.startswith("test  ")
    row = operator.rows()["test"]
    assert (row["state"], row["release"], row["mountpoint"]) == (
        "installed",
        "freebsd-11.1-amd64",
        "",
    )
    nested = operator.zfs("list", "-H", "-r", "-o", "name", name).split()
    assert f"{name}/var/log" in nested
    where = operator.be("mount", name).out
    assert (
        "11.1-RELEASE" in (operator.at(where) / "usr/include/sys/param.h").read_text()
        or (operator.at(where) / "bin/freebsd-version").exists()
    )
    assert operator.rows()["test"]["mountpoint"] == where.strip()
    (operator.at(where) / "var/log/mine").write_text("kept\n")
    operator.be("umount", name)
    assert operator.be("snapshot", f"{name}@before").out == f"{name}@before\n"
    operator.be("clone", f"{name}@before", f"{ROOT}/mine")
    operator.be("rename", f"{ROOT}/mine", f"{ROOT}/yours")
    there = operator.be("mount", f"{ROOT}/yours").out
    assert (operator.at(there) / "var/log/mine").read_text() == "kept\n"
    operator.be("umount", f"{ROOT}/yours")
    operator.be("clone", name, f"{ROOT}/fresh")
    fresh = operator.be("mount", f"{ROOT}/fresh").out
    assert not (operator.at(fresh) / "var/log/mine").exists()
    assert set(operator.rows()) == {"test", "yours", "fresh"}
    operator.be("umount", f"{ROOT}/fresh")
    operator.be("destroy", f"{ROOT}/fresh", f"{ROOT}/yours")
    operator.refused("destroy", name, says="before")
    operator.be("destroy", "--force", name)
    assert operator.rows() == {}


def test_an_empty_one_is_for_anything(operator: Operator, tmp_path: Path) -> None:
    name = f"{ROOT}/files"
    operator.be("create", "-l", "flat", name)
    where = operator.be("mount", name).out
    tiny_root(tmp_path / "tiny")
    operator.machine.run(["cp", "-a", f"{tmp_path}/tiny/.", where.strip()], check=True)
    operator.be("umount", name)
    told = operator.be("chroot", name, "--", "sh", "-c", "echo made >/here; ls -d /proc /here")
    assert told.out.split() == ["/here", "/proc"]
    assert operator.behunt("be", "chroot", name, "--", "sh", "-c", "exit 7").code == 7
    where = operator.be("mount", name).out
    assert (operator.at(where) / "here").read_text() == "made\n"


def test_what_is_not_ours_stays(operator: Operator) -> None:
    operator.be("create", f"{ROOT}/test")
    operator.zfs("create", "-o", "mountpoint=none", f"{ROOT}/somebodys")
    operator.zfs("create", f"{ROOT}/test/inner")
    operator.refused("destroy", f"{ROOT}/somebodys", says="is not behunt's")
    operator.refused("mount", f"{ROOT}/somebodys", says="is not behunt's")
    operator.refused("rename", f"{ROOT}/somebodys", f"{ROOT}/mine", says="is not behunt's")
    operator.refused("destroy", f"{ROOT}/test", says=f"{ROOT}/test/inner")
    assert f"{ROOT}/test/inner" in operator.zfs("list", "-H", "-o", "name")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("create", "test"), "keeps no datasets"),
        (("create", "-l", "round", f"{ROOT}/test"), "no layout"),
        (("mount", f"{ROOT}/missing"), "there is no boot environment missing"),
        (("install", f"{ROOT}/test"), "what shall be installed there is missing"),
        (("install", "-o", "freebsd", "-r", "11.1", "a/b", "c/d"), "one release into one dataset"),
        (("snapshot", f"{ROOT}/test"), "the snapshot has no name"),
        (("clone", f"{ROOT}/test", "bhpool/other/test"), "in another store"),
        (("list", "--store", "zfs"), "there is no store zfs"),
        (("list", "--host", "nobody@nowhere.invalid"), "of this machine only"),
    ],
)
def test_wrong_input_is_told_in_a_sentence(
    operator: Operator, words: tuple[str, ...], says: str
) -> None:
    operator.refused(*words, says=says)


def test_a_pool_that_is_not_there_is_named(operator: Operator) -> None:
    operator.behunt.fails(1, "be", "create", "nopool/behunt/test", says="nopool")


def test_a_hunt_in_clones_of_datasets(operator: Operator, tmp_path: Path) -> None:
    for version in range(1, 10):
        root = tiny_root(tmp_path / f"tree-{version}")
        (root / "etc/version").write_text(str(version))
    file = releases(tmp_path / "own.toml", [])
    rows = [f'[[release]]\nversion = "{v}"\nsource = "tree-{v}"' for v in range(1, 10)]
    file.write_text('os = "demo"\n' + "\n".join(rows))
    test = executable(tmp_path / "test.sh", "test $(cat /etc/version) -lt 6")
    words = ("bisect", "--store", f"zfs:{ROOT}", "--layout", "linux", "--catalogue", file)
    done = operator.behunt(*words, "--from", "1", "--to", "9", test)
    assert done.code == 0, done.err
    assert "Broke in demo 6" in done.out
    assert f"--store zfs:{ROOT}" in done.out
    states = {row["state"] for row in operator.rows().values()}
    assert states == {"installed"}
    assert "behunt" not in operator.machine.run(["cat", "/proc/self/mounts"]).out.replace(ROOT, "")
