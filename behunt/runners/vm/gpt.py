"""A disk image with a GUID partition table, made without any device.

Layout: UEFI specification, chapter 5. The boot code in the protective MBR is that of FreeBSD's
pmbr(8), which starts the partition of type freebsd-boot.
"""

from __future__ import annotations

import os
import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SECTOR = 512
_ENTRIES, _ENTRY = 128, 128  # number and bytes
_TABLE = _ENTRIES * _ENTRY // SECTOR  # sectors
_ALIGNED = 2048  # sectors: 1 MiB
_BOOT_CODE = 440  # bytes of an MBR that are a program
_EMPTY = bytes(1 << 20)
# The types of gpart(8).
TYPES = {
    "efi": "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
    "freebsd-boot": "83bd6b9d-7f41-11dc-be0b-001560b84f0f",
    "freebsd-ufs": "516e7cb6-6ecf-11d6-8ff8-00022d09712b",
}


@dataclass(frozen=True, slots=True)
class Partition:
    """`content` is a file that is copied into it; holes stay holes. It may be larger than that."""

    kind: str  # of TYPES
    label: str
    content: Path
    size: int = 0  # bytes; that of the content if 0

    @property
    def sectors(self) -> int:
        return -(-max(self.size, self.content.stat().st_size) // SECTOR)


def write(image: Path, partitions: Sequence[Partition], boot_code: bytes = b"") -> None:
    """Make `image` of the partitions, in this order. Its identifiers follow from their labels."""
    starts, total = _placed(partitions)
    front, back = _tables(partitions, starts, total, boot_code)
    with image.open("wb") as disk:
        disk.truncate(total * SECTOR)
        disk.write(front)
        disk.seek(total * SECTOR - len(back))
        disk.write(back)
        for partition, start in zip(partitions, starts, strict=True):
            copy_into(disk, partition.content, start * SECTOR)


def recipe() -> str:
    """What is the same for all images: another one makes another image."""
    one = [Partition("freebsd-ufs", "root", Path(os.devnull), SECTOR)]
    return b"".join(_tables(one, *_placed(one), b"")).hex()


def _placed(partitions: Sequence[Partition]) -> tuple[list[int], int]:
    """Where each begins, and how long the disk is, in sectors."""
    starts, following = [], _ALIGNED
    for partition in partitions:
        starts.append(following)
        following += -(-partition.sectors // _ALIGNED) * _ALIGNED
    return starts, following + _ALIGNED  # room for the second table


def _tables(
    partitions: Sequence[Partition], starts: Sequence[int], total: int, boot_code: bytes
) -> tuple[bytes, bytes]:
    """What the disk begins and ends with."""
    table = b"".join(map(_entry, partitions, starts)).ljust(_TABLE * SECTOR, b"\0")
    first = _header(table, total, here=1, other=total - 1, entries=2)
    second = _header(table, total, here=total - 1, other=1, entries=total - 1 - _TABLE)
    return _protective(total, boot_code) + first + table, table + second


def _protective(total: int, boot_code: bytes) -> bytes:
    """One partition of type 0xee over all of the disk."""
    whole = struct.pack(
        "<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(total - 1, 2**32 - 1)
    )
    return (boot_code[:_BOOT_CODE].ljust(446, b"\0") + whole).ljust(510, b"\0") + b"\x55\xaa"


def _header(table: bytes, total: int, *, here: int, other: int, entries: int) -> bytes:
    first, last = 2 + _TABLE, total - 2 - _TABLE
    identity = _identity("disk").bytes_le
    crc = zlib.crc32(table)
    size, revision = 92, 0x10000

    def packed(own: int) -> bytes:
        form = "<8sIIIIQQQQ16sQIII"
        return struct.pack(
            form,
            *(b"EFI PART", revision, size, own, 0, here, other, first, last),
            *(identity, entries, _ENTRIES, _ENTRY, crc),
        )

    return packed(zlib.crc32(packed(0))).ljust(SECTOR, b"\0")


def _entry(partition: Partition, start: int) -> bytes:
    kind = uuid.UUID(TYPES[partition.kind]).bytes_le
    name = partition.label.encode("utf-16-le")
    last = start + partition.sectors - 1
    return struct.pack(
        "<16s16sQQQ72s", kind, _identity(partition.label).bytes_le, start, last, 0, name
    )


def _identity(name: str) -> uuid.UUID:
    """The same for the same name: an image is made of nothing but what goes in."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"behunt {name}")


def copy_into(disk: BinaryIO, content: Path, offset: int) -> None:
    """Copy a file there, in bytes; where it is empty the disk stays as it is."""
    with content.open("rb") as file:
        while piece := file.read(len(_EMPTY)):
            if not _EMPTY.startswith(piece):
                disk.seek(offset)
                disk.write(piece)
            offset += len(piece)
