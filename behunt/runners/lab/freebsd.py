"""How a FreeBSD boots from the network, with its root on NFS: by the loader of its own release.

pxeboot(8) or loader.efi(8) comes by TFTP, asks by DHCP for its root (option 17), and reads kernel
and configuration from there by NFS. It hands address, server and the root's handle on to the
kernel, which so mounts the same root and asks for no address. After diskless(8), stand/libsa/nfs.c
and bootp.c, stand/common/boot.c, and sys/nfs/nfs_diskless.c.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from behunt.errors import InstallError
from behunt.model import Release, sha256_of
from behunt.netboot.dnsmasq import FILES, FREEBSD
from behunt.netboot.exports import (
    Export,
    Served,
    dhcp_root_path,
    freebsd_fstab,
    freebsd_loader_conf,
)
from behunt.netboot.lab import ARCHES, Dhcp, Machine
from behunt.netboot.nfs_faults import clients
from behunt.runners.lab.job import JOB
from behunt.runners.lab.root import Offer, Root, rate_of
from behunt.runners.protocol import AT
from behunt.runners.vm import freebsd
from behunt.runners.vm.freebsd_disk import found
from behunt.runners.vm.job import System
from behunt.storage.protocol import Clone

FOREIGN = True  # its programs do not run on this machine's kernel
_KERNEL = "boot/kernel/kernel"
# Its card is up, and would lose the root if rc(8) set it up anew.
_RC_CONF = """\
network_interfaces="lo0"
root_rw_mount="YES"
sendmail_enable="NONE"
cron_enable="NO"
dumpdev="NO"
"""
_LOADER_CONF = 'autoboot_delay="-1"\nbeastie_disable="YES"\n'


def unfit(release: Release, dhcp: Dhcp) -> str:
    """Why no machine can boot `release` in a lab with this DHCP; empty if one can."""
    if release.arch not in ARCHES:
        return f"machines are {' or '.join(ARCHES)}, and this is for {release.arch}"
    for client in clients(release.os, release.version):
        if not client.versions & Served().versions:
            old = " and ".join(str(version) for version in sorted(client.versions))
            return f"{client.name} speaks NFS version {old}, which nothing here serves"
    if dhcp is Dhcp.PROXY:
        return (
            "its loader asks for its root by DHCP, and a proxy cannot tell it: "
            'it takes dhcp = "full" in [lab]'
        )
    return ""


def system(version: str) -> System:
    return freebsd.system(version)


def make(release: Release, clone: Clone, place: Path) -> str:
    """Fill `place`, an empty directory; the version. Raises InstallError and HostError."""
    trees = [Path(tree) for tree in clone.lower or (clone.root,)]
    if not found(trees, [_KERNEL]):
        raise InstallError(
            f"{release.id} was installed without a kernel to boot",
            "install the set kernel too: leave out --set, or add it (docs/sets.md)",
        )
    for name in FILES[FREEBSD].values():
        for loader in found(trees, [f"boot/{name}"]):
            shutil.copyfile(loader, place / name)
    if not any(place.iterdir()):
        raise InstallError(
            f"{release.id} has no loader that boots from the network",
            "install its own set base, as it was published: /boot/pxeboot is in there",
        )
    return release.version


def layered(clone: Clone, place: Path) -> Clone:
    """Nothing is added: its kernel and modules are its own."""
    del place
    return clone


def offer(machine: Machine, root: Root, place: Path, init: str = "") -> Offer:
    """What `machine` is told and given, to boot `root` and have rc(8) do a run's job.

    There is none with an `init`; process 1 is always its own. Raises InstallError where the
    release has no loader for the machine's firmware.
    """
    loader = FILES[FREEBSD][machine.firmware]
    if not (place / loader).exists():
        raise InstallError(
            f"{machine.name} boots by {machine.firmware}, and the release has no /boot/{loader}",
            "name another machine with --machine",
        )
    return Offer(
        way=FREEBSD,
        last=loader,
        options={"root-path": dhcp_root_path(root.server, _export(root))},
        tftp={loader: place / loader},
        laid=_laid(machine, root, job=not init),
    )


def recipe() -> str:
    """What is the same for all that is made: another one makes another thing."""
    like = Machine("m", "02:00:00:00:00:01")
    return sha256_of([sorted(_laid(like, Root(IPv4Address(0), "/m"), job=True).items())])


def _laid(machine: Machine, root: Root, *, job: bool) -> Mapping[str, str]:
    """Files over those of the boot environment.

    loader.conf.local and rc.conf.local are read after what they add to. Of fstab it takes the
    line of the root, for `mount -u /`: it must be what the kernel says that it has mounted.
    """
    files = {
        "boot/loader.conf.local": _LOADER_CONF
        + freebsd_loader_conf(root.server, _export(root))
        + _console(machine),
        "etc/fstab": freebsd_fstab(root.server, _export(root)),
        "etc/rc.conf.local": _RC_CONF,
    }
    return {**files, "etc/rc.local": f"sh {AT / JOB}\n"} if job else files


def _export(root: Root) -> Export:
    """As clients see it."""
    return Export(root.path, IPv4Network(root.server), ident=0)


def _console(machine: Machine) -> str:
    if machine.console == "none":
        return ""
    rate = rate_of(machine.console)
    return f'boot_serial="YES"\ncomconsole_speed="{rate}"\nconsole="comconsole"\n'
