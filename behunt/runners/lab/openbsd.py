"""How an OpenBSD boots from the network, with its root on NFS: by the loader of its own release.

pxeboot(8), or BOOTX64.EFI, comes by TFTP, and takes boot.conf(5) and the kernel from there. The
kernel asks for its address by RARP, for its name and its root by bootparams, and mounts that by NFS
version 3 over UDP (netboot/diskless.py). After diskless(8), sys/nfs/nfs_boot.c and nfs_vfsops.c,
sys/arch/amd64/amd64/autoconf.c, and sys/arch/amd64/stand/efiboot/efipxe.c.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from behunt.errors import HostError
from behunt.model import Release, sha256_of
from behunt.netboot.dnsmasq import FILES, OPENBSD
from behunt.netboot.lab import Dhcp, Firmware, Machine
from behunt.runners.lab import own_loader
from behunt.runners.lab.job import JOB
from behunt.runners.lab.root import Offer, Root, rate_of
from behunt.runners.protocol import AT
from behunt.runners.vm import layers, openbsd
from behunt.runners.vm.job import System
from behunt.storage.protocol import Clone

FOREIGN = True  # its programs do not run on this machine's kernel
_KERNEL, _RC_CONF, _TTYS = "bsd", "etc/rc.conf.local", "etc/ttys"  # of the boot environment
_OWN = {_RC_CONF: "rc.conf.local", _TTYS: "ttys"}  # those, in what is made
_LOADERS = {name: f"usr/mdec/{name}" for name in FILES[OPENBSD].values()}
_UEFI = (6, 3)  # the first whose BOOTX64.EFI takes a kernel by TFTP (efipxe.c 1.3, January 2018)
# Nothing that takes time, or that would lose its root (rc.conf(8)); the last words count.
_OFF = ("cron", "dhcpleased", "ntpd", "resolvd", "sendmail", "slaacd", "smtpd", "sndiod", "sshd")
_SETTINGS = "".join(f"{name}_flags=NO\n" for name in _OFF) + "library_aslr=NO\npf=NO\n"
_SEED = 512  # bytes, for the kernel's random(4)
# What init(8) and rc(8) cannot do without before MAKEDEV has made the rest: numbers and mode, after
# etc/etc.amd64/MAKEDEV and etc.i386's, which have the same.
_NODES = {
    "null": (2, 2, 0o666),
    "zero": (2, 12, 0o666),
    "tty": (1, 0, 0o666),
    "klog": (7, 0, 0o600),
    "stdin": (22, 0, 0o666),
    "stdout": (22, 1, 0o666),
    "stderr": (22, 2, 0o666),
    "random": (45, 0, 0o644),
    "urandom": (45, 0, 0o644),
}
# The console's own numbers, 0 and 0, no overlay of Linux has: it keeps in mind so what was removed.
# So this is what that leads to, the first serial port or the screen.
_CONSOLES = {"serial": (8, 0, 0o600), "screen": (12, 0, 0o600)}
_MAKEDEV = """\
(cd /dev && ln -f console .console && sh MAKEDEV all 2>/dev/null; mv -f .console console)
"""
_PORT = re.compile(r"^(tty00)\s.*$", re.MULTILINE)


def unfit(release: Release, dhcp: Dhcp) -> str:
    """Why no machine can boot `release` in a lab with this DHCP; empty if one can."""
    return own_loader.unfit(release, dhcp, "its kernel asks for its address by RARP")


def system(version: str) -> System:
    del version
    return openbsd.OPENBSD


def make(release: Release, clone: Clone, place: Path) -> str:
    """Fill `place`, an empty directory; the version. Raises InstallError and HostError."""
    numbers = tuple(int(part) for part in release.version.split(".") if part.isdigit()) or (99,)
    loaders = {**_LOADERS}
    if numbers < _UEFI or release.arch != "amd64":
        del loaders[FILES[OPENBSD][Firmware.UEFI]]
    kernel = own_loader.brought(release, clone, place, (_KERNEL, _KERNEL), loaders)
    shutil.copyfile(kernel, place / _KERNEL)
    for file, own in _OWN.items():
        (place / own).write_text(layers.text(layers.trees(clone), file), encoding="latin-1")
    for console in _CONSOLES:
        (place / console).mkdir()
        (place / console).chmod(0o755)  # it is the root that the machine sees
        _make_devices(place / console, console)
    return release.version


def layered(clone: Clone, place: Path, machine: Machine) -> Clone:
    """With its first device nodes, in a layer, or in itself where it has none."""
    console = "screen" if machine.console == "none" else "serial"
    if clone.lower:
        return replace(clone, lower=(str(place / console), *clone.lower))
    _make_devices(Path(clone.root), console)
    return clone


def offer(machine: Machine, root: Root, place: Path, init: str = "") -> Offer:
    """What `machine` is told and given, to boot `root` and have rc(8) do a run's job.

    There is none with an `init`; process 1 is always its own, and somebody logs in. Raises
    InstallError where the release has no loader for the machine's firmware.
    """
    lacking = "the release has no loader for that: OpenBSD for amd64 has one since 6.3"
    loader = own_loader.loader(OPENBSD, machine, place, lacking)
    own = {file: (place / name).read_text(encoding="latin-1") for file, name in _OWN.items()}
    return Offer(
        way=OPENBSD,
        last=_KERNEL,
        options={"root-path": root.path},
        tftp={
            loader: place / loader,
            "etc/boot.conf": _boot_conf(machine).encode(),
            "etc/random.seed": secrets.token_bytes(_SEED),
            _KERNEL: place / _KERNEL,
        },
        laid=_laid(machine, root, own, job=not init),
    )


def recipe() -> str:
    """What is the same for all that is made: another one makes another thing."""
    like = Machine("m", "02:00:00:00:00:01")
    laid = _laid(like, Root(IPv4Address(0), "/m"), dict.fromkeys(_OWN, ""), job=True)
    return sha256_of([sorted(laid.items()), _boot_conf(like), _NODES, _CONSOLES])


def with_login(ttys: str, machine: Machine) -> str:
    """ttys(5) with a login on the console, where that is the first serial port."""
    if machine.console == "none":
        return ttys
    getty = f'"/usr/libexec/getty std.{rate_of(machine.console)}"'
    return _PORT.sub(rf"\1 {getty} vt220 on secure", ttys)


def _boot_conf(machine: Machine) -> str:
    serial = f"stty com0 {rate_of(machine.console)}\nset tty com0\n"
    return f"{'' if machine.console == 'none' else serial}boot tftp:{_KERNEL}\n"


def _make_devices(root: Path, console: str) -> None:
    """In the /dev of `root`, which may be hostile. Raises HostError."""
    try:
        with contextlib.suppress(FileExistsError):
            (root / "dev").mkdir()
        directory = os.open(root / "dev", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.fchmod(directory, 0o755)
            for name, (major, minor, mode) in {**_NODES, "console": _CONSOLES[console]}.items():
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)
                os.mknod(name, stat.S_IFCHR, os.makedev(major, minor), dir_fd=directory)
                os.chmod(name, mode, dir_fd=directory)  # whatever the umask is
        finally:
            os.close(directory)
    except OSError as error:
        raise HostError(
            f"cannot make an OpenBSD's devices: {error.strerror}", "that needs root: use sudo"
        ) from error


def _laid(machine: Machine, root: Root, own: Mapping[str, str], *, job: bool) -> Mapping[str, str]:
    """Files over those of the boot environment, of which `own` are those that are added to."""
    rc_conf = own[_RC_CONF]
    files = {
        "etc/fstab": f"{root.server}:{root.path} / nfs rw 0 0\n",
        _RC_CONF: (f"{rc_conf.rstrip()}\n" if rc_conf.strip() else "") + _SETTINGS,
        "etc/rc.local": _MAKEDEV,
    }
    if job:
        return {**files, "etc/rc.local": f"{_MAKEDEV}sh {AT / JOB}\n"}
    return {**files, _TTYS: with_login(own[_TTYS], machine)}
