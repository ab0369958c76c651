"""How a FreeBSD boots from the network, with its root on NFS: by the loader of its own release.

pxeboot(8) or loader.efi(8) comes by TFTP, asks by DHCP for its root (option 17), and reads kernel
and configuration from there by NFS. It hands address, server and the root's handle on to the
kernel, which so mounts the same root and asks for no address. After diskless(8), stand/libsa/nfs.c
and bootp.c, stand/common/boot.c, and sys/nfs/nfs_diskless.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from behunt.errors import HostError
from behunt.model import Release, sha256_of
from behunt.netboot.dnsmasq import FILES, FREEBSD
from behunt.netboot.exports import (
    Export,
    dhcp_root_path,
    freebsd_fstab,
    freebsd_loader_conf,
)
from behunt.netboot.lab import Dhcp, Machine
from behunt.runners.lab import own_loader
from behunt.runners.lab.job import JOB
from behunt.runners.lab.root import Offer, Root, rate_of
from behunt.runners.protocol import AT
from behunt.runners.vm import freebsd
from behunt.runners.vm.job import System
from behunt.storage.protocol import Clone

FOREIGN = True  # its programs do not run on this machine's kernel
_KERNEL = ("boot/kernel/kernel", "kernel")  # and the set that it is in
_LOADERS = {name: f"boot/{name}" for name in FILES[FREEBSD].values()}
# Its card is up, and would lose the root if rc(8), or devd(8) by ifconfig_DEFAULT, set it up anew.
_RC_CONF = """\
network_interfaces="lo0"
ifconfig_DEFAULT=""
root_rw_mount="YES"
sendmail_enable="NONE"
cron_enable="NO"
dumpdev="NO"
"""
_LONGEST = 127  # bytes of a root's address (FNAME_SIZE of stand/libsa; sys/fs/nfsclient)
_LOADER_CONF = 'autoboot_delay="-1"\nbeastie_disable="YES"\n'


def unfit(release: Release, dhcp: Dhcp) -> str:
    """Why no machine can boot `release` in a lab with this DHCP; empty if one can."""
    return own_loader.unfit(release, dhcp, "its loader asks for its root by DHCP")


def system(version: str) -> System:
    return freebsd.system(version)


def make(release: Release, clone: Clone, place: Path) -> str:
    """Fill `place`, an empty directory; the version. Raises InstallError and HostError."""
    own_loader.brought(release, clone, place, _KERNEL, _LOADERS)
    return release.version


def layered(clone: Clone, place: Path, machine: Machine) -> Clone:
    """Nothing is added: its kernel and modules are its own."""
    del place, machine
    return clone


def offer(machine: Machine, root: Root, place: Path, init: str = "") -> Offer:
    """What `machine` is told and given, to boot `root` and have rc(8) do a run's job.

    There is none with an `init`; process 1 is always its own. Raises InstallError where the
    release has no loader for the machine's firmware, and HostError where its root's address is
    longer than it takes.
    """
    where = dhcp_root_path(root.server, _export(root))
    if len(where) > _LONGEST:
        raise HostError(
            f"a FreeBSD takes {_LONGEST} bytes to say where its root is, not {where}",
            "take a --home with a shorter name",
        )
    lacking = f"the release has no /{_LOADERS[FILES[FREEBSD][machine.firmware]]}"
    loader = own_loader.loader(FREEBSD, machine, place, lacking)
    return Offer(
        way=FREEBSD,
        last=loader,
        options={"root-path": where},
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
