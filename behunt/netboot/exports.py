"""What an NFS server is told to export, and what its clients are told to mount. Pure.

One export is one boot environment, or a run's clone of it, for one network and nobody else.
Syntax after exports(5) of Linux and of FreeBSD 13.2, exportfs(8), zfsprops(7), ganesha-config(8).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

_ODD = re.compile(r"[^\w/.,+@~=:-]")  # in a path: needs more than itself in a configuration
_ROOT_OPTIONS = "nolockd"  # no rpc.lockd is asked for


@dataclass(frozen=True, slots=True)
class Export:
    """A directory of the server for `network`. Its root stays root: an init needs it.

    `ident` is unique among what the server exports and tells it from the others in file handles.
    `datasets` are directories below `path`, relative to it, that are file systems of their own:
    those of a nested boot environment. `called` is what clients mount; `path` where empty.
    """

    path: str
    network: IPv4Network
    ident: int
    writable: bool = True
    datasets: tuple[str, ...] = ()
    called: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """All that has to be exported, parents first."""
        top = self.path.rstrip("/")
        return (self.path, *(f"{top}/{part}" for part in self.datasets))

    @property
    def mounted(self) -> tuple[tuple[str, str], ...]:
        """What a client mounts, and where below its root."""
        top = (self.called or self.path).rstrip("/")
        below = ((f"{top}/{part}", f"/{part}") for part in self.datasets)
        return ((top or "/", "/"), *below)


@dataclass(frozen=True, slots=True)
class Served:
    """What an NFS server speaks. A lock manager is never counted on."""

    versions: frozenset[int] = frozenset({3})
    udp: bool = True


# Linux


def linux_options(export: Export) -> str:
    """A clone is thrown away with the run, so that nothing needs to reach a disk: `async`."""
    access = "rw,async" if export.writable else "ro"
    return f"{access},no_root_squash,no_subtree_check,crossmnt,fsid={export.ident}"


def linux_exports(exports: Iterable[Export]) -> str:
    """A file of /etc/exports.d; what is mounted below comes along by `crossmnt`."""
    return "".join(
        f"{_octal(export.path)} {export.network}({linux_options(export)})\n" for export in exports
    )


def _octal(path: str) -> str:
    """As exports(5) of Linux takes a path with blanks or signs of its own."""
    return _ODD.sub(lambda odd: "".join(f"\\{b:03o}" for b in odd[0].encode()), path)


def exportfs(export: Export) -> list[str]:
    """Export it at once, until `unexportfs`, or the next `exportfs -r` if it is in no file."""
    return ["exportfs", "-i", "-o", linux_options(export), f"{export.network}:{export.path}"]


def unexportfs(export: Export) -> list[str]:
    return ["exportfs", "-u", f"{export.network}:{export.path}"]


def linux_sharenfs(export: Export) -> str:
    """The property of its datasets, which exportfs(8) gets of them. Theirs are no `fsid`."""
    access = "async,rw" if export.writable else "ro"
    return f"sec=sys,{access}=@{export.network},no_root_squash,no_subtree_check,crossmnt"


# FreeBSD


def freebsd_exports(exports: Iterable[Export]) -> str:
    """Lines of exports(5): mountd takes one per file system and set of clients.

    Raises ValueError for a path that mountd could not read.
    """
    return "".join(
        f"{_plain(path)} {freebsd_sharenfs(export)}\n"
        for export in exports
        for path in export.paths
    )


def freebsd_sharenfs(export: Export) -> str:
    """The property of each of its datasets: ZFS writes it to /etc/zfs/exports as it is."""
    access = "" if export.writable else "-ro "
    network = export.network
    return f"{access}-maproot=root -network {network.network_address} -mask {network.netmask}"


def _plain(path: str) -> str:
    if _ODD.search(path):
        raise ValueError(f"mountd(8) cannot read the path {path!r}")
    return path


# nfs-ganesha


@dataclass(frozen=True, slots=True)
class Listener:
    """An nfs-ganesha with the VFS FSAL. `address` is the only one it answers on."""

    address: IPv4Address
    state: str  # a directory for what it keeps of clients
    served: Served = Served()
    nfs_port: int = 2049
    mount_port: int = 20048


def ganesha_conf(server: Listener, exports: Iterable[Export]) -> str:
    """The whole file; read again at SIGHUP, when only the exports may differ.

    By default nobody may do anything: a client is let in by its network, export by export.
    Without `mount_path_pseudo` NFSv3 would mount the server's paths. NFSPROTO=DEBUG tells mounts.
    With attributes that expire at once it sees what changes beside it, in Share.host.
    """
    versions = ",".join(str(version) for version in sorted(server.served.versions))
    transports = "TCP,UDP" if server.served.udp else "TCP"
    head = [
        "NFS_CORE_PARAM {",
        f"    Bind_addr = {server.address};",
        f"    Protocols = {versions};",
        f"    NFS_Port = {server.nfs_port};",
        f"    MNT_Port = {server.mount_port};",
        "    Enable_NLM = false;",
        "    Enable_RQUOTA = false;",
        "    mount_path_pseudo = true;",
        "}",
        "NFS_KRB5 { Active_krb5 = false; }",
        "NFSV4 {",
        "    Graceless = true;",
        "    RecoveryBackend = fs;",
        f"    RecoveryRoot = {_quoted(server.state)};",
        "    Only_Numeric_Owners = true;",
        "}",
        "LOG { COMPONENTS { NFSPROTO = DEBUG; } }",
        "EXPORT_DEFAULTS {",
        "    Access_Type = NONE;",
        f"    Protocols = {versions};",
        f"    Transports = {transports};",
        "    SecType = sys;",
        "    Squash = No_Root_Squash;",
        "    Attr_Expiration_Time = 0;",
        "}",
    ]
    return "\n".join([*head, *(_ganesha_export(export) for export in exports)]) + "\n"


def _ganesha_export(export: Export) -> str:
    access = "RW" if export.writable else "RO"
    return "\n".join(
        [
            "EXPORT {",
            f"    Export_Id = {export.ident};",
            f"    Path = {_quoted(export.path)};",
            f"    Pseudo = {_quoted(export.called or export.path)};",
            "    FSAL { Name = VFS; }",
            f"    CLIENT {{ Clients = {export.network}; Access_Type = {access}; }}",
            "}",
        ]
    )


def _quoted(text: str) -> str:
    """A string of its configuration. Raises ValueError for what cannot be one."""
    if re.search(r'["\\\n]', text):
        raise ValueError(f"nfs-ganesha cannot read the path {text!r}")
    return f'"{text}"'


# Clients


def linux_root(server: IPv4Address, export: Export) -> str:
    """The kernel's `nfsroot=`: NFSv3 over TCP, without locks."""
    top, _ = export.mounted[0]
    return f"{server}:{top},vers=3,tcp,nolock"


