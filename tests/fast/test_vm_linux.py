"""What a Linux machine boots from: its kernel, its modules, its initial RAM disk."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

import pytest
from vm_hardware import MODERN

from behunt.errors import InstallError
from behunt.runners.vm import made
from behunt.runners.vm.initrd import initrd, needed
from behunt.runners.vm.linux import installed


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """ext4 needs jbd2, which needs crc; both ends of virtio are spelt with a dash and without."""
    place = tmp_path / "6.1.0"
    (place / "kernel/fs").mkdir(parents=True)
    depends = {"ext4": "jbd2", "jbd2": "crc16,builtin-part", "crc16": "", "virtio_blk": "virtio-x"}
    for name, others in {**depends, "virtio-x": ""}.items():
        content = b"\x7fELF..\0license=GPL\0depends=" + others.encode() + b"\0name=x\0"
        (place / f"kernel/fs/{name}.ko.xz").write_bytes(lzma.compress(content))
    (place / "modules.builtin").write_text("kernel/lib/builtin-part.ko\n")
    return place


def test_modules_come_behind_what_they_depend_on(modules: Path) -> None:
    found = needed(modules, ["ext4", "virtio_blk"], welcome=["not_there"])
    assert list(found) == ["crc16", "jbd2", "ext4", "virtio_x", "virtio_blk"]
    assert all(content.startswith(b"\x7fELF") for content in found.values())


def test_a_kernel_without_a_needed_module_is_refused(modules: Path) -> None:
    with pytest.raises(InstallError, match=r"the kernel 6\.1\.0 has no ahci"):
        needed(modules, ["ahci"])


def test_the_archive_is_what_cpio_reads(tmp_path: Path) -> None:
    image = initrd(b"program", "#!/bin/sh\n", {"b": b"1", "a": b"22"}, {"job": b"echo\n"})
    (tmp_path / "initrd").write_bytes(image)
    unpack = ["busybox", "cpio", "-i", "-d", "-m"]
    with (tmp_path / "initrd").open("rb") as archive:
        subprocess.run(unpack, stdin=archive, cwd=tmp_path, check=True, capture_output=True)
    assert sorted(path.name for path in (tmp_path / "modules").iterdir()) == ["00-b.ko", "01-a.ko"]
    assert (tmp_path / "modules/01-a.ko").read_bytes() == b"22"
    assert (tmp_path / "init").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "job").read_text() == "echo\n"


def kernel(tree: Path, version: str, image: str) -> None:
    (tree / "usr/lib/modules" / version).mkdir(parents=True)
    (tree / image).parent.mkdir(parents=True, exist_ok=True)
    (tree / image).write_text(version)


def test_the_newest_installed_kernel_is_taken(tmp_path: Path) -> None:
    assert installed([tmp_path]) is None
    kernel(tmp_path, "6.1.0-9-amd64", "boot/vmlinuz-6.1.0-9-amd64")
    kernel(tmp_path, "6.1.0-10-amd64", "usr/lib/modules/6.1.0-10-amd64/vmlinuz")
    found = installed([tmp_path])
    assert found is not None
    assert found.version == "6.1.0-10-amd64"


def test_a_kernel_outside_of_the_tree_is_none(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "vmlinuz"
    kernel(tree, "6.1", "usr/file")
    outside.touch()
    (tree / "boot").mkdir()
    (tree / "boot/vmlinuz-6.1").symlink_to(outside)
    assert installed([tree]) is None


def test_what_was_made_is_read_back(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        made.read(tmp_path)
    what = made.Made("debian", "6.1 (6.1.1-2)", MODERN)
    what.write(tmp_path)
    assert made.read(tmp_path) == what
