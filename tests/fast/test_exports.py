"""What NFS servers are told, what their clients are told, and what is found wrong with either."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from behunt.errors import HostError
from behunt.hosts.local import LocalHost
from behunt.netboot import exports, ganesha_log, kernel_nfs, nfs_faults, sharenfs
from behunt.netboot.exports import Export, Listener, Served
from behunt.netboot.nfs import Asked
from behunt.netboot.nfs_faults import Client, Exported, clients, faults

SERVER = IPv4Address("10.77.0.1")
NETWORK = IPv4Network("10.77.0.0/24")
FLAT = Export("/be/debian-12.run", NETWORK, 7)
NESTED = Export("/b/be/test", NETWORK, 3, datasets=("usr", "var/log"))


def test_linux_exports_all_of_it_with_its_root_as_root() -> None:
    options = "rw,async,no_root_squash,no_subtree_check,crossmnt,fsid=7"
    assert exports.linux_exports([FLAT]) == f"/be/debian-12.run 10.77.0.0/24({options})\n"
    where = "10.77.0.0/24:/be/debian-12.run"
    assert exports.exportfs(FLAT) == ["exportfs", "-i", "-o", options, where]
    assert exports.unexportfs(FLAT) == ["exportfs", "-u", where]


def test_linux_takes_a_path_with_a_blank() -> None:
    export = Export("/a b", NETWORK, 1, writable=False)
    options = "ro,no_root_squash,no_subtree_check,crossmnt,fsid=1"
    assert exports.linux_exports([export]) == f"/a\\040b 10.77.0.0/24({options})\n"


def test_freebsd_exports_each_dataset_by_a_line() -> None:
    assert exports.freebsd_exports([NESTED, replace(FLAT, writable=False)]) == (
        "/b/be/test -maproot=root -network 10.77.0.0 -mask 255.255.255.0\n"
        "/b/be/test/usr -maproot=root -network 10.77.0.0 -mask 255.255.255.0\n"
        "/b/be/test/var/log -maproot=root -network 10.77.0.0 -mask 255.255.255.0\n"
        "/be/debian-12.run -ro -maproot=root -network 10.77.0.0 -mask 255.255.255.0\n"
    )


def test_freebsd_cannot_be_told_a_path_with_a_blank() -> None:
    with pytest.raises(ValueError, match="'/a b'"):
        exports.freebsd_exports([Export("/a b", NETWORK, 1)])


def test_the_property_sharenfs() -> None:
    assert exports.freebsd_sharenfs(NESTED) == (
        "-maproot=root -network 10.77.0.0 -mask 255.255.255.0"
    )
    assert exports.linux_sharenfs(NESTED) == (
        "sec=sys,async,rw=@10.77.0.0/24,no_root_squash,no_subtree_check,crossmnt"
    )
    looked_at = replace(NESTED, writable=False)
    assert exports.linux_sharenfs(looked_at).startswith("sec=sys,ro=@10.77.0.0/24,")
    assert exports.freebsd_sharenfs(looked_at).startswith("-ro -maproot=root ")


LIBSHARE = {  # what `exportfs -s` tells then, and what mountd(8) reads
    "Linux": "{0}  10.77.0.0/24(async,crossmnt,no_subtree_check,mountpoint,rw,no_root_squash)",
    "FreeBSD": "{0}\t-maproot=root -network 10.77.0.0 -mask 255.255.255.0 ",
}


@pytest.mark.parametrize("name", list(LIBSHARE))
def test_what_zfs_has_shared_is_looked_at(name: str) -> None:
    def given(*paths: str, line: str = LIBSHARE[name]) -> sharenfs.System:
        lines = "".join(f"{line.format(path)}\n" for path in paths)
        return replace(sharenfs.SYSTEMS[name], listing=("echo", lines))

    def wrong(system: sharenfs.System) -> str:
        with pytest.raises(HostError) as caught:
            sharenfs.check(LocalHost(), system, NESTED)
        return caught.value.message

    sharenfs.check(LocalHost(), given(*NESTED.paths), NESTED)
    sharenfs.check(LocalHost(), given("/elsewhere", *NESTED.paths), NESTED)
    assert "/b/be/test is not exported to 10.77.0.0/24" in wrong(given("/b/other"))
    wide = LIBSHARE[name].replace("10.77.0.0", "10.77.0.1").replace("255.255.255.0", "255.255.0.0")
    wide = wide.replace("/24", "/16")
    assert "exported to 10.77.0.0/16, not to" in wrong(given(*NESTED.paths, line=wide))


def test_each_nested_dataset_must_be_shared_where_clients_do_not_cross() -> None:
    lines = LIBSHARE["FreeBSD"].format("/b/be/test")
    system = replace(sharenfs.SYSTEMS["FreeBSD"], listing=("echo", lines))
    with pytest.raises(HostError, match="/b/be/test/usr is a file system of its own, not exported"):
        sharenfs.check(LocalHost(), system, NESTED)


def test_zfs_shares_nothing_where_no_server_runs() -> None:
    stopped = replace(sharenfs.SYSTEMS["Linux"], runs="false")
    with pytest.raises(HostError) as caught:
        sharenfs.runs(LocalHost(), stopped)
    assert caught.value.hint.endswith("systemctl start nfs-server")
    with pytest.raises(HostError, match="OpenBSD"):
        sharenfs.system_of("OpenBSD")


def test_the_whole_configuration_of_ganesha() -> None:
    clone = Export("/run/exports/a", NETWORK, 4, called="/a")
    looked_at = Export("/be/debian-12", NETWORK, 5, writable=False)
    assert exports.ganesha_conf(Listener(SERVER, "/run/recovery"), [clone, looked_at]) == (
        """\
