"""What a machine of a lab leaves in its root is hostile: nothing leads out, nothing waits."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from behunt.errors import HostError
from behunt.hosts.confined import Confined
from behunt.hosts.sandbox import ALL_NAMESPACES, Sandbox
from behunt.runners.lab.tree import Tree

pytestmark = pytest.mark.real

CANARY = "nobody may read or write here\n"
MODE = 0o751


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of this machine that no clone may reach."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text(CANARY)
    yield outside
    assert [path.name for path in outside.iterdir()] == ["canary"]
    assert (outside / "canary").read_text() == CANARY


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Confined]:
    """A clone as an NFS server has it. No program is in it."""
    for name in ("lower/etc", "stage"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lower/sys").symlink_to("usr/src/sys")  # as in every FreeBSD
    sandbox = Sandbox(
        ALL_NAMESPACES,
        lower=(str(tmp_path / "lower"),),
        stage=str(tmp_path / "stage"),
        tame=True,
        exported=True,
    )
    with Confined(sandbox) as inside:
        yield inside


@pytest.fixture
def tree(inside: Confined) -> Iterator[Tree]:
    with Tree(inside) as tree:
        yield tree


@pytest.fixture
def root(inside: Confined) -> Iterator[int]:
    """The root again, for whoever does in there what a machine might."""
    fd = inside.session.open_file("/", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def exchange(tmp_path: Path) -> Path:
    exchange = tmp_path / "exchange"
    (exchange / "work/below").mkdir(parents=True)
    (exchange / "out").mkdir()
    test = exchange / "work/test.sh"
    test.write_text("#!/bin/sh\n")
    test.chmod(MODE)
    (exchange / "work/below/data").write_bytes(bytes(range(256)))
    return exchange


def write(root: int, name: str, content: bytes, mode: int = 0o644) -> None:
    flags = os.O_WRONLY | os.O_CREAT
    with os.fdopen(os.open(name, flags, mode, dir_fd=root), "wb") as file:
        file.write(content)


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_there_and_back(tree: Tree, exchange: Path, root: int) -> None:
    there = names(exchange)
    tree.send(exchange)
    assert os.stat("behunt/work/test.sh", dir_fd=root).st_mode & 0o7777 == MODE
    write(root, "behunt/out/kept", b"kept\n")
    write(root, "behunt/.told", b"exit 0\n")
    os.unlink("behunt/work/below/data", dir_fd=root)
    tree.fetch(exchange, (".told",))
    assert names(exchange) == there - {"work/below/data"} | {"out/kept"}
    assert (exchange / "out/kept").read_text() == "kept\n"
    assert (exchange / "work/test.sh").stat().st_mode & 0o777 == MODE
    tree.send(exchange)  # another run in the same clone


def test_what_is_in_the_way_of_the_test_is_told(tree: Tree, exchange: Path, root: int) -> None:
    os.symlink("/etc", "behunt", dir_fd=root)
    with pytest.raises(HostError, match="there is something at /behunt"):
        tree.send(exchange)


Attack = Callable[[int, Path], None]


def link(root: int, outside: Path) -> None:
    os.symlink(outside / "canary", "behunt/out/it", dir_fd=root)


def link_to_a_directory(root: int, outside: Path) -> None:
    os.symlink(outside, "behunt/out/it", dir_fd=root)


def link_upwards(root: int, outside: Path) -> None:
    del outside
    os.symlink("../../../../../../../../etc/passwd", "behunt/out/it", dir_fd=root)


def fifo(root: int, outside: Path) -> None:
    del outside
    os.mkfifo("behunt/out/it", dir_fd=root)


def device(root: int, outside: Path) -> None:
    del outside
    os.mknod("behunt/out/it", 0o666 | 0o020000, os.makedev(1, 9), dir_fd=root)  # urandom


def disk(root: int, outside: Path) -> None:
    del outside
    os.mknod("behunt/out/it", 0o666 | 0o060000, os.makedev(7, 0), dir_fd=root)


def a_socket(root: int, outside: Path) -> None:
    del outside
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{root}/behunt/out/it")


def too_deep(root: int, outside: Path) -> None:
    del outside
    path = "behunt/out/it"
    while len(path) < 1000:
        os.mkdir(path, dir_fd=root)
        path += "/" + "d" * 200
    write(root, f"{path}", b"x")


@pytest.mark.parametrize(
    "attack", [link, link_to_a_directory, link_upwards, fifo, device, disk, a_socket]
)
def test_what_is_no_file_stays_behind(
    attack: Attack, tree: Tree, exchange: Path, root: int, outside: Path
) -> None:
    tree.send(exchange)
    attack(root, outside)
    write(root, "behunt/out/kept", b"kept\n", 0o6755)
    assert tree.read("out/it") == b""
    tree.fetch(exchange)
    assert "out/it" not in names(exchange)
    assert (exchange / "out/kept").stat().st_mode & 0o7777 == 0o755
    assert (exchange / "out/kept").read_text() == "kept\n"


def test_what_is_too_deep_stays_behind(
    tree: Tree, exchange: Path, root: int, outside: Path
) -> None:
    tree.send(exchange)
    too_deep(root, outside)
    write(root, "behunt/out/kept", b"kept\n")
    tree.fetch(exchange)
    assert (exchange / "out/kept").exists()
    assert max(len(name) for name in names(exchange)) <= 1000


@pytest.mark.parametrize("target", ["/etc", "OUTSIDE", ".."])
def test_a_link_in_the_place_of_everything(
    target: str, tree: Tree, exchange: Path, root: int, outside: Path
) -> None:
    tree.send(exchange)
    os.rename("behunt", "elsewhere", src_dir_fd=root, dst_dir_fd=root)
    os.symlink(str(outside) if target == "OUTSIDE" else target, "behunt", dir_fd=root)
    assert tree.read("canary") == b""
    tree.fetch(exchange)
    assert names(exchange) == set()


@pytest.mark.parametrize("name", [".told", ".output"])
@pytest.mark.parametrize("attack", [os.mkfifo, lambda path, dir_fd: os.mkdir(path, dir_fd=dir_fd)])
def test_what_is_told_by_no_file_is_nothing(
    name: str, attack: Callable[..., None], tree: Tree, exchange: Path, root: int
) -> None:
    tree.send(exchange)
    attack(f"behunt/{name}", dir_fd=root)
    assert tree.read(name) == b""


def test_what_is_read_has_an_end(tree: Tree, exchange: Path, root: int) -> None:
    tree.send(exchange)
    write(root, "behunt/.output", b"0123456789")
    assert tree.read(".output", 3, 4) == b"3456"
    assert tree.read(".output", 10) == b""
    assert tree.read(".output", 1 << 40) == b""


def test_a_hole_of_a_terabyte_is_too_much(tree: Tree, exchange: Path, root: int) -> None:
    tree.send(exchange)
    write(root, "behunt/out/hole", b"")
    with os.fdopen(os.open("behunt/out/hole", os.O_WRONLY, dir_fd=root), "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(HostError, match="the test left more than 1 MiB in /behunt"):
        tree.fetch(exchange, most=1 << 20)
    assert (exchange / "out/hole").stat().st_size <= 1 + (1 << 20)


def test_names_without_end_are_too_much(tree: Tree, exchange: Path, root: int) -> None:
    tree.send(exchange)
    for number in range(100):
        write(root, f"behunt/out/{number}", b"")
    with pytest.raises(HostError, match="the test left more than"):
        tree.fetch(exchange, most=100 * 512)


def test_files_are_laid_over_what_is_there(tree: Tree, root: int, outside: Path) -> None:
    write(root, "etc/fstab", b"old\n")
    os.symlink(outside / "canary", "etc/rc.local", dir_fd=root)
    tree.lay({"etc/fstab": "new\n", "etc/rc.local": "x\n", "boot/loader.conf.local": "y\n"})
    with os.fdopen(os.open("etc/fstab", os.O_RDONLY, dir_fd=root)) as file:
        assert file.read() == "new\n"
        assert os.fstat(file.fileno()).st_mode & 0o7777 == 0o644
    with os.fdopen(os.open("etc/rc.local", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=root)) as file:
        assert file.read() == "x\n"
    with os.fdopen(os.open("boot/loader.conf.local", os.O_RDONLY, dir_fd=root)) as file:
        assert file.read() == "y\n"


@pytest.mark.parametrize("where", ["etc", "etc/below"])
def test_files_are_never_laid_behind_a_link(
    where: str, tree: Tree, root: int, outside: Path
) -> None:
    if where == "etc":
        os.rmdir("etc", dir_fd=root)
    os.symlink(outside, where, dir_fd=root)
    with pytest.raises(HostError, match=f"cannot write /{where}/fstab into the clone"):
        tree.lay({f"{where}/fstab": "new\n"})
