"""What a FreeBSD machine boots from: a disk with its boot environment's loader, kernel and root.

The file system is made by ffs.py; what is in front of it is in freebsd_disk.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from behunt.errors import InstallError
from behunt.model import Release, sha256_of
from behunt.runners.protocol import AT
from behunt.runners.vm import disklabel, ffs, freebsd_disk, gpt, layers
from behunt.runners.vm.freebsd_disk import dedicated, numbers, root_of, sliced
from behunt.runners.vm.job import FREEBSD, System, waiting
from behunt.runners.vm.machine import Boot, Bus, Card, Chipset, Firmware, From, Hardware
from behunt.runners.vm.made import ROOT, Made
from behunt.runners.vm.qemu_args import Emulator
from behunt.storage.protocol import Clone

MEMORY = 256 << 20  # bytes that the system itself takes
FOREIGN = True  # its programs do not run on this machine's kernel
_FIRST = (2, 2)
_DEVFS = (5, 0)
_TTYCREATE = (6, 0)  # devices with .init
_UART = (8, 0)  # from where on serial ports are those of uart(4)
_JOB = f"{AT}/.init"
_TTYS = "etc/ttys"
# name, "getty", type, then off, on or onifconsole, and the rest; ttyu of uart(4), ttyd of sio(4)
_PORT = re.compile(r'^(tty[ud]0[ \t]+"[^"]*"[ \t]+\S+)[ \t].*$', re.MULTILINE)
_ANY_TTYS = 'ttyu0 "getty" vt100 off\nttyd0 "getty" dialup off secure\n'
_SYNCDHCP = 'ifconfig_DEFAULT="SYNCDHCP"\n'
_INTERFACES = {Card.E1000: "em0", Card.RTL8139: "rl0"}  # before ifconfig_DEFAULT
# What has no devfs(5) to begin with; MAKEDEV makes the rest. The numbers are FreeBSD's own, which
# are not Linux's beyond 255: major 116 is ad(4), minor 0x20000 the first partition of its first
# slice (sys/sys/diskslice.h, etc/MAKEDEV of 4.x); wd(4) had another number as a block device, and
# minor 0 is in its compatible slice (sys/i386/conf/majors.i386). For mtree(5).
_NODES = """\
. type=dir
dev type=dir
    console type=char device=0x0 mode=0600 uid=0 gid=0
    null type=char device=0x202 mode=0666 uid=0 gid=0
"""
_AD = """\
    ad0s1a type=char device=0x27400 mode=0640 uid=0 gid=5
    rad0s1a type=char device=0x27400 mode=0640 uid=0 gid=5
..
"""
_WD = """\
    wd0a type=block device=0x0 mode=0640 uid=0 gid=5
    rwd0a type=char device=0x300 mode=0640 uid=0 gid=5
..
"""
_MAKEDEV = "(cd /dev && sh MAKEDEV all)\n"


def unfit(release: Release) -> str:
    """Why no machine can boot `release`; empty if one can."""
    if numbers(release.version) < _FIRST:
        return "FreeBSD before 2.2 reads no boot.config, so nothing tells it to use a serial port"
    return ffs.unfit()


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
    if own >= _DEVFS:
        return old
    old = replace(old, off="reboot -q")
    # No century; what is below 69 is of the next (bin/date of 2.2), and no other machine is told.
    clock = "date -n $(date -r $now +%y%m%d%H%M.%S) >/dev/null"
    return replace(old, clock=clock) if dedicated(version) else old


def boot(place: Path) -> Boot:
    del place
    return From.DISK


def make(
    release: Release, clone: Clone, hardware: Hardware, place: Path, emulator: Emulator
) -> None:
    """Fill `place`, an empty directory. Raises InstallError and HostError."""
    del emulator
    files = configured(hardware, system(release.version), release.version)
    _make(release, clone, hardware, place, files)


def make_seat(release: Release, clone: Clone, hardware: Hardware, place: Path) -> None:
    """As `make`, of a machine that has no job: somebody logs in on its console."""
    _make(release, clone, hardware, place, console(hardware, release.version))


def _make(
    release: Release, clone: Clone, hardware: Hardware, place: Path, files: Mapping[str, str]
) -> None:
    trees = layers.trees(clone)
    kernel = release.trait("kernel_path", "/boot/kernel/kernel").lstrip("/")
    if not layers.found(trees, [kernel]):
        raise InstallError(
            f"{release.id} was installed without a kernel to boot",
            "install the set kernel too: leave out --set, or add it (docs/sets.md)",
        )
    hardware = replace(hardware, firmware=freebsd_disk.firmware_of(release, trees, hardware))
    if ttys := layers.text(trees, _TTYS):
        files = {**files, _TTYS: with_getty(ttys)}
    with ffs.made(release, clone, place, files, _nodes(release.version)) as root:
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
            f'{_network(hardware, version)}background_fsck="NO"\n'
        ),
    }
    return files if numbers(version) >= _DEVFS else {**files, "etc/rc.local": _MAKEDEV}


def _network(hardware: Hardware, version: str) -> str:
    """How it gets an address, where there is a dhclient(8)."""
    if not sliced(version):
        return _SYNCDHCP
    return "" if dedicated(version) else f'ifconfig_{_INTERFACES[hardware.nic]}="DHCP"\n'


def _nodes(version: str) -> str:
    if numbers(version) >= _DEVFS:
        return ""
    return _NODES + (_WD if dedicated(version) else _AD)


def with_getty(ttys: str) -> str:
    """ttys(5) with a login on the first serial port, which is off in old ones."""
    return _PORT.sub(r"\1 on secure", ttys)


def recipe() -> str:
    """What is the same for all that is made: another one makes another thing."""
    like = Hardware("", "", 1, 0, Chipset.PC, Firmware.BIOS, Bus.IDE, "{n}", Card.E1000)
    eras = ("", "7.4", "7.0", "5.5", "4.11", "3.5")
    files = [sorted(configured(like, system(one), one).items()) for one in eras]
    nodes = [_nodes(one) for one in eras]
    disks = [gpt.recipe(), *map(disklabel.recipe, (disklabel.FREEBSD, disklabel.DEDICATED))]
    return sha256_of([ffs.RECIPE, nodes, files, with_getty(_ANY_TTYS), disks])