NFS_CORE_PARAM {
    Bind_addr = 10.77.0.1;
    Protocols = 3;
    NFS_Port = 2049;
    MNT_Port = 20048;
    Enable_NLM = false;
    Enable_RQUOTA = false;
    mount_path_pseudo = true;
}
NFS_KRB5 { Active_krb5 = false; }
NFSV4 {
    Graceless = true;
    RecoveryBackend = fs;
    RecoveryRoot = "/run/recovery";
    Only_Numeric_Owners = true;
}
LOG { COMPONENTS { NFSPROTO = DEBUG; } }
EXPORT_DEFAULTS {
    Access_Type = NONE;
    Protocols = 3;
    Transports = TCP,UDP;
    SecType = sys;
    Squash = No_Root_Squash;
    Attr_Expiration_Time = 0;
}
EXPORT {
    Export_Id = 4;
    Path = "/run/exports/a";
    Pseudo = "/a";
    FSAL { Name = VFS; }
    CLIENT { Clients = 10.77.0.0/24; Access_Type = RW; }
}
EXPORT {
    Export_Id = 5;
    Path = "/be/debian-12";
    Pseudo = "/be/debian-12";
    FSAL { Name = VFS; }
    CLIENT { Clients = 10.77.0.0/24; Access_Type = RO; }
}
"""
    )


def test_ganesha_speaks_what_it_is_asked_to() -> None:
    both = Listener(SERVER, "/s", Served(frozenset({4, 3}), udp=False), nfs_port=12049)
    text = exports.ganesha_conf(both, [])
    assert text.count("    Protocols = 3,4;\n") == 2
    assert "    Transports = TCP;\n" in text
    assert "    NFS_Port = 12049;\n" in text


def test_ganesha_cannot_be_told_a_path_that_ends_its_strings() -> None:
    with pytest.raises(ValueError, match="cannot read the path"):
        exports.ganesha_conf(Listener(SERVER, "/s"), [Export('/a";}', NETWORK, 1)])


def test_what_a_linux_client_is_told() -> None:
    shared = replace(FLAT, called="/a")
    assert exports.linux_root(SERVER, shared) == "10.77.0.1:/a,vers=3,tcp,nolock"
    assert exports.linux_fstab(SERVER, shared) == ("10.77.0.1:/a / nfs rw,vers=3,tcp,nolock 0 0\n")


def test_what_a_freebsd_client_is_told() -> None:
    assert exports.freebsd_fstab(SERVER, NESTED) == (
        "10.77.0.1:/b/be/test / nfs rw,nolockd 0 0\n"
        "10.77.0.1:/b/be/test/usr /usr nfs rw,nolockd 0 0\n"
        "10.77.0.1:/b/be/test/var/log /var/log nfs rw,nolockd 0 0\n"
    )
    assert exports.freebsd_loader_conf(SERVER, NESTED) == (
        'vfs.root.mountfrom="nfs:10.77.0.1:/b/be/test"\n'
        'vfs.root.mountfrom.options="rw"\n'
        'boot.nfsroot.options="nolockd"\n'
    )
    assert exports.dhcp_root_path(SERVER, NESTED) == "10.77.0.1:/b/be/test"


# What others have set up


def test_our_own_lines_have_no_fault() -> None:
    freebsd = nfs_faults.freebsd_exported(exports.freebsd_exports([NESTED]))
    linux = nfs_faults.linux_exported(exports.linux_exports([NESTED]))
    booting = clients("freebsd", "13.2")
    assert faults(NESTED, freebsd, Served(), booting, dhcp={17, 66, 67}) == []
    assert faults(NESTED, linux, Served(), booting) == []


def test_lines_of_freebsd() -> None:
    text = """
