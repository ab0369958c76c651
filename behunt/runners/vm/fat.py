"""A FAT16 volume with a few files, made without any device: what a UEFI firmware boots from.

Layout: Microsoft's FAT specification 1.03; names are 8.3. UEFI specification, 13.3: a firmware
reads FAT12, 16 and 32, and starts /EFI/BOOT/BOOTX64.EFI of a disk that nothing was installed on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

_SECTOR = 512
_CLUSTER = 4 * _SECTOR
_CLUSTERS = 8192  # between 4085 and 65524 it is FAT16
_TABLE = -(-2 * (_CLUSTERS + 2) // _SECTOR)  # sectors
_ENTRY = 32
_ROOT_ENTRIES = 512
_DATA = (1 + _TABLE + _ROOT_ENTRIES * _ENTRY // _SECTOR) * _SECTOR  # where cluster 2 begins
_SIZE = _DATA + _CLUSTERS * _CLUSTER
_END = 0xFFFF
_DIRECTORY, _ARCHIVE, _LABEL = 0x10, 0x20, 0x08
_DATE = (2000 - 1980) << 9 | 1 << 5 | 1  # the same for all: an image is made of what goes in

Tree = Mapping[str, "bytes | Tree"]


def write(image: Path, tree: Tree) -> None:
    """Make `image` with the files and directories of `tree`, whose names are 8.3 in capitals.

    Raises ValueError for what does not fit.
    """
    volume = _Volume()
    label = _entry("BEHUNT", _LABEL, 0, 0)
    root = label + b"".join(volume.entries(tree, parent=0))
    with image.open("wb") as file:
        file.truncate(_SIZE)
        file.write(_boot_sector())
        file.write(struct.pack(f"<{len(volume.table)}H", *volume.table))
        file.seek(_DATA - _ROOT_ENTRIES * _ENTRY)
        file.write(root)
        for cluster, content in volume.contents.items():
            file.seek(_DATA + (cluster - 2) * _CLUSTER)
            file.write(content)


class _Volume:
    """Clusters as they are taken, one file behind the other."""

    def __init__(self) -> None:
        self.table = [0xFFF8, _END]
        self.contents: dict[int, bytes] = {}

    def entries(self, tree: Tree, parent: int) -> Iterator[bytes]:
        for name, content in tree.items():
            if isinstance(content, bytes):
                first = self._taken(len(content), content) if content else 0
                yield _entry(name, _ARCHIVE, first, len(content))
            else:
                own = self._taken((len(content) + 2) * _ENTRY)
                dots = _entry(".", _DIRECTORY, own, 0) + _entry("..", _DIRECTORY, parent, 0)
                self.contents[own] = dots + b"".join(self.entries(content, own))
                yield _entry(name, _DIRECTORY, own, 0)

    def _taken(self, size: int, content: bytes = b"") -> int:
        """The first of the clusters that hold as much."""
        first, count = len(self.table), max(1, -(-size // _CLUSTER))
        if first + count > _CLUSTERS + 2:
            raise ValueError(f"more than {_SIZE >> 20} MiB do not fit on an EFI system partition")
        self.table += [*range(first + 1, first + count), _END]
        self.contents[first] = content
        return first


def _boot_sector() -> bytes:
    sectors = _SIZE // _SECTOR
    parameters = struct.pack(
        "<3s8sHBHBHHBHHHIIBBBI11s8s",
        *(b"\xeb\x3c\x90", b"BEHUNT  ", _SECTOR, _CLUSTER // _SECTOR, 1, 1, _ROOT_ENTRIES),
        *(sectors if sectors <= _END else 0, 0xF8, _TABLE, 63, 255, 0, sectors),
        *(0x80, 0, 0x29, 0, _padded("BEHUNT", 11), b"FAT16   "),
    )
    return parameters.ljust(510, b"\0") + b"\x55\xaa"


def _entry(name: str, attributes: int, cluster: int, size: int) -> bytes:
    stem, _, suffix = name.rpartition(".") if name.strip(".") else (name, "", "")
    if not stem:
        stem, suffix = name, ""
    packed = _padded(stem, 8) + _padded(suffix, 3)
    times = (0, 0, _DATE, _DATE, 0, 0, _DATE)
    return struct.pack("<11sBBBHHHHHHHI", packed, attributes, 0, *times, cluster, size)


def _padded(name: str, length: int) -> bytes:
    if len(name) > length or name != name.upper():
        raise ValueError(f"{name} is no name of a file of old")
    return name.encode("ascii").ljust(length)
