"""A disk image as a PC of the 1990s had it: an MBR, one slice, a BSD disklabel in that.

A dedicated disk has no MBR: all of it is what else a slice is, and its first boot program brings a
table of partitions that says so (sys/i386/boot/biosboot/start.S of FreeBSD 2 and 3).

Layout: sys/sys/diskmbr.h, sys/sys/bootblock.h and sys/sys/disklabel.h of FreeBSD 4 to 7 and of
NetBSD, disklabel(5), boot(8). The slice begins with the boot programs; the label is at the
beginning of its second sector, where they leave room, and counts from the beginning of the disk:
sys/kern/subr_diskslice.c refuses one whose raw partition does not begin where its slice does.
Partition `a` is all of the slice's beginning, boot programs and all: UFS leaves its first 8 KiB to
them, and `c` is the slice.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import reduce
from operator import xor
from pathlib import Path

from behunt.runners.vm.gpt import SECTOR, copy_into

BOOT = 16 * SECTOR  # bytes: one sector, the one with the label, and the others
# What a BIOS makes of a disk of 1 to 2 GB; QEMU takes it from the table of partitions. It must
# end with a cylinder, below the 1024th.
_TRACK, _HEADS = 63, 64  # sectors, tracks
_CYLINDER = _TRACK * _HEADS
_CYLINDERS = 1024
_ACTIVE = 0x80
_BOOT_CODE = 446  # bytes of an MBR
_MAGIC = 0x82564557
_IDE, _UFS, _UNUSED = 5, 7, 0  # DTYPE_ESDI, FS_BSDFFS, FS_UNUSED
_SLICE = 2  # partition c


@dataclass(frozen=True, slots=True)
class Kind:
    """Whose disk it is: the type of its slice, and how many partitions its label has.

    The slice begins at sector `start`. Partition `whole` is the disk from its first to its last
    sector, where there is such a one.
    """

    slice: int
    partitions: int
    start: int = _TRACK
    whole: int | None = None


FREEBSD = Kind(165, 8)
DEDICATED = Kind(165, 8, start=0)
NETBSD = Kind(169, 16, whole=3)  # sys/arch/i386/include/disklabel.h: RAW_PART


def write(image: Path, root: Path, mbr: bytes, boot: bytes, kind: Kind = FREEBSD) -> None:
    """Make `image` of a file system and boot programs. `boot` lies at the slice's beginning.

    A dedicated disk has no `mbr`. Raises ValueError for what is too large.
    """
    start = kind.start
    sectors = -(-root.stat().st_size // SECTOR)
    total = -(-(start + sectors) // _CYLINDER) * _CYLINDER
    if total > _CYLINDERS * _CYLINDER:
        raise ValueError(f"{total} sectors are more than {_CYLINDERS} cylinders")
    with image.open("wb") as disk:
        disk.truncate(total * SECTOR)
        disk.write(_record(mbr, total, kind))
        copy_into(disk, root, start * SECTOR)
        disk.seek(start * SECTOR)
        disk.write(labelled(boot, label(start, total - start, sectors, kind)))


def label(start: int, size: int, root: int, kind: Kind = FREEBSD) -> bytes:
    """The label of a slice, in sectors: `start` of the slice, `size` of it, `root` of its `a`.

    The slice is the end of its disk.

    >>> from behunt.runners.vm.disklabel import label
    >>> made = label(63, 4032 * 10 - 63, 20_000)
    >>> len(made), made[:4].hex(), made[148:156].hex()
    (276, '57455682', '204e00003f000000')
    """
    partitions = [(0, 0, _UNUSED)] * kind.partitions
    partitions[0] = (root, start, _UFS)
    partitions[_SLICE] = (size, start, _UNUSED)
    if kind.whole is not None:
        size += start
        partitions[kind.whole] = (size, 0, _UNUSED)
    told = [struct.pack("<IIIBBH", length, at, 0, use, 0, 0) for length, at, use in partitions]

    def packed(own: int) -> bytes:
        head = struct.pack(
            "<IHH16s16s6I2HI4H3I20s20sI2H2I",
            *(_MAGIC, _IDE, 0, b"", b""),
            *(SECTOR, _TRACK, _HEADS, size // _CYLINDER, _CYLINDER, size),
            *(0, 0, 0, 3600, 1, 0, 0),  # no spares; revolutions a minute, interleave
            *(0, 0, 0, b"", b""),
            *(_MAGIC, own, kind.partitions, BOOT, BOOT),  # boot area, the most of a superblock
        )
        return head + b"".join(told)

    return packed(checksum(packed(0)))


def recipe(kind: Kind) -> str:
    """What is the same for all of this kind: another one makes another image."""
    size = _CYLINDER - kind.start
    return (_record(b"", _CYLINDER, kind) + labelled(b"", label(kind.start, size, 1, kind))).hex()


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


def _record(mbr: bytes, total: int, kind: Kind) -> bytes:
    """The first sector. A release's own mbr(8) comes with a table of its own, all zeros."""
    entry = struct.pack(
        "<B3sB3sII",
        *(_ACTIVE, _address(kind.start), kind.slice, _address(total - 1)),
        *(kind.start, total - kind.start),
    )
    return (mbr[:_BOOT_CODE].ljust(_BOOT_CODE, b"\0") + entry).ljust(510, b"\0") + b"\x55\xaa"


def _address(sector: int) -> bytes:
    """Head, sector (from 1) and cylinder, whose upper two bits are with the sector's."""
    cylinder, rest = divmod(sector, _CYLINDER)
    head, track = divmod(rest, _TRACK)
    return bytes((head, cylinder >> 8 << 6 | track + 1, cylinder & 0xFF))
