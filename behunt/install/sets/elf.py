"""What processor an ELF program is for, by its header (elf(5))."""

from __future__ import annotations

_LITTLE = 1  # ELFDATA2LSB
_MACHINES = {3: "i386", 62: "amd64", 183: "arm64"}  # e_machine: as the catalogue names them
ARCHES = frozenset(_MACHINES.values())
SIZE = 20  # bytes of a header that are looked at


def arch_of(header: bytes) -> str:
    """The architecture; empty for a.out, for scripts, and for processors not named above."""
    if len(header) < SIZE or not header.startswith(b"\x7fELF"):
        return ""
    low, high = (18, 19) if header[5] == _LITTLE else (19, 18)
    return _MACHINES.get(header[low] + (header[high] << 8), "")
