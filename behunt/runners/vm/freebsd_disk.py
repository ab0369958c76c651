"""The disk that a FreeBSD machine boots from, by the boot programs of its own release.

From 7.1 on it has a GUID partition table, and pmbr and gptboot(8) start it from a BIOS, or
loader.efi(8) from UEFI. Before there was no gptboot: mbr and boot1, boot2 start it from a slice
with a BSD disklabel (boot(8)), as sysinstall(8) installed it. Before 4.0 no set has an mbr: boot1
and boot2 have the disk to themselves, as `disklabel -B -w -r wd0 auto` gave it to them, and the
kernel takes what it calls its compatible slice (sys/i386/i386/autoconf.c).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from behunt.errors import InstallError
from behunt.families.freebsd import version_of
from behunt.model import Release
from behunt.runners.vm import disklabel, fat, firmware, gpt
from behunt.runners.vm.layers import found
from behunt.runners.vm.machine import Firmware, Hardware

_MBR_SINCE, _GPT = (4, 0), (7, 1)  # the first with mbr, and with pmbr and gptboot
_BIOS, _EFI = ("boot/pmbr", "boot/gptboot", "boot/loader"), ("boot/loader.efi",)
_MBR = ("boot/mbr", "boot/loader")
# The first is the second, since 5.0; the third is that of biosboot, up to 3.x.
_BOOT = (
    ("boot/boot",),
    ("boot/boot1", "boot/boot2"),
    ("usr/mdec/boot1", "usr/mdec/boot2"),
)


def numbers(version: str) -> tuple[int, ...]:
    """A name without numbers is the latest."""
    return version_of(version) or (1 << 30,)


def sliced(version: str) -> bool:
    """Whether its disk has an MBR, and a disklabel in a slice."""
    return numbers(version) < _GPT


def dedicated(version: str) -> bool:
    """Whether its disk has neither of them."""
    return numbers(version) < _MBR_SINCE


def root_of(hardware: Hardware, version: str) -> str:
    """What the kernel calls the root's partition; wd(4) has a block device beside the raw one."""
    if dedicated(version):
        return hardware.device_of(0).replace("/dev/r", "/dev/", 1) + "a"
    return hardware.device_of(0) + ("s1a" if sliced(version) else "p1")


def firmware_of(release: Release, trees: Sequence[Path], hardware: Hardware) -> Firmware:
    """The one that the era asks for, where there is what it takes, or else the other one.

    Raises InstallError where neither can start it.
    """
    possible = set()
    if _of_bios(release.version, trees):
        possible.add(Firmware.BIOS)
    by_uefi = not sliced(release.version) and found(trees, _EFI)
    if by_uefi and hardware.arch == "amd64" and firmware.found():
        possible.add(Firmware.UEFI)
    if not possible:
        raise InstallError(
            f"{release.id} has nothing to boot from: no {_and(_needed(release.version))}"
            + (f", and {_and(_EFI)} needs a UEFI firmware" if by_uefi else ""),
            "install its set base; for loader.efi(8) install OVMF too: apt install ovmf",
        )
    return hardware.firmware if hardware.firmware in possible else possible.pop()


def write(release: Release, trees: Sequence[Path], root: Path, image: Path) -> None:
    """Make `image` of the file system `root` and what starts it. Raises InstallError."""
    programs = [path.read_bytes() for path in _of_bios(release.version, trees)]
    if not sliced(release.version):
        partitions = [gpt.Partition("freebsd-ufs", "root", root), *_loaders(trees, root.parent)]
        gpt.write(image, partitions, programs[0] if programs else b"")
        return
    kind = disklabel.DEDICATED if dedicated(release.version) else disklabel.FREEBSD
    mbr = b"" if kind is disklabel.DEDICATED else programs.pop(0)
    boot = b"".join(programs)
    if problem := _problem(boot):
        raise InstallError(
            f"the boot programs of {release.id} {problem}",
            "install its own set base, as it was published",
        )
    disklabel.write(image, root, mbr, boot, kind)


def _problem(boot: bytes) -> str:
    if len(boot) > disklabel.BOOT:
        return f"have {len(boot)} bytes, and there is room for {disklabel.BOOT}"
    if b"boot.config" not in boot:  # biosboot came to it in 1996 or 1997
        return "read no boot.config, so nothing tells them to use a serial port"
    return ""


def _of_bios(version: str, trees: Sequence[Path]) -> list[Path]:
    """What a BIOS starts it by, and what follows; nothing unless all that it takes is there."""
    if not sliced(version):
        return found(trees, _BIOS)
    boot = next((paths for names in _BOOT if (paths := found(trees, names))), [])
    if dedicated(version) or not boot:
        return boot
    mbr = found(trees, _MBR)
    return [mbr[0], *boot] if mbr else []


def _needed(version: str) -> Sequence[str]:
    if dedicated(version):
        return _BOOT[2]
    return [*_MBR, *_BOOT[0]] if sliced(version) else _BIOS


def _loaders(trees: Sequence[Path], scratch: Path) -> Iterator[gpt.Partition]:
    """Partitions with the boot programs: those that there are."""
    if programs := found(trees, _BIOS):
        yield gpt.Partition("freebsd-boot", "boot", programs[1])
    if programs := found(trees, _EFI):
        volume = scratch / "efi.fat"
        fat.write(volume, {"EFI": {"BOOT": {"BOOTX64.EFI": programs[0].read_bytes()}}})
        yield gpt.Partition("efi", "efi", volume)


def _and(names: Sequence[str]) -> str:
    return " and ".join(f"/{name}" for name in names)
