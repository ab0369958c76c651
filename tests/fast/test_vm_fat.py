"""The volume that a UEFI firmware boots from, looked at with fsck.vfat and GRUB."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from behunt.runners.vm import fat

CONTENT = bytes(range(256)) * 2600  # more than a few clusters


def test_it_is_as_it_should_be(tmp_path: Path) -> None:
    tree: fat.Tree = {
        "EFI": {"BOOT": {"BOOTX64.EFI": CONTENT, "EMPTY": b""}, "FREEBSD": {}},
        "A.TXT": b"a",
    }
    fat.write(tmp_path / "volume", tree)
    command = ["fsck.vfat", "-n", "-v", str(tmp_path / "volume")]
    checked = subprocess.run(command, check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert "16 bit entries" in checked.stdout


@pytest.mark.parametrize("size", [1, 2047, 2048, 2049, len(CONTENT)])
def test_another_reader_finds_the_file(tmp_path: Path, size: int) -> None:
    fat.write(tmp_path / "volume", {"EFI": {"BOOT": {"BOOTX64.EFI": CONTENT[:size]}}})
    (tmp_path / "wanted").write_bytes(CONTENT[:size])
    found = ["(loop0)/efi/boot/bootx64.efi", str(tmp_path / "wanted")]
    subprocess.run(["grub-fstest", str(tmp_path / "volume"), "cmp", *found], check=True)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="16 MiB"):
        fat.write(tmp_path / "volume", {"LARGE": bytes(17 << 20)})
    for name in ("lower", "TOOLONGNAME", "A.LONG"):
        with pytest.raises(ValueError, match="no name of a file of old"):
            fat.write(tmp_path / "volume", {name: b""})
