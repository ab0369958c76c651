"""Disks with an MBR and a BSD disklabel, looked at with programs that have readers of their own."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt.runners.vm import disklabel
from behunt.runners.vm.disklabel import DEDICATED, NETBSD
from behunt.runners.vm.gpt import SECTOR

MBR = b"mbr!" * 128
BOOT = b"boot1".ljust(510, b"\1") + b"\x55\xaa" + bytes(512) + b"boot2".ljust(14 * 512, b"\2")
CYLINDER = 63 * 64


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with (tmp_path / "root").open("wb") as root:
        root.truncate(5 << 20)
        root.seek(8192)
        root.write(b"a superblock")
        root.seek(3 << 20)
        root.write(b"a file")
    return tmp_path / "root"


@pytest.fixture
def image(tmp_path: Path, root: Path) -> Path:
    disklabel.write(tmp_path / "image", root, MBR, BOOT)
    return tmp_path / "image"


def told(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_slice_is_where_a_partition_is_looked_for(image: Path) -> None:
    assert "No errors detected" in told("sfdisk", "--verify", image)
    (line,) = [line for line in told("sfdisk", "--dump", image).splitlines() if "type=" in line]
    words = line.partition(": ")[2].replace(" ", "").split(",")
    assert words == ["start=63", f"size={3 * CYLINDER - 63}", "type=a5", "bootable"]
    assert image.stat().st_size == 3 * CYLINDER * SECTOR
    first, last = image.read_bytes()[447:450], image.read_bytes()[451:454]
    assert (first, last) == (bytes((1, 1, 0)), bytes((63, 63, 2)))  # head, sector, cylinder


def test_in_it_is_a_partition_that_counts_from_the_disk_s_beginning(image: Path) -> None:
    """Util-linux's libblkid, and its fdisk, which shows geometry and the raw partition, too."""
    columns = "NR,START,SECTORS,TYPE,SCHEME"
    shown = told("partx", "--raw", "--noheadings", "--output", columns, image)
    assert shown.splitlines() == [
        f"1 63 {3 * CYLINDER - 63} 0xa5 dos",
        "5 63 10240 0x7 freebsd",
    ]
    (image.parent / "slice").write_bytes(image.read_bytes()[63 * SECTOR :])
    shown = told("fdisk", "--list", "--type", "bsd", image.parent / "slice")
    assert "Geometry: 64 heads, 63 sectors/track" in shown
    rows = [line.split() for line in shown.splitlines() if line[:2] in {"a ", "c "}]
    assert [row[:4] for row in rows] == [
        ["a", "63", str(63 + 10240 - 1), "10240"],
        ["c", "63", str(3 * CYLINDER - 1), str(3 * CYLINDER - 63)],
    ]


def test_boot_programs_and_label_are_one_before_the_file_system(image: Path) -> None:
    made = image.read_bytes()
    assert made[:446] == MBR[:446]
    boot = made[63 * SECTOR :][: disklabel.BOOT]
    label = boot[SECTOR : SECTOR + 276]
    assert boot == disklabel.labelled(BOOT, label)
    assert boot[:SECTOR] == BOOT[:SECTOR]
    assert boot[2 * SECTOR :] == BOOT[2 * SECTOR :]
    assert made[63 * SECTOR + 8192 :].startswith(b"a superblock")
    assert made[63 * SECTOR + (3 << 20) :].startswith(b"a file")


def test_holes_stay_holes(image: Path) -> None:
    assert image.stat().st_blocks * 512 <= 3 << 20


@pytest.mark.parametrize("kind", [disklabel.FREEBSD, NETBSD])
def test_the_recipe_is_all_but_the_contents(tmp_path: Path, kind: disklabel.Kind) -> None:
    (tmp_path / "root").write_bytes(b"\1")
    disklabel.write(tmp_path / "image", tmp_path / "root", b"", b"", kind)
    image = (tmp_path / "image").read_bytes()
    start = kind.start * SECTOR
    made = image[:SECTOR] + image[start : start + disklabel.BOOT]
    assert bytes.fromhex(disklabel.recipe(kind)) == made


