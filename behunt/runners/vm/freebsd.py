"""What a FreeBSD machine boots from: a disk with its boot environment's loader, kernel and root.

The root is a UFS1 file system made by makefs(8), of less than 2 GB: what Debian's makefs of 2019
writes as UFS2 no FreeBSD mounts, and beyond 2 GB it overflows. All boot programs are the boot
environment's own: pmbr and gptboot(8) for a BIOS, since 7.1, and loader.efi(8) for UEFI.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from behunt.errors import InstallError
from behunt.families.freebsd import version_of
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import checked
from behunt.hosts.sandbox import Sandbox
from behunt.model import Release, sha256_of
from behunt.runners.protocol import AT
from behunt.runners.vm import fat, firmware, gpt
from behunt.runners.vm.job import FREEBSD, System, waiting
from behunt.runners.vm.machine import Boot, Bus, Card, Chipset, Firmware, From, Hardware
from behunt.runners.vm.made import ROOT, Made
from behunt.storage.protocol import Clone

MEMORY = 256 << 20  # bytes that the system itself takes
FOREIGN = True  # its programs do not run on this machine's kernel
_FIRST = (7, 1)  # with pmbr and gptboot
_UART = (8, 0)  # from where on serial ports are those of uart(4)
_SIZE = 1900  # MiB
_FILES = 100_000  # that a run can make
_MAKE_TIME = 900.0  # seconds
_JOB = f"{AT}/.init"
# name, "getty", type, then off, on or onifconsole, and the rest; ttyu of uart(4), ttyd of sio(4)
_PORT = re.compile(r'^(tty[ud]0[ \t]+"[^"]*"[ \t]+\S+)[ \t].*$', re.MULTILINE)
_BIOS, _EFI = ("boot/pmbr", "boot/gptboot", "boot/loader"), ("boot/loader.efi",)

# $1 layers, $2 an empty directory to see them through, $3 the image, $4 MiB, $5 free files
_IMAGE = """
mount -t overlay -o "lowerdir=$1" overlay "$2" || exit
exec makefs -t ffs -B little -o version=1 -s "$4m" -f "$5" "$3" "$2"
"""


def unfit(release: Release) -> str:
    """Why no machine can boot `release`; empty if one can."""
    if _numbers(release.version) < _FIRST:
        return "a disk that it boots from cannot be made yet: gptboot(8) came with FreeBSD 7.1"
    if shutil.which("makefs") is None:
        return "its disk is made by makefs, which is not installed: apt install makefs"
    return ""


def system(version: str) -> System:
    if _numbers(version) >= _UART:
        return FREEBSD
    return replace(FREEBSD, output="/dev/cuad1")  # sio(4)


def _numbers(version: str) -> tuple[int, ...]:
    """A name without numbers is the latest."""
    return version_of(version) or (1 << 30,)


def boot(place: Path) -> Boot:
    del place
    return From.DISK


def make(release: Release, clone: Clone, hardware: Hardware, place: Path) -> None:
    """Fill `place`, an empty directory. Raises InstallError and HostError."""
    _make(release, clone, hardware, place, configured(hardware, system(release.version)))


def make_seat(release: Release, clone: Clone, hardware: Hardware, place: Path) -> None:
    """As `make`, of a machine that has no job: somebody logs in on its console."""
    ttys = "".join(path.read_text("latin-1") for path in _found(_trees(clone), ["etc/ttys"]))
    files = {**console(hardware), "etc/ttys": with_getty(ttys)}
    _make(release, clone, hardware, place, files)


def _make(
    release: Release, clone: Clone, hardware: Hardware, place: Path, files: Mapping[str, str]
) -> None:
    trees = _trees(clone)
    kernel = release.trait("kernel_path", "/boot/kernel/kernel").lstrip("/")
    if not _found(trees, [kernel]):
        raise InstallError(
            f"{release.id} was installed without a kernel to boot",
            "install the set kernel too: leave out --set, or add it (docs/sets.md)",
        )
    hardware = replace(hardware, firmware=_firmware(release, trees, hardware))
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        root = Path(scratch) / "root.ufs"
        _write_root(release, [_laid(files, Path(scratch)), *trees], clone.stage, root)
        programs = _found(trees, _BIOS)
        partitions = [gpt.Partition("freebsd-ufs", "root", root), *_loaders(trees, Path(scratch))]
        gpt.write(place / ROOT, partitions, programs[0].read_bytes() if programs else b"")
    Made(release.os, release.version, hardware).write(place)


def configured(hardware: Hardware, system: System = FREEBSD) -> Mapping[str, str]:
    """Files over those of the boot environment: its serial console, its root, and the job.

    rc.local is run before anybody can log in (rc.d/local), and does not return.
    """
    return {
        **console(hardware),
        "etc/rc.local": f"sh {_JOB}\n",
        _JOB.lstrip("/"): waiting(system, hardware.device_of(1)),
    }


def console(hardware: Hardware) -> Mapping[str, str]:
    """Files for its serial console, and its root.

    loader.conf.local and rc.conf.local are read after what they add to (loader.conf(5),
    rc.conf(5)); boot.config is gptboot's, which hands its -h on.
    """
    root = f"{hardware.device_of(0)}p1"
    return {
        "boot.config": "-h\n",
        "boot/loader.conf.local": (
            'console="comconsole"\nboot_serial="YES"\n'
            'autoboot_delay="-1"\nbeastie_disable="YES"\n'
            f'vfs.root.mountfrom="ufs:{root}"\n'
        ),
        "etc/fstab": f"{root} / ufs rw 1 1\n",
        "etc/rc.conf.local": (
            'sendmail_enable="NONE"\ncron_enable="NO"\ndumpdev="NO"\n'
            'ifconfig_DEFAULT="SYNCDHCP"\nbackground_fsck="NO"\n'
        ),
    }


def with_getty(ttys: str) -> str:
    """ttys(5) with a login on the first serial port, which is off in old ones."""
    return _PORT.sub(r"\1 on secure", ttys)


def recipe() -> str:
    """What is the same for all that is made: another one makes another thing."""
    like = Hardware("", "", 1, 0, Chipset.PC, Firmware.BIOS, Bus.IDE, "{n}", Card.E1000)
    return sha256_of([_IMAGE, [_SIZE, _FILES], sorted(configured(like).items())])


def _firmware(release: Release, trees: list[Path], hardware: Hardware) -> Firmware:
    """The one that the era asks for, where there is what it takes, or else the other one."""
    possible = set()
    if _found(trees, _BIOS):
        possible.add(Firmware.BIOS)
    if _found(trees, _EFI) and hardware.arch == "amd64" and firmware.found():
        possible.add(Firmware.UEFI)
    if not possible:
        raise InstallError(
            f"{release.id} has nothing to boot from: no {_and(_BIOS)}"
            + (f", and {_and(_EFI)} needs a UEFI firmware" if _found(trees, _EFI) else ""),
            "install its set base; for loader.efi(8) install OVMF too: apt install ovmf",
        )
    return hardware.firmware if hardware.firmware in possible else possible.pop()


def _loaders(trees: list[Path], scratch: Path) -> Iterator[gpt.Partition]:
    """Partitions with the boot programs: those that there are."""
    if programs := _found(trees, _BIOS):
        yield gpt.Partition("freebsd-boot", "boot", programs[1])
    if programs := _found(trees, _EFI):
        volume = scratch / "efi.fat"
        fat.write(volume, {"EFI": {"BOOT": {"BOOTX64.EFI": programs[0].read_bytes()}}})
        yield gpt.Partition("efi", "efi", volume)


def _laid(files: Mapping[str, str], scratch: Path) -> Path:
    own = scratch / "configured"
    for name, content in files.items():
        path = own / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="latin-1")
    for path in (own, *own.rglob("*")):  # whatever the umask is
        path.chmod(0o755 if path.is_dir() else 0o644)
    return own


def _write_root(release: Release, trees: Sequence[Path], stage: str, image: Path) -> None:
    """A file system of what the trees show together, the first on top."""
    words = [":".join(map(str, trees)), stage, str(image), str(_SIZE), str(_FILES)]
    host = LocalHost(Sandbox(namespaces=("mount",)), "image")
    done = host.run(["sh", "-c", _IMAGE, "sh", *words], timeout=_MAKE_TIME)
    if "larger than the maxsize" in done.err:  # it looks before it writes
        raise InstallError(
            f"{release.id} does not fit on a disk of {_SIZE} MiB, the largest that makefs(8) makes",
            "install fewer sets with --set: base and kernel do (docs/vm.md)",
        )
    checked(done)


def _trees(clone: Clone) -> list[Path]:
    return [Path(tree) for tree in clone.lower or (clone.root,)]


def _found(trees: list[Path], names: Sequence[str]) -> list[Path]:
    """These files of the boot environment, the topmost of each; nothing unless all are there."""
    found = [next((tree / name for tree in trees if _has(tree, name)), None) for name in names]
    there = [path for path in found if path is not None]
    return there if len(there) == len(names) else []


def _has(tree: Path, name: str) -> bool:
    """A link may lead out of the tree."""
    path = tree / name
    return path.is_file() and path.resolve().is_relative_to(tree.resolve())


def _and(names: Sequence[str]) -> str:
    return " and ".join(f"/{name}" for name in names)
