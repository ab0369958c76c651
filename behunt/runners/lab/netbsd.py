"""How a NetBSD boots from the network, with its root on NFS: by the loader of its own release.

pxeboot(8) comes by TFTP, asks by DHCP for the name of its kernel, and is told one that it takes by
TFTP, too: by NFS it speaks version 2 alone. The kernel asks by DHCP once more, for its root (option
17, and the server of the answer), and mounts it by NFS version 3. It has no device nodes: init(8)
makes them, in memory. After sys/arch/i386/stand/pxeboot/devopen.c, sys/nfs/nfs_bootdhcp.c and
nfs_boot.c.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from behunt.families import numbers
from behunt.model import Release, sha256_of
from behunt.netboot.dnsmasq import FILES, NETBSD, NETBSD_KERNEL
from behunt.netboot.lab import Dhcp, Machine
from behunt.runners.lab import own_loader
from behunt.runners.lab.job import JOB
from behunt.runners.lab.root import Offer, Root, rate_of
from behunt.runners.protocol import AT
from behunt.runners.vm import layers, netbsd
from behunt.runners.vm.job import System
from behunt.storage.protocol import Clone

FOREIGN = True  # its programs do not run on this machine's kernel
_FIRST = (1, 6)  # the first with pxeboot(8)
_KERNEL = ("netbsd", "kern-GENERIC")  # and the set that it is in
_RC_CONF = "etc/rc.conf"
_OWN_RC_CONF = "rc.conf"  # that, in what is made
_LOADERS = {name: f"usr/mdec/{name}" for name in FILES[NETBSD].values()}
# The last words count (rc.conf(5)). Its card is up, and would lose the root if it were set up anew.
_SETTINGS = """\
rc_configured=YES
auto_ifconfig=NO
net_interfaces=""
dhclient=NO
dhcpcd=NO
flushroutes=NO
no_swap=YES
savecore=NO
cron=NO
inetd=NO
postfix=NO
sendmail=NO
update_motd=NO
"""
# struct x86_boot_params, behind a jump and a magic number (sys/sys/bootblock.h; the loader's
# start_pxe.S), as installboot(8) -e -o console=com0,speed=… changes it: length, flags and timeout
# stay as they are.
_PARAMETERS = struct.Struct("<4x2I8x2I")
_MAGIC = ord("x") << 24 | 0x86B << 12 | ord("m") << 4 | 3  # X86_BOOT_MAGIC_PXE
_COM0 = 1  # X86_BP_CONSDEV_COM0


def unfit(release: Release, dhcp: Dhcp) -> str:
    """Why no machine can boot `release` in a lab with this DHCP; empty if one can."""
    if numbers(release.version) < _FIRST:
        return "a NetBSD before 1.6 has no loader that boots from the network"
    return own_loader.unfit(release, dhcp, "its loader asks for its kernel by DHCP")


def system(version: str) -> System:
    """As in a virtual machine, which takes a reboot for its end."""
    return replace(netbsd.system(version), off="halt -pq")


def make(release: Release, clone: Clone, place: Path) -> str:
    """Fill `place`, an empty directory; the version. Raises InstallError and HostError.

    The loader takes a kernel that is compressed, which is sooner there; of one that is larger than
    32 MiB it would lose count.
    """
    kernel = own_loader.brought(release, clone, place, _KERNEL, _LOADERS)
    (place / NETBSD_KERNEL).write_bytes(gzip.compress(kernel.read_bytes(), mtime=0))
    own = layers.text(layers.trees(clone), _RC_CONF)
    (place / _OWN_RC_CONF).write_text(own, encoding="latin-1")
    return release.version


def layered(clone: Clone, place: Path, machine: Machine) -> Clone:
    """Nothing is added: its kernel and modules are its own."""
    del place, machine
    return clone


def offer(machine: Machine, root: Root, place: Path, init: str = "") -> Offer:
    """What `machine` is told and given, to boot `root` and have rc(8) do a run's job.

    There is none with an `init`; process 1 is always its own. Raises InstallError for a machine
    with UEFI.
    """
    lacking = "no NetBSD is known to boot so without NFS version 2"
    loader = own_loader.loader(NETBSD, machine, place, lacking)
    own = (place / _OWN_RC_CONF).read_text(encoding="latin-1")
    return Offer(
        way=NETBSD,
        last=NETBSD_KERNEL,
        options={"root-path": root.path},  # without the server: it would be part of the path
        tftp={
            loader: with_console((place / loader).read_bytes(), machine),
            NETBSD_KERNEL: place / NETBSD_KERNEL,
        },
        laid=_laid(root, own, job=not init),
    )


def recipe() -> str:
    """What is the same for all that is made: another one makes another thing."""
    return sha256_of([sorted(_laid(Root(IPv4Address(0), "/m"), "", job=True).items())])


def with_console(loader: bytes, machine: Machine) -> bytes:
    """The loader, told that the machine's console is its first serial port, where it is.

    It hands that on to the kernel. One that cannot be told, as of old, stays with the screen.
    """
    if machine.console == "none" or len(loader) < _PARAMETERS.size:
        return loader
    magic, length, *_ = _PARAMETERS.unpack_from(loader)
    if magic != _MAGIC or length < _PARAMETERS.size - 8:
        return loader
    told = bytearray(loader)
    struct.pack_into("<2I", told, _PARAMETERS.size - 8, _COM0, int(rate_of(machine.console)))
    return bytes(told)


def _laid(root: Root, rc_conf: str, *, job: bool) -> Mapping[str, str]:
    """Files over those of the boot environment, whose rc.conf(5) is `rc_conf`."""
    own = f"{rc_conf.rstrip()}\n" if rc_conf.strip() else ""
    files = {
        "etc/fstab": f"{root.server}:{root.path} / nfs rw 0 0\n",
        _RC_CONF: own + _SETTINGS,
    }
    return {**files, "etc/rc.local": f"sh {AT / JOB}\n"} if job else files