@given(st.integers(1, 1023), st.integers(1, 1 << 20))
def test_each_label_is_one_to_a_kernel(cylinders: int, root: int) -> None:
    """What it looks at before it believes a label (fixlabel of sys/kern/subr_diskslice.c)."""
    size = cylinders * CYLINDER - 63
    label = disklabel.label(63, size, min(root, size))
    assert len(label) == 276
    magic, magic2 = struct.unpack_from("<I", label)[0], struct.unpack_from("<I", label, 132)[0]
    assert magic == magic2 == 0x82564557
    assert disklabel.checksum(label) == 0
    assert struct.unpack_from("<IIII", label, 40)[:3] == (512, 63, 64)
    assert struct.unpack_from("<II", label, 56) == (CYLINDER, size)
    assert struct.unpack_from("<H", label, 138) == (8,)
    raw = struct.unpack_from("<II", label, 148 + 2 * 16)
    assert raw == (size, 63)


def test_a_netbsd_finds_its_slice_and_the_whole_disk(tmp_path: Path, root: Path) -> None:
    """Looked for as its kernel does (sys/kern/subr_disk_mbr.c): magic, count, checksum."""
    disklabel.write(tmp_path / "image", root, MBR, BOOT, NETBSD)
    columns = "NR,START,SECTORS,TYPE,SCHEME"
    shown = told("partx", "--raw", "--noheadings", "--output", columns, tmp_path / "image")
    assert shown.splitlines() == [
        f"1 63 {3 * CYLINDER - 63} 0xa9 dos",
        "5 63 10240 0x7 netbsd",
    ]
    label = (tmp_path / "image").read_bytes()[64 * SECTOR :][:404]
    assert struct.unpack_from("<I", label)[0] == struct.unpack_from("<I", label, 132)[0]
    assert struct.unpack_from("<H", label, 138) == (16,)
    assert disklabel.checksum(label) == 0
    assert struct.unpack_from("<I", label, 60) == (3 * CYLINDER,)
    size, offset = 3 * CYLINDER, 63
    parts = [struct.unpack_from("<IIIB", label, 148 + 16 * n) for n in range(16)]
    assert parts[:4] == [(10240, 63, 0, 7), (0,) * 4, (size - offset, 63, 0, 0), (size, 0, 0, 0)]
    assert set(parts[4:]) == {(0, 0, 0, 0)}


def test_a_dedicated_disk_is_its_boot_program_s_from_the_first_sector(
    tmp_path: Path, root: Path
) -> None:
    disklabel.write(tmp_path / "image", root, b"", BOOT, DEDICATED)
    made = (tmp_path / "image").read_bytes()
    assert made[:SECTOR] == BOOT[:SECTOR]
    assert made[2 * SECTOR : disklabel.BOOT] == BOOT[2 * SECTOR :]
    assert made[8192:].startswith(b"a superblock")
    shown = told("fdisk", "--list", "--type", "bsd", tmp_path / "image")
    rows = [line.split() for line in shown.splitlines() if line[:2] in {"a ", "c "}]
    assert [row[:4] for row in rows] == [
        ["a", "0", "10239", "10240"],
        ["c", "0", str(3 * CYLINDER - 1), str(3 * CYLINDER)],
    ]


def test_what_a_bios_cannot_reach_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "root").open("wb") as root:
        root.truncate(1024 * CYLINDER * SECTOR)
    with pytest.raises(ValueError, match="more than 1024 cylinders"):
        disklabel.write(tmp_path / "image", tmp_path / "root", MBR, BOOT)
    assert not (tmp_path / "image").exists()


def test_boot_programs_that_would_cover_the_file_system_are_refused() -> None:
    with pytest.raises(ValueError, match="8193 bytes are larger than 8192"):
        disklabel.labelled(BOOT + b"\0", bytes(276))
