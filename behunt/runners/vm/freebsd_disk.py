"""The disk that a FreeBSD machine boots from, by the boot programs of its own release.

From 7.1 on it has a GUID partition table, and pmbr and gptboot(8) start it from a BIOS, or
loader.efi(8) from UEFI. Before there was no gptboot: mbr and boot1, boot2 start it from a slice
with a BSD disklabel (boot(8)), as sysinstall(8) installed it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from behunt.errors import InstallError
from behunt.families.freebsd import version_of
from behunt.model import Release
from behunt.runners.vm import disklabel, fat, firmware, gpt
from behunt.runners.vm.machine import Firmware, Hardware

_GPT = (7, 1)  # the first with pmbr and gptboot
_BIOS, _EFI = ("boot/pmbr", "boot/gptboot", "boot/loader"), ("boot/loader.efi",)
_MBR = ("boot/mbr", "boot/loader")
_BOOT = (("boot/boot",), ("boot/boot1", "boot/boot2"))  # the former is the latter, since 5.0


def numbers(version: str) -> tuple[int, ...]:
    """A name without numbers is the latest."""
    return version_of(version) or (1 << 30,)


def sliced(version: str) -> bool:
    """Whether its disk has an MBR, and a disklabel in a slice."""
    return numbers(version) < _GPT


def root_of(hardware: Hardware, version: str) -> str:
    """What the kernel calls the root's partition."""
    return hardware.device_of(0) + ("s1a" if sliced(version) else "p1")


def firmware_of(release: Release, trees: Sequence[Path], hardware: Hardware) -> Firmware:
    """The one that the era asks for, where there is what it takes, or else the other one.

    Raises InstallError where neither can start it.
    """
    by_mbr = sliced(release.version)
    programs = [*_MBR, *_BOOT[0]] if by_mbr else _BIOS
    possible = set()
    if found(trees, _MBR) and _boot(trees) if by_mbr else found(trees, _BIOS):
        possible.add(Firmware.BIOS)
    by_uefi = not by_mbr and found(trees, _EFI)
    if by_uefi and hardware.arch == "amd64" and firmware.found():
        possible.add(Firmware.UEFI)
    if not possible:
        raise InstallError(
            f"{release.id} has nothing to boot from: no {_and(programs)}"
            + (f", and {_and(_EFI)} needs a UEFI firmware" if by_uefi else ""),
            "install its set base; for loader.efi(8) install OVMF too: apt install ovmf",
        )
    return hardware.firmware if hardware.firmware in possible else possible.pop()


def write(release: Release, trees: Sequence[Path], root: Path, image: Path) -> None:
    """Make `image` of the file system `root` and what starts it. Raises InstallError."""
    if sliced(release.version):
        boot = b"".join(path.read_bytes() for path in _boot(trees))
        if len(boot) > disklabel.BOOT:
            raise InstallError(
                f"the boot programs of {release.id} have {len(boot)} bytes, and there is room for "
                f"{disklabel.BOOT}",
                "install its own set base, as it was published",
            )
        disklabel.write(image, root, found(trees, _MBR)[0].read_bytes(), boot)
        return
    programs = found(trees, _BIOS)
    partitions = [gpt.Partition("freebsd-ufs", "root", root), *_loaders(trees, root.parent)]
    gpt.write(image, partitions, programs[0].read_bytes() if programs else b"")


def found(trees: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """These files of the boot environment, the topmost of each; nothing unless all are there."""
    paths = [next((tree / name for tree in trees if _has(tree, name)), None) for name in names]
    there = [path for path in paths if path is not None]
    return there if len(there) == len(names) else []


def _boot(trees: Sequence[Path]) -> list[Path]:
    """What the 16 sectors in front of a slice's file system hold."""
    return next((paths for names in _BOOT if (paths := found(trees, names))), [])


def _loaders(trees: Sequence[Path], scratch: Path) -> Iterator[gpt.Partition]:
    """Partitions with the boot programs: those that there are."""
    if programs := found(trees, _BIOS):
        yield gpt.Partition("freebsd-boot", "boot", programs[1])
    if programs := found(trees, _EFI):
        volume = scratch / "efi.fat"
        fat.write(volume, {"EFI": {"BOOT": {"BOOTX64.EFI": programs[0].read_bytes()}}})
        yield gpt.Partition("efi", "efi", volume)


def _has(tree: Path, name: str) -> bool:
    """A link may lead out of the tree."""
    path = tree / name
    return path.is_file() and path.resolve().is_relative_to(tree.resolve())


def _and(names: Sequence[str]) -> str:
    return " and ".join(f"/{name}" for name in names)