V4: /b -network 10.77.0.0/24
# a comment
/b/be/one /b/be/two -maproot=0:0 -alldirs 10.77.0.5 \\
    build.example.org
/b/be/three -ro,mapall=nobody -network=10.77.0.0 -mask=255.255.0.0
/b/be/four -maproot root
"""
    host = IPv4Network("10.77.0.5/32")
    wide = IPv4Network("10.77.0.0/16")
    assert nfs_faults.freebsd_exported(text) == [
        Exported("/b/be/one", host, root=True, alldirs=True),
        Exported("/b/be/one", None, root=True, alldirs=True),
        Exported("/b/be/two", host, root=True, alldirs=True),
        Exported("/b/be/two", None, root=True, alldirs=True),
        Exported("/b/be/three", wide, root=False, writable=False),
        Exported("/b/be/four", IPv4Network("0.0.0.0/0"), root=True),
    ]


def test_lines_of_linux() -> None:
    text = """
"/with blank" 10.77.0.0/24(rw,no_root_squash) *(ro)
/a\\040b -rw,crossmnt host.example.org 10.77.0.5(no_root_squash,sync)
"""
    everybody = IPv4Network("0.0.0.0/0")
    assert nfs_faults.linux_exported(text) == [
        Exported("/with blank", NETWORK, root=True),
        Exported("/with blank", everybody, root=False, writable=False),
        Exported("/a b", None, root=False, crossing=True),
        Exported("/a b", IPv4Network("10.77.0.5/32"), root=True, crossing=True),
    ]


TOP = Exported("/b/be/test", NETWORK, root=True)
USR = Exported("/b/be/test/usr", NETWORK, root=True)
LOG = Exported("/b/be/test/var/log", NETWORK, root=True)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([USR, LOG], "/b/be/test is not exported to 10.77.0.0/24"),
        (
            [TOP, USR],
            "/b/be/test/var/log is a file system of its own, not exported to 10.77.0.0/24",
        ),
        (
            [replace(TOP, root=False), USR, LOG],
            "/b/be/test does not let root be root (-maproot=root, no_root_squash): "
            "init cannot read its files",
        ),
        ([replace(TOP, writable=False), USR, LOG], "/b/be/test is exported read-only"),
        (
            [replace(TOP, network=IPv4Network("0.0.0.0/0")), USR, LOG],
            "/b/be/test is exported to everybody, not to 10.77.0.0/24 alone",
        ),
        (
            [TOP, replace(USR, network=IPv4Network("10.77.0.0/16")), LOG],
            "/b/be/test/usr is exported to 10.77.0.0/16, not to 10.77.0.0/24 alone",
        ),
        (
            [TOP, USR, LOG, Exported("/b/be/test/etc", NETWORK, root=True, alldirs=True)],
            "/b/be/test/etc has -alldirs and is no root of a file system: mountd refuses it",
        ),
    ],
)
def test_a_fault_of_exports(given: list[Exported], why: str) -> None:
    assert faults(NESTED, given, Served()) == [why]


def test_other_exports_of_a_server_are_not_judged() -> None:
    other = Exported("/home", IPv4Network("0.0.0.0/0"), root=False)
    assert faults(NESTED, [TOP, USR, LOG, other], Served()) == []


def test_a_line_for_some_hosts_does_not_cover_the_network() -> None:
    one = replace(TOP, network=IPv4Network("10.77.0.5/32"))
    assert faults(NESTED, [one, USR, LOG], Served()) == [
        "/b/be/test is not exported to 10.77.0.0/24"
    ]


def test_crossmnt_brings_what_is_below() -> None:
    assert faults(NESTED, [replace(TOP, crossing=True)], Served()) == []


@pytest.mark.parametrize(
    ("booting", "served", "why"),
    [
        (
            clients("freebsd", "13.2"),
            Served(frozenset({3, 4}), udp=False),
            "the loader of FreeBSD 13.2 speaks NFS over UDP only, which is not served "
            "(nfsd -u; on Linux udp=y in nfs.conf)",
        ),
        (
            clients("freebsd", "4.11"),
            Served(),
            "the loader of FreeBSD 4.11 speaks NFS version 2, the server 3",
        ),
        (
            clients("freebsd", "13.2"),
            Served(frozenset({4})),
            "the loader of FreeBSD 13.2 speaks NFS version 3, the server 4",
        ),
        (
            clients("netbsd", "10.1"),
            Served(frozenset({3, 4}), udp=False),
            "the kernel of NetBSD speaks NFS over UDP only, which is not served "
            "(nfsd -u; on Linux udp=y in nfs.conf)",
        ),
        (
            clients("openbsd", "5.4"),
            Served(),
            "the kernel of OpenBSD 5.4 speaks NFS version 2, the server 3",
        ),
        (
            clients("openbsd", "7.8"),
            Served(frozenset({4})),
            "the kernel of OpenBSD 7.8 speaks NFS version 2 or 3, the server 4",
        ),
    ],
)
def test_what_is_spoken_has_to_be_served(
    booting: tuple[Client, ...], served: Served, why: str
) -> None:
    assert faults(FLAT, [replace(TOP, path=FLAT.path)], served, booting) == [why]


def test_a_linux_is_content_with_version_3_over_tcp() -> None:
    served = Served(frozenset({3}), udp=False)
    there = [replace(TOP, path=FLAT.path)]
    assert faults(FLAT, there, served, clients("debian", "12")) == []


def test_swap_server_is_a_trap() -> None:
    assert faults(FLAT, [replace(TOP, path=FLAT.path)], Served(), dhcp=[16, 17]) == [
        "DHCP sends option 16 (swap-server), which the loader takes for its root server"
    ]


# What servers say

LOGGED = """\
21/11/2026 22:33:30 : epoch 6b02 : vm : nfs-ganesha-2[main] main :MAIN :EVENT :Starting
.. vm : nfs-ganesha-2[svc_7] mnt_Mnt :NFS3 :DEBUG :REQUEST PROCESSING: Calling MNT_MNT path=/a
.. vm : nfs-ganesha-2[svc_3] mnt_Mnt :NFS3 :DEBUG :REQUEST PROCESSING: Calling MNT_MNT path=/gone/x
.. vm : nfs-ganesha-2[svc_3] mnt_Mnt :NFS3 :INFO :MOUNT: Export entry / does not support NFS v3 \
for client ::ffff:10.77.0.3
.. vm : nfs-ganesha-2[svc_7] mnt_Mnt :NFS3 :DEBUG :MOUNT: Entry supports 1 different flavours \
handle=0x4300 for client ::ffff:10.77.0.2
"""


def test_ganesha_tells_who_mounts_what() -> None:
    assert list(ganesha_log.asked(LOGGED.splitlines())) == [
        Asked("/gone/x", IPv4Address("10.77.0.3"), granted=False),
        Asked("/a", IPv4Address("10.77.0.2"), granted=True),
    ]


def test_the_kernel_tells_who_mounts_what() -> None:
    rmtab = "10.77.0.2:/srv/a:0x00000002\n10.77.0.3:/home:0x00000001\nhost:/srv/a:0x00000001\n"
    assert (
        kernel_nfs.asked(rmtab, "/srv")
        == [Asked("/srv/a", IPv4Address("10.77.0.2"), granted=True)] * 2
    )


@pytest.mark.parametrize(
    ("versions", "portlist", "served"),
    [
        ("-2 +3 +4 +4.1 +4.2\n", "tcp 2049\ntcp 2049\n", Served(frozenset({3, 4}), udp=False)),
        ("+2 +3 -4\n", "tcp 2049\nudp 2049\n", Served(frozenset({2, 3}))),
    ],
)
def test_what_the_kernel_serves(versions: str, portlist: str, served: Served) -> None:
    assert kernel_nfs.served(versions, portlist) == served


def test_the_kernels_server_is_missed_where_it_does_not_run(tmp_path: Path) -> None:
    stopped = "the kernel's NFS server does not run here: systemctl start nfs-server"
    assert kernel_nfs.missing(tmp_path) == stopped
    (tmp_path / "threads").write_text("0\n")
    assert kernel_nfs.missing(tmp_path) == stopped
