"""What a FreeBSD machine boots from: a disk with its boot environment's loader, kernel and root.

The root is a UFS1 file system made by makefs(8), of less than 2 GB: what Debian's makefs of 2019
writes as UFS2 no FreeBSD mounts, and beyond 2 GB it overflows. UFS1 is also what there was before
5.0, and this one has the fields that kernels of that time divide by. What is in front of it is in
freebsd_disk.py.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from behunt.errors import InstallError
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import checked
from behunt.hosts.sandbox import Sandbox
from behunt.model import Release, sha256_of
from behunt.runners.protocol import AT
from behunt.runners.vm import freebsd_disk
from behunt.runners.vm.freebsd_disk import found, numbers, root_of, sliced
from behunt.runners.vm.job import FREEBSD, System, waiting
from behunt.runners.vm.machine import Boot, Bus, Card, Chipset, Firmware, From, Hardware
from behunt.runners.vm.made import ROOT, Made
from behunt.storage.protocol import Clone

MEMORY = 256 << 20  # bytes that the system itself takes
FOREIGN = True  # its programs do not run on this machine's kernel
_FIRST = (4, 0)
_DEVFS = (5, 0)
_TTYCREATE = (6, 0)  # devices with .init
_UART = (8, 0)  # from where on serial ports are those of uart(4)
_SIZE = 1900  # MiB
_FILES = 100_000  # that a run can make
_MAKE_TIME = 900.0  # seconds
_JOB = f"{AT}/.init"
# name, "getty", type, then off, on or onifconsole, and the rest; ttyu of uart(4), ttyd of sio(4)
_PORT = re.compile(r'^(tty[ud]0[ \t]+"[^"]*"[ \t]+\S+)[ \t].*$', re.MULTILINE)
_SYNCDHCP = 'ifconfig_DEFAULT="SYNCDHCP"'
_INTERFACES = {Card.E1000: "em0", Card.RTL8139: "rl0"}  # before ifconfig_DEFAULT
# What has no devfs(5) to begin with; MAKEDEV makes the rest. The numbers are FreeBSD's own, which
# are not Linux's beyond 255: major 116 is ad(4), minor 0x20000 the first partition of its first
# slice (sys/sys/diskslice.h, etc/MAKEDEV of 4.x). For mtree(5).
_NODES = """\
. type=dir
dev type=dir
    console type=char device=0x0 mode=0600 uid=0 gid=0
    null type=char device=0x202 mode=0666 uid=0 gid=0
    ad0s1a type=char device=0x27400 mode=0640 uid=0 gid=5
    rad0s1a type=char device=0x27400 mode=0640 uid=0 gid=5