def linux_fstab(server: IPv4Address, export: Export) -> str:
    access = "rw" if export.writable else "ro"
    return _fstab(server, export, f"{access},vers=3,tcp,nolock")


def freebsd_fstab(server: IPv4Address, export: Export) -> str:
    """Its line of `/` is where the loader takes the root's name from: it must be this one."""
    access = "rw" if export.writable else "ro"
    return _fstab(server, export, f"{access},{_ROOT_OPTIONS}")


def _fstab(server: IPv4Address, export: Export, options: str) -> str:
    return "".join(
        f"{server}:{_octal(source)} {_octal(at)} nfs {options} 0 0\n"
        for source, at in export.mounted
    )


def freebsd_loader_conf(server: IPv4Address, export: Export) -> str:
    """For a root whose fstab cannot be touched: it goes before that (stand/common/boot.c)."""
    top, _ = export.mounted[0]
    settings = {
        "vfs.root.mountfrom": f"nfs:{server}:{top}",
        "vfs.root.mountfrom.options": "rw" if export.writable else "ro",
        "boot.nfsroot.options": _ROOT_OPTIONS,
    }
    return "".join(f'{name}="{value}"\n' for name, value in settings.items())


def dhcp_root_path(server: IPv4Address, export: Export) -> str:
    """DHCP's option 17, with the server in it: FreeBSD's loader takes that before any other."""
    top, _ = export.mounted[0]
    return f"{server}:{top}"


SWAP_SERVER = 16  # of DHCP: FreeBSD's loader takes its root from there (stand/libsa/bootp.c)


def wrong_dhcp(options: Collection[int]) -> list[str]:
    """What DHCP must not say to a machine whose root is on NFS: sentences."""
    if SWAP_SERVER in options:
        return ["DHCP sends option 16 (swap-server), which the loader takes for its root server"]
    return []
