"""The disk that a NetBSD machine boots from, by the boot programs of its own release.

mbr(8) starts the active partition, of type 169; that begins with bootxx_ffsv1, which finds /boot
in the file system behind itself and tells it what installboot(8) has put into it: the console.
Source: usr.sbin/installboot/arch/i386.c, sys/arch/i386/stand/bootxx, sys/sys/bootblock.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from behunt.errors import InstallError
from behunt.model import Release
from behunt.runners.vm import disklabel, layers

_NAMES = ("usr/mdec/mbr", "usr/mdec/bootxx_ffsv1", "usr/mdec/boot")
_MAGIC = ord("x") << 24 | 0x86B << 12 | ord("m") << 4 | 1  # X86_BOOT_MAGIC_1
# In the third sector, behind a jump: that, and struct x86_boot_params, which begins with its own
# length and flags, and goes on with what is told here.
_AT = 2 * 512 + 4
_TOLD_AT = _AT + 3 * 4
_TIMEOUT, _COM0, _SPEED = 0, 1, 9600  # seconds; X86_BP_CONSDEV_COM0; that of getty(8) on it
PARAMETERS = struct.pack("<3I", _TIMEOUT, _COM0, _SPEED)


@dataclass(frozen=True, slots=True)
class Programs:
    """What a release has to boot from, as its files have it."""

    mbr: bytes
    primary: bytes
    secondary: bytes

    @property
    def files(self) -> Mapping[str, str]:
        """What belongs into the file system, in Latin-1."""
        return {"boot": self.secondary.decode("latin-1")}

    def write(self, root: Path, image: Path) -> None:
        """Make `image` of the file system `root` and what starts it."""
        disklabel.write(image, root, self.mbr, told(self.primary), disklabel.NETBSD)


def programs(release: Release, trees: Sequence[Path]) -> Programs:
    """The boot programs of a boot environment. Raises InstallError where they are not there."""
    paths = layers.found(trees, _NAMES)
    if not paths:
        names = " and ".join(f"/{name}" for name in _NAMES)
        raise InstallError(
            f"{release.id} has nothing to boot from: no {names}", "install its set base"
        )
    found = Programs(*(path.read_bytes() for path in paths))
    if problem := _problem(found.primary):
        raise InstallError(
            f"/{_NAMES[1]} of {release.id} {problem}",
            "install its own set base, as it was published",
        )
    return found


def told(primary: bytes) -> bytes:
    """A primary bootstrap that has been told which console to use, as installboot(8) -o does it.

    >>> from behunt.runners.vm.netbsd_disk import told
    >>> told(bytes(1060))[1040:1052].hex()
    '000000000100000080250000'
    """
    return primary[:_TOLD_AT] + PARAMETERS + primary[_TOLD_AT + len(PARAMETERS) :]


def _problem(primary: bytes) -> str:
    if len(primary) > disklabel.BOOT:
        return f"has {len(primary)} bytes, and there is room for {disklabel.BOOT}"
    if len(primary) < _TOLD_AT + len(PARAMETERS):
        return "is too short for a primary bootstrap"
    magic, length = struct.unpack_from("<2I", primary, _AT)
    if magic != _MAGIC or length < 2 * 4 + len(PARAMETERS):
        return "is no primary bootstrap that takes a console"
    return ""
