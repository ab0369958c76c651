"""A disk image as a PC of the 1990s had it: an MBR, one slice, a BSD disklabel in that.

Layout: sys/sys/diskmbr.h and sys/sys/disklabel.h of FreeBSD 4 to 7, disklabel(5), boot(8). The
slice begins with boot1 and boot2. The label is at the beginning of its second sector, where boot2
leaves room, and counts from the beginning of the disk: sys/kern/subr_diskslice.c refuses one
whose raw partition does not begin where its slice does. Partition `a` is all of the slice's
beginning, boot programs and all: UFS leaves its first 8 KiB to them.
"""

from __future__ import annotations

import struct
from functools import reduce
from operator import xor
from pathlib import Path

from behunt.runners.vm.gpt import SECTOR, copy_into

BOOT = 16 * SECTOR  # bytes: boot1 in one sector, the label and boot2 in the others
# What a BIOS makes of a disk of 1 to 2 GB; QEMU takes it from the table of partitions. It must
# end with a cylinder, below the 1024th.
_TRACK, _HEADS = 63, 64  # sectors, tracks
_CYLINDER = _TRACK * _HEADS
_CYLINDERS = 1024
_START = _TRACK  # of the slice: the second track
_ACTIVE, _FREEBSD = 0x80, 165
_BOOT_CODE = 446  # bytes of an MBR
_MAGIC = 0x82564557
_IDE, _UFS, _UNUSED = 3, 7, 0  # DTYPE_ESDI, FS_BSDFFS, FS_UNUSED
_PARTITIONS, _RAW = 8, 2


def write(image: Path, root: Path, mbr: bytes, boot: bytes) -> None:
    """Make `image` of a file system and boot programs. `boot` is boot1 and boot2, as /boot/boot.

    Raises ValueError for what is too large.
    """
    sectors = -(-root.stat().st_size // SECTOR)
    total = -(-(_START + sectors) // _CYLINDER) * _CYLINDER
    if total > _CYLINDERS * _CYLINDER:
        raise ValueError(f"{total} sectors are more than {_CYLINDERS} cylinders")
    with image.open("wb") as disk:
        disk.truncate(total * SECTOR)
        disk.write(_record(mbr, total))
        copy_into(disk, root, _START * SECTOR)
        disk.seek(_START * SECTOR)
        disk.write(labelled(boot, label(_START, total - _START, sectors)))


def label(start: int, size: int, root: int) -> bytes:
    """The label of a slice, in sectors: `start` of the slice, `size` of it, `root` of its `a`.

    >>> from behunt.runners.vm.disklabel import label
    >>> made = label(63, 4032 * 10 - 63, 20_000)
    >>> len(made), made[:4].hex(), made[148:156].hex()
    (276, '57455682', '204e00003f000000')
    """
    partitions = [(0, 0, _UNUSED)] * _PARTITIONS
    partitions[0] = (root, start, _UFS)
    partitions[_RAW] = (size, start, _UNUSED)
    told = [struct.pack("<IIIBBH", size, at, 0, kind, 0, 0) for size, at, kind in partitions]

    def packed(own: int) -> bytes:
        head = struct.pack(
            "<IHH16s16s6I2HI4H3I20s20sI2H2I",
            *(_MAGIC, _IDE, 0, b"", b""),
            *(SECTOR, _TRACK, _HEADS, size // _CYLINDER, _CYLINDER, size),
            *(0, 0, 0, 3600, 1, 0, 0),  # no spares; revolutions a minute, interleave
            *(0, 0, 0, b"", b""),
            *(_MAGIC, own, _PARTITIONS, BOOT, BOOT),  # boot area, and the most of a superblock
        )
        return head + b"".join(told)

    return packed(checksum(packed(0)))


def checksum(label: bytes) -> int:
    """Of all its 16-bit words; 0 for a label that has its own.

    >>> from behunt.runners.vm.disklabel import checksum, label
    >>> checksum(label(63, 4032 - 63, 2000))
    0
    """
    words: tuple[int, ...] = struct.unpack(f"<{len(label) // 2}H", label)
    return reduce(xor, words)


def labelled(boot: bytes, label: bytes) -> bytes:
    """Boot programs with the label where it belongs, as disklabel(8) -B joins them."""
    if len(boot) > BOOT:
        raise ValueError(f"boot programs of {len(boot)} bytes are larger than {BOOT}")
    boot = boot.ljust(BOOT, b"\0")
    return boot[:SECTOR] + label + boot[SECTOR + len(label) :]


def _record(mbr: bytes, total: int) -> bytes:
    """The first sector. A release's own mbr(8) comes with a table of its own, all zeros."""
    entry = struct.pack(
        "<B3sB3sII",
        *(_ACTIVE, _address(_START), _FREEBSD, _address(total - 1)),
        *(_START, total - _START),
    )
    return (mbr[:_BOOT_CODE].ljust(_BOOT_CODE, b"\0") + entry).ljust(510, b"\0") + b"\x55\xaa"


def _address(sector: int) -> bytes:
    """Head, sector (from 1) and cylinder, whose upper two bits are with the sector's."""
    cylinder, rest = divmod(sector, _CYLINDER)
    head, track = divmod(rest, _TRACK)
    return bytes((head, cylinder >> 8 << 6 | track + 1, cylinder & 0xFF))
