"""What an OpenBSD machine boots from in QEMU: a disk that the OpenBSD itself has made.

No Linux makes an FFS with OpenBSD's label and boot blocks on it, and its own installer's kernel
does: PXE brings pxeboot(8), from a gateway inside of QEMU, and that bsd.rd. In its shell is typed
what makes a disk of an archive of the boot environment, which is the machine's second disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from behunt.errors import ConsoleError, HostError, InstallError
from behunt.families import numbers
from behunt.hosts.console import Console
from behunt.hosts.transcript import Transcript
from behunt.model import Release, sha256_of
from behunt.runners.vm import layers
from behunt.runners.vm.consoles import deaths, dialogue
from behunt.runners.vm.course import gone
from behunt.runners.vm.job import System
from behunt.runners.vm.machine import (
    Boot,
    Bus,
    Card,
    Chipset,
    Disk,
    Firmware,
    From,
    Hardware,
    Machine,
    Nic,
    Tftp,
)
from behunt.runners.vm.made import ROOT, Made
from behunt.runners.vm.openbsd import IN_QEMU, boot_conf, booting, configured, disk_of
from behunt.runners.vm.qemu_args import Emulator, qemu_args
from behunt.runners.vm.root_tar import pack
from behunt.runners.vm.running import MONITOR, SERIAL, Running
from behunt.runners.vm.shell import type_all
from behunt.storage.protocol import Clone

MEMORY = 128 << 20  # bytes that the system itself takes
FOREIGN = True  # its programs do not run on this machine's kernel
TFTP = "tftp"
_FIRST = (3, 5)  # with pxeboot(8)
_INSTALLBOOT = (5, 5)  # that finds all that it needs below a root
_SIZE = 8 << 30  # bytes; it takes no room that is not written
_UP_TIME = 600.0  # seconds until its installer asks, emulated
_MAKE_TIME = 3600.0  # seconds, for the largest of roots, emulated
_MIB = 1 << 20
_NEEDED = {"bsd": "bsd", "bsd.rd": "bsd.rd", "usr/mdec/pxeboot": "base"}  # file: set
_ETC_IN_BASE = (5, 7)
_ANY_TTYS = 'tty00 "getty" unknown off\n'
_PXEBOOT = "pxeboot"


def unfit(release: Release) -> str:
    """Why no machine can boot `release`; empty if one can."""
    if numbers(release.version) < _FIRST:
        return "its disk is made by an installer that pxeboot(8) boots, which came in OpenBSD 3.5"
    return ""


def system(version: str) -> System:
    del version
    return IN_QEMU


def boot(place: Path) -> Boot:
    del place
    return From.DISK


def make(
    release: Release, clone: Clone, hardware: Hardware, place: Path, emulator: Emulator
) -> None:
    """Fill `place`, an empty directory. Raises InstallError and HostError."""
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        machine = prepared(release, clone, hardware, Path(scratch))
        install(machine, release, Path(scratch), emulator)
        Path(scratch, ROOT).rename(place / ROOT)
    Made(release.os, release.version, hardware).write(place)


def prepared(release: Release, clone: Clone, hardware: Hardware, scratch: Path) -> Machine:
    """The machine that is to make the disk ROOT in `scratch`, an empty directory.

    What it boots from is below TFTP there. Raises InstallError and HostError.
    """
    tftp = served(release, clone, scratch / TFTP)
    root, archive = scratch / ROOT, scratch / "root.tar"
    ttys = layers.text(layers.trees(clone), "etc/ttys")
    pack(clone, {**configured(hardware, IN_QEMU), **booting(hardware, ttys)}, scratch, archive)
    os.truncate(archive, -(-archive.stat().st_size // _MIB) * _MIB)
    with root.open("wb") as disk:
        disk.truncate(_SIZE)
    return making(release, hardware, tftp, root, archive)


def served(release: Release, clone: Clone, place: Path) -> Path:
    """The directory `place` with what pxeboot(8) reads. InstallError where there is no such."""
    trees = layers.trees(clone)
    etc = "base" if numbers(release.version) >= _ETC_IN_BASE else "etc"
    needed = {**_NEEDED, "etc/rc": etc}
    if lacking := [item for name, item in needed.items() if not layers.found(trees, [name])]:
        sets = " ".join(f"--set {name}" for name in dict.fromkeys(needed.values()))
        raise InstallError(
            f"{release.id} was installed without the set {lacking[0]}, which its disk takes",
            f"leave out --set, or name all that it shall have: {sets}, and more (docs/vm.md)",
        )
    (place / "etc").mkdir(parents=True)
    kernel, pxeboot = layers.found(trees, ["bsd.rd", "usr/mdec/pxeboot"])
    shutil.copyfile(kernel, place / "bsd.rd")
    shutil.copyfile(pxeboot, place / _PXEBOOT)
    (place / "etc/boot.conf").write_text(boot_conf("tftp:/bsd.rd"), encoding="ascii")
    return place


def making(release: Release, hardware: Hardware, tftp: Path, root: Path, archive: Path) -> Machine:
    """The machine that makes the disk `root` of `archive`."""
    disks = (Disk(PurePosixPath(path), hardware.disk) for path in (root, archive))
    nic = Nic(hardware.nic, tftp=Tftp(PurePosixPath(tftp), _PXEBOOT))
    return Machine(f"make-{release.id}", hardware, From.NETWORK, tuple(disks), nic=nic)


def install(machine: Machine, release: Release, scratch: Path, emulator: Emulator) -> None:
    """Run `machine`, and have it make its disk. Raises InstallError and HostError."""
    sockets = {"serial": PurePosixPath(SERIAL), "qmp": PurePosixPath(MONITOR)}
    with Running(
        qemu_args(machine, emulator, **sockets),
        scratch,
        Transcript(scratch / "console"),
        deaths=deaths("openbsd"),
    ) as running:
        running.monitor.go_on()
        try:
            filled(running.console, lines(release.version, machine.hardware))
        except InstallError as error:
            if not running.console.ended:
                raise
            raise _ended(error, *gone(running.monitor)) from error
        running.end()


def _ended(error: InstallError, went: str, lost: str) -> InstallError | HostError:
    """`error`, of a machine that has gone: whose doing that was."""
    kind = HostError if lost else InstallError
    return kind(f"{error.message}: {lost or went}", error.hint)


def filled(console: Console, lines: Sequence[str]) -> None:
    """Type `lines` in the shell of the installer that comes up on `console`."""
    up = "OpenBSD's installer does not come up"
    try:
        shell = console.play(dialogue("openbsd", "ramdisk"), time.monotonic() + _UP_TIME)
        if shell.state != "shell":
            raise InstallError(f"{up}: {shell.said}", shell.screen)
    except ConsoleError as error:  # what its firmware says is not on the serial port
        raise InstallError(f"{up}: {error.message}", error.hint) from error
    try:
        type_all(console, lines, time.monotonic() + _MAKE_TIME)
    except ConsoleError as error:
        raise InstallError(error.message, error.hint) from error


def lines(version: str, hardware: Hardware) -> tuple[str, ...]:
    """What makes a disk, in words of every bsd.rd (distrib/miniroot/list).

    fdisk(8) and disklabel(8) are given their commands: options to do without have come over the
    years. An empty line takes what is proposed, and is nothing where nothing is asked. newfs(8)
    tells whether there is a partition then.
    """
    to, of = disk_of(hardware, 0), disk_of(hardware, 1)
    if numbers(version) < _INSTALLBOOT:
        mdec = "/mnt/usr/mdec"
        bootable = f"cp {mdec}/boot /mnt/boot && {mdec}/installboot /mnt/boot {mdec}/biosboot {to}"
    else:
        bootable = f"installboot -r /mnt {to}"
    return (
        f"cd /dev && sh MAKEDEV {to} {of}",
        rf"print 'reinit\nupdate\nwrite\nquit' | fdisk -e {to}",
        rf"print 'a a\n\n\n\n\nw\nq' | disklabel -E {to} || :",  # 1 where all was written before
        f"newfs -q /dev/r{to}a",
        f"mount /dev/{to}a /mnt",
        f"cd /mnt && tar xpf /dev/r{of}c",
        "cd /mnt/dev && sh MAKEDEV all",
        f"cd / && {bootable}",
        "umount /mnt",
    )


def recipe() -> str:
    """What is the same for all that is made: another one makes another thing."""
    ide = (Bus.IDE, "/dev/rwd{n}c", Card.E1000)
    like = Hardware("", "", 1, 0, Chipset.PC, Firmware.BIOS, *ide)
    files = {**configured(like, IN_QEMU), **booting(like, _ANY_TTYS)}
    typed = [lines(version, like) for version in ("5.4", "7.7")]
    return sha256_of([_SIZE, sorted(files.items()), typed])