..
"""
_MAKEDEV = "(cd /dev && sh MAKEDEV all)\n"

# $1 layers, $2 an empty directory to see them through, $3 the image, $4 MiB, $5 free files,
# $6 a specification of more files, if any
_IMAGE = """
mount -t overlay -o "lowerdir=$1" overlay "$2" || exit
exec makefs -t ffs -B little -o version=1 -s "$4m" -f "$5" ${6:+-F "$6"} "$3" "$2"
"""


def unfit(release: Release) -> str:
    """Why no machine can boot `release`; empty if one can."""
    if numbers(release.version) < _FIRST:
        return "a disk that it boots from cannot be made yet: FreeBSD before 4.0 has other drivers"
    if shutil.which("makefs") is None:
        return "its disk is made by makefs, which is not installed: apt install makefs"
    return ""


def system(version: str) -> System:
    """What it does in its own way: ports of sio(4), a clock that date(1) sets, no ACPI."""
    own = numbers(version)
    if own >= _UART:
        return FREEBSD
    if own >= _TTYCREATE:
        return replace(FREEBSD, output="/dev/cuad1", initial="/dev/cuad1.init")
    old = replace(
        FREEBSD,
        output="/dev/cuaa1",
        initial="/dev/cuaia1",
        clock="date $(date -r $now +%Y%m%d%H%M.%S) >/dev/null",
    )
    return old if own >= _DEVFS else replace(old, off="reboot -q")


def boot(place: Path) -> Boot:
    del place
    return From.DISK


def make(release: Release, clone: Clone, hardware: Hardware, place: Path) -> None:
    """Fill `place`, an empty directory. Raises InstallError and HostError."""
    files = configured(hardware, system(release.version), release.version)
    _make(release, clone, hardware, place, files)


def make_seat(release: Release, clone: Clone, hardware: Hardware, place: Path) -> None:
    """As `make`, of a machine that has no job: somebody logs in on its console."""
    ttys = "".join(path.read_text("latin-1") for path in found(_trees(clone), ["etc/ttys"]))
    files = {**console(hardware, release.version), "etc/ttys": with_getty(ttys)}
    _make(release, clone, hardware, place, files)


def _make(
    release: Release, clone: Clone, hardware: Hardware, place: Path, files: Mapping[str, str]
) -> None:
    trees = _trees(clone)
    kernel = release.trait("kernel_path", "/boot/kernel/kernel").lstrip("/")
    if not found(trees, [kernel]):
        raise InstallError(
            f"{release.id} was installed without a kernel to boot",
            "install the set kernel too: leave out --set, or add it (docs/sets.md)",
        )
    hardware = replace(hardware, firmware=freebsd_disk.firmware_of(release, trees, hardware))
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        root = Path(scratch) / "root.ufs"
        _write_root(release, [_laid(files, Path(scratch)), *trees], clone.stage, root)
        freebsd_disk.write(release, trees, root, place / ROOT)
    Made(release.os, release.version, hardware).write(place)


def configured(
    hardware: Hardware, system: System = FREEBSD, version: str = ""
) -> Mapping[str, str]:
    """Files over those of the boot environment: its serial console, its root, and the job.

    rc.local is run before anybody can log in (rc.d/local, once rc(8)), and does not return.
    """
    files = console(hardware, version)
    return {
        **files,
        "etc/rc.local": f"{files.get('etc/rc.local', '')}sh {_JOB}\n",
        _JOB.lstrip("/"): waiting(system, hardware.device_of(1)),
    }


def console(hardware: Hardware, version: str = "") -> Mapping[str, str]:
    """Files for its serial console, and its root.

    loader.conf.local and rc.conf.local are read after what they add to (loader.conf(5),
    rc.conf(5)); boot.config is gptboot's and boot2's, which hand its -h on. A delay of -1 once
    meant the usual ten seconds (sys/boot/common/boot.c).
    """
    root = root_of(hardware, version)
    old = sliced(version)
    network = f'ifconfig_{_INTERFACES.get(hardware.nic, "DEFAULT")}="DHCP"' if old else _SYNCDHCP
    files = {
        "boot.config": "-h\n",
        "boot/loader.conf.local": (
            'console="comconsole"\nboot_serial="YES"\n'
            f'autoboot_delay="{0 if old else -1}"\nbeastie_disable="YES"\n'
            f'vfs.root.mountfrom="ufs:{root}"\n'
        ),
        "etc/fstab": f"{root} / ufs rw 1 1\n",
        "etc/rc.conf.local": (
            'sendmail_enable="NONE"\ncron_enable="NO"\ndumpdev="NO"\n'
            f'{network}\nbackground_fsck="NO"\n'
        ),
    }
    return files if numbers(version) >= _DEVFS else {**files, "etc/rc.local": _MAKEDEV}


def with_getty(ttys: str) -> str:
    """ttys(5) with a login on the first serial port, which is off in old ones."""
    return _PORT.sub(r"\1 on secure", ttys)


def recipe() -> str:
    """What is the same for all that is made: another one makes another thing."""
    like = Hardware("", "", 1, 0, Chipset.PC, Firmware.BIOS, Bus.IDE, "{n}", Card.E1000)
    eras = ("", "7.4", "7.0", "5.5", "4.11")
    files = [sorted(configured(like, system(one), one).items()) for one in eras]
    return sha256_of([_IMAGE, _NODES, [_SIZE, _FILES], files])


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
    if numbers(release.version) < _DEVFS:
        nodes = image.with_name("nodes")
        nodes.write_text(_NODES, encoding="ascii")
        words.append(str(nodes))
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
