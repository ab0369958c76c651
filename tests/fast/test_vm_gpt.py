"""Disk images with a partition table, looked at with sfdisk."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from behunt.runners.vm import gpt
from behunt.runners.vm.gpt import Partition


def table(image: Path) -> dict[str, Any]:
    verified = ["sfdisk", "--verify", str(image)]
    assert b"No errors detected" in subprocess.run(verified, check=True, capture_output=True).stdout
    told = subprocess.run(["sfdisk", "--json", str(image)], check=True, capture_output=True)
    found: dict[str, Any] = json.loads(told.stdout)["partitiontable"]
    return found


@pytest.fixture
def contents(tmp_path: Path) -> list[Partition]:
    (tmp_path / "boot").write_bytes(b"boot" * 4000)
    with (tmp_path / "root").open("wb") as root:
        root.truncate(5 << 20)
        root.seek(3 << 20)
        root.write(b"root")
    return [
        Partition("freebsd-ufs", "root", tmp_path / "root"),
        Partition("freebsd-boot", "boot", tmp_path / "boot"),
    ]


def test_the_table_is_in_order(tmp_path: Path, contents: list[Partition]) -> None:
    gpt.write(tmp_path / "image", contents, b"code" * 110)
    found = table(tmp_path / "image")
    assert found["label"] == "gpt"
    assert [
        (part["name"], part["type"].lower(), part["start"], part["size"])
        for part in found["partitions"]
    ] == [
        ("root", gpt.TYPES["freebsd-ufs"], 2048, 5 << 11),
        ("boot", gpt.TYPES["freebsd-boot"], 6 << 11, 32),
    ]


def test_the_contents_are_where_the_table_says(tmp_path: Path, contents: list[Partition]) -> None:
    gpt.write(tmp_path / "image", contents)
    with (tmp_path / "image").open("rb") as image:
        for part, partition in zip(table(tmp_path / "image")["partitions"], contents, strict=True):
            image.seek(part["start"] * gpt.SECTOR)
            content = partition.content.read_bytes()
            assert image.read(len(content)) == content


def test_the_recipe_is_all_but_the_contents(tmp_path: Path) -> None:
    (tmp_path / "root").write_bytes(b"root")
    gpt.write(tmp_path / "image", [Partition("freebsd-ufs", "root", tmp_path / "root")])
    image = (tmp_path / "image").read_bytes()
    front, _, back = image.partition(b"root".ljust(1 << 20, b"\0"))
    assert bytes.fromhex(gpt.recipe()).replace(b"\0", b"") == (front + back).replace(b"\0", b"")


def test_holes_stay_holes(tmp_path: Path, contents: list[Partition]) -> None:
    gpt.write(tmp_path / "image", contents)
    status = (tmp_path / "image").stat()
    assert status.st_size == 8 << 20
    assert status.st_blocks * 512 <= 2 << 20


def test_the_boot_code_leaves_the_table_alone(tmp_path: Path, contents: list[Partition]) -> None:
    """What is behind the 440 bytes of a program belongs to the disk."""
    gpt.write(tmp_path / "image", contents, b"\x90" * 512)
    sector = (tmp_path / "image").read_bytes()[:512]
    assert sector[:440] == b"\x90" * 440
    assert sector[440:446] == bytes(6)
    assert sector[450] == 0xEE
    assert sector[510:] == b"\x55\xaa"
    table(tmp_path / "image")


def test_a_partition_may_be_larger_than_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    gpt.write(tmp_path / "image", [Partition("efi", "efi", tmp_path / "a", 3 << 20)])
    (part,) = table(tmp_path / "image")["partitions"]
    assert part["size"] == 3 << 11


def test_images_of_the_same_are_the_same(tmp_path: Path, contents: list[Partition]) -> None:
    for name in ("one", "two"):
        gpt.write(tmp_path / name, contents, b"code")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
