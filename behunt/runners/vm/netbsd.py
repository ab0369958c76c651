"""What a NetBSD machine boots from: a disk with its boot environment's boot programs and root.

From 2.0 on a primary bootstrap by file system, bootxx_ffsv1, and /boot start it; before there was
one whose installboot(8) wrote into it where its other parts lie on the disk. The file system is
made by ffs.py. It has no device nodes: init(8) makes them, in memory, where it finds no
/dev/console.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from behunt.errors import InstallError
from behunt.families import numbers
from behunt.model import Release, sha256_of
from behunt.runners.protocol import AT
from behunt.runners.vm import disklabel, ffs, layers, netbsd_disk
from behunt.runners.vm.job import System, waiting
from behunt.runners.vm.machine import Boot, Bus, Card, Chipset, Firmware, From, Hardware
from behunt.runners.vm.made import ROOT, Made
from behunt.runners.vm.qemu_args import Emulator
from behunt.storage.protocol import Clone

MEMORY = 128 << 20  # bytes that the system itself takes
FOREIGN = True  # its programs do not run on this machine's kernel
_FIRST = (2, 0)
_DHCPCD = (6, 0)  # before, and for long after, there is dhclient(8)
_JOB = f"{AT}/.init"
_TTYS = "etc/ttys"
_INTERFACES = {Card.E1000: "wm0", Card.VIRTIO: "vioif0"}
_SERVICES = ("cron", "inetd", "postfix", "savecore", "sendmail", "update_motd")
_CONSOLE = re.compile(r'^(console[ \t]+"[^"]*")[ \t].*$', re.MULTILINE)
_ANY_TTYS = 'console "getty" unknown off\n'
_CONSTTY = re.compile(r"^constty[ \t].*[ \t]on[ \t]", re.MULTILINE)

# Of a port the device that does not wait for a carrier (tty(4)). The time is for no other machine
# (date(1)). A reboot, which QEMU does not do, takes neither ACPI nor APM.
NETBSD = System(
    console="/dev/console",
    output="/dev/dty01",
    first=":",
    clock="date -n $(date -r $now +%Y%m%d%H%M.%S) >/dev/null",
    take="tar xf $disk",
    off="reboot -q",
    os="netbsd",
)


def unfit(release: Release) -> str:
    """Why no machine can boot `release`; empty if one can."""
    if numbers(release.version) < _FIRST:
        return "only its own installboot(8) makes a disk that a NetBSD before 2.0 boots from"
    return ffs.unfit()


def system(version: str) -> System:
    del version
    return NETBSD


def boot(place: Path) -> Boot:
    del place
    return From.DISK


def make(
    release: Release, clone: Clone, hardware: Hardware, place: Path, emulator: Emulator
) -> None:
    """Fill `place`, an empty directory. Raises InstallError and HostError."""
    del emulator
    _make(release, clone, hardware, place, configured(hardware, release.version, _own(clone)))


def make_seat(release: Release, clone: Clone, hardware: Hardware, place: Path) -> None:
    """As `make`, of a machine that has no job: somebody logs in on its console."""
    _make(release, clone, hardware, place, console(hardware, release.version, _own(clone)))


def _make(
    release: Release, clone: Clone, hardware: Hardware, place: Path, files: Mapping[str, str]
) -> None:
    trees = layers.trees(clone)
    if not layers.found(trees, [release.trait("kernel_path", "/netbsd").lstrip("/")]):
        raise InstallError(
            f"{release.id} was installed without a kernel to boot",
            "install the set kern-GENERIC too: leave out --set, or add it (docs/sets.md)",
        )
    if not layers.found(trees, ["etc/rc"]):
        raise InstallError(
            f"{release.id} was installed without the set etc, which starts what is to run",
            "leave out --set, or add it (docs/sets.md)",
        )
    if ttys := layers.text(trees, _TTYS):
        files = {**files, _TTYS: with_getty(ttys)}
    programs = netbsd_disk.programs(release, trees)
    with ffs.made(release, clone, place, {**files, **programs.files}) as root:
        programs.write(root, place / ROOT)
    Made(release.os, release.version, hardware).write(place)


def configured(hardware: Hardware, version: str, own: Mapping[str, str]) -> Mapping[str, str]:
    """Files over those of the boot environment: its serial console, its root, and the job.

    rc.local is run before anybody can log in (rc.d/local), and does not return. A port that nobody
    has open forgets its settings (com(4)), so rc.local has the job's.
    """
    return {
        **console(hardware, version, own),
        "etc/rc.local": f"{{ sh {_JOB} 9>&-; }} 9<>{NETBSD.output}\n",
        _JOB.lstrip("/"): waiting(NETBSD, hardware.device_of(1)),
    }


def console(hardware: Hardware, version: str, own: Mapping[str, str]) -> Mapping[str, str]:
    """Files for its serial console, and its root. `own` are those of the release, by name.

    Of these two the last words count (boot.cfg(5), rc.conf(5)), so they are added. /boot reads
    boot.cfg from 5.0 on, and would wait for somebody's choice.
    """
    settings = {"rc_configured": "YES", "no_swap": "YES", **dict.fromkeys(_SERVICES, "NO")}
    by_dhcp = "dhcp" if numbers(version) >= _DHCPCD else "!dhclient $int"
    return {
        "boot.cfg": _added(own.get("boot.cfg", ""), "consdev=com0\nclear=0\ntimeout=0\n"),
        "etc/fstab": f"{root_of(hardware)} / ffs rw 1 1\n",
        "etc/rc.conf": _added(
            own.get("etc/rc.conf", ""),
            "".join(f"{name}={value}\n" for name, value in settings.items()),
        ),
        f"etc/ifconfig.{_INTERFACES[hardware.nic]}": f"up\n{by_dhcp}\n",
    }


def root_of(hardware: Hardware) -> str:
    """The root's block device: partition a, of the disk whose raw partition is d.

    >>> from behunt.runners.vm.machine import Bus, Card, Chipset, Firmware, Hardware
    >>> root_of(Hardware("i386", "pentium3", 1, 256 << 20, Chipset.PC, Firmware.BIOS,
    ...                  Bus.IDE, "/dev/rwd{n}d", Card.E1000))
    '/dev/wd0a'
    """
    return re.sub(r"^/dev/r(.*)d$", r"/dev/\1a", hardware.device_of(0))


def with_getty(ttys: str) -> str:
    """ttys(5) with a login on the console; where constty(4) has one, that is the console's."""
    return ttys if _CONSTTY.search(ttys) else _CONSOLE.sub(r"\1 vt100 on secure", ttys)


def recipe() -> str:
    """What is the same for all that is made: another one makes another thing."""
    like = Hardware("", "", 1, 0, Chipset.PC, Firmware.BIOS, Bus.IDE, "/dev/r{n}d", Card.E1000)
    files = [sorted(configured(like, one, {}).items()) for one in ("5.2", "6.0")]
    disk = [netbsd_disk.PARAMETERS.hex(), disklabel.recipe(disklabel.NETBSD)]
    return sha256_of([ffs.RECIPE, disk, files, with_getty(_ANY_TTYS)])


def _own(clone: Clone) -> Mapping[str, str]:
    return {name: layers.text(layers.trees(clone), name) for name in ("boot.cfg", "etc/rc.conf")}


def _added(text: str, lines: str) -> str:
    return f"{text.rstrip()}\n{lines}" if text.strip() else lines
