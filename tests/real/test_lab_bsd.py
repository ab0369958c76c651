"""The way of a FreeBSD, a NetBSD and an OpenBSD to their root, as each part asks on the wire.

None of them runs here. Their firmware and loaders are udhcpc and tftp. What a kernel asks is
written down here after sys/nfs/nfs_boot.c, nfs_bootdhcp.c and krpc_subr.c of NetBSD and OpenBSD,
what FreeBSD's loader asks after stand/libsa/bootp.c, rpc.c and nfs.c.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from lab_net import ADDRESS, LabNet, neighbour

from behunt import catalogue
from behunt.errors import HostError
from behunt.hosts.syscalls import NAMESPACES, setns
from behunt.model import BootEnv, Release
from behunt.netboot.lab import Machine
from behunt.runners.lab import freebsd, netbsd, openbsd
from behunt.runners.lab.families import Family
from behunt.runners.lab.root import Made
from behunt.storage.protocol import Clone

pytestmark = pytest.mark.real

PATIENCE = 30.0  # seconds
ABSENT = b"server error: (1) "  # no such file (RFC 1350)
STRANGER = bytes.fromhex("025400770009")
BROADCAST = b"\xff" * 6
PORTMAP, MOUNT, NFS, BOOTPARAM = 100000, 100005, 100003, 100026
GETPORT, CALLIT = 3, 5
GETATTR, LOOKUP, READ, MKNOD, REMOVE, RENAME, LINK, READDIR = 1, 3, 6, 11, 12, 14, 15, 16
TCP, UDP = 6, 17
DIRECTORY, CHARACTERS = 2, 4  # NF3DIR, NF3CHR
PIECE = 1024  # bytes: FreeBSD's loader reads no more at once
KERNEL = os.urandom(1 << 16)
FILES: dict[str, dict[str, bytes]] = {
    "freebsd-13.2": {
        "boot/kernel/kernel": KERNEL,
        "boot/pxeboot": b"its pxeboot",
        "boot/loader.conf": b"# its own",
        "etc/rc": b"",
    },
    "openbsd-7.8": {"bsd": KERNEL, "usr/mdec/pxeboot": b"pxeboot", "etc/ttys": b""},
    "netbsd-10.1": {
        "netbsd": KERNEL,
        "usr/mdec/pxeboot_ia32.bin": b"pxeboot_ia32.bin",
        "etc/rc.conf": b"hostname=its-own\n",
    },
}

# A behunt that serves a clone to the one machine of the lab, and tells how far that comes.
SERVING = """
import json, sys, time
from pathlib import Path

from behunt.model import BootEnv
from behunt.netboot.lab import read
from behunt.netboot.serving import Servers
from behunt.runners.lab.offering import offered
from behunt.storage.protocol import Clone

lab, place = read(Path(sys.argv[1])), Path(sys.argv[2])
bootenv = BootEnv("be", "a-release", place / "root", sealed=True)
clone = Clone("c", bootenv, (str(place / "root"),), stage=str(place / "stage"))
(machine,) = lab.machines
with Servers(lab, place / "server") as servers:
    with offered(servers, machine, clone, place / "made") as offer:
        print(flush=True)
        for line in sys.stdin:
            stage = servers.stage(machine, (), float(line), offer.offer.last)
            print(json.dumps(stage), flush=True)
"""
# For udhcpc: what it was told, and the address is taken, with the mask that is asked for.
SCRIPT = """\
#!/bin/sh
[ "$1" = bound ] || exit 0
env >"$told"
ip address flush dev eth0
ip address add "$ip/$mask" dev eth0
"""


@dataclass(frozen=True)
class Card:
    """The machine's card, in a network namespace of its own, which `enter` enters."""

    enter: tuple[str, ...]
    mac: str
    place: Path

    @property
    def address(self) -> bytes:
        return bytes.fromhex(self.mac.replace(":", ""))

    def run(self, *argv: str) -> str:
        done = subprocess.run(
            [*self.enter, *argv], check=True, capture_output=True, text=True, timeout=PATIENCE
        )
        return done.stdout

    def asks(self, *options: str) -> dict[str, str]:
        """By DHCP, and takes the address: what it is told, by udhcpc's names."""
        script, told = self.place / "script", self.place / "told"
        script.write_text(SCRIPT)
        script.chmod(0o755)
        self.run(
            *("env", f"told={told}", "busybox", "udhcpc", "-i", "eth0", "-s", str(script)),
            *("-f", "-q", "-n", "-C", *options),
        )
        return dict(line.split("=", 1) for line in told.read_text().splitlines() if "=" in line)

    def fetched(self, name: str) -> bytes | None:
        """By TFTP; None for what is not there."""
        argv = [*self.enter, "busybox", "tftp", "-g", "-l", "-", "-r", name, ADDRESS]
        done = subprocess.run(argv, capture_output=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0 or ABSENT in done.stderr, done.stderr
        return done.stdout if done.returncode == 0 else None

    @contextlib.contextmanager
    def socket(self, family: int, kind: int, protocol: int = 0) -> Iterator[socket.socket]:
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(self.enter[1].removeprefix("--net="), os.O_RDONLY)
        try:
            setns(there, NAMESPACES["net"])
            made = socket.socket(family, kind, protocol)
            setns(own, NAMESPACES["net"])
        finally:
            os.close(own)
            os.close(there)
        with made:
            made.settimeout(PATIENCE)
            yield made

    def called(self, to: str, port: int, *calls: bytes) -> tuple[bytes, tuple[str, int]]:
        """The first answer to any of `calls`, without its head, and whose it is."""
        with self.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            own.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")  # it has no routes
            own.bind(("", 0))
            for call in calls:
                own.sendto(call, (to, port))
            answer, peer = own.recvfrom(1 << 16)
        return accepted(answer, calls[-1]), peer

    def over_tcp(self, port: int, call: bytes) -> bytes:
        """The answer to `call`, without its head."""
        with self.socket(socket.AF_INET, socket.SOCK_STREAM) as own:
            own.connect((ADDRESS, port))
            own.sendall(words(1 << 31 | len(call)) + call)
            with own.makefile("rb") as stream:
                (mark,) = struct.unpack(">I", stream.read(4))
                return accepted(stream.read(mark & ~(1 << 31)), call)


@pytest.fixture
def card(net: LabNet, tmp_path: Path) -> Iterator[Card]:
    with neighbour(net, "192.0.2.9/32") as enter:
        card = Card(enter, net.mac(1), tmp_path)
        card.run("ip", "link", "set", "eth0", "address", card.mac)
        card.run("ip", "address", "flush", "dev", "eth0")
        yield card


@dataclass(frozen=True)
class Behunt:
    process: subprocess.Popen[str]
    since: float

    def comes_to(self, stage: str, why: str = "") -> None:
        """What was just sent is in the log some moments later."""
        until = time.monotonic() + PATIENCE
        while (told := self.stage())[0] != stage or why not in told[1]:
            assert time.monotonic() < until, told
            time.sleep(0.05)

    def stage(self) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{self.since}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def release(name: str, arch: str = "amd64") -> Release:
    system, _, version = name.partition("-")
    return catalogue.find(catalogue.load(system), version, os=system, arch=arch)


def installed(place: Path, files: dict[str, bytes]) -> Clone:
    for path, content in files.items():
        (place / "root" / path).parent.mkdir(parents=True, exist_ok=True)
        (place / "root" / path).write_bytes(content)
    for directory in ("root/dev", "made", "stage"):
        (place / directory).mkdir()
    bootenv = BootEnv("be", "a-release", place / "root", sealed=True)
    return Clone("c", bootenv, (str(place / "root"),))


@contextlib.contextmanager
def serving(net: LabNet, place: Path, name: str, family: Family) -> Iterator[Behunt]:
    """A behunt that has `name` booted by the first machine, whose console is serial."""
    clone = installed(place, FILES[name])
    version = family.make(release(name), clone, place / "made")
    Made(name.partition("-")[0], "amd64", version).write(place / "made")
    file = net.write({"name": "node1", "mac": net.mac(1), "console": "tcp:127.0.0.1:4001"})
    (place / "server").mkdir()
    with subprocess.Popen(
        [*net.enter, sys.executable, "-c", SERVING, file, place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        umask=0o077,  # as sudo keeps it
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "\n"
        yield Behunt(process, time.time() - 1)


def words(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def string(text: bytes) -> bytes:
    return words(len(text)) + text + bytes(-len(text) % 4)


def call(program: int, version: int, procedure: int, arguments: bytes, number: int = 7) -> bytes:
    credentials = words(1, 20) + bytes(20) + words(0, 0)  # of root
    return words(number, 0, 2, program, version, procedure) + credentials + arguments


def accepted(answer: bytes, call: bytes) -> bytes:
    """What is behind the head of an answer to `call` that was understood."""
    assert answer[:4] == call[:4], "another call was answered"
    assert struct.unpack_from(">5I", answer, 4) == (1, 0, 0, 0, 0)
    return answer[24:]


def inet(address: str) -> bytes:
    return words(1, *map(int, address.split(".")))


def taken(data: bytes) -> tuple[bytes, bytes]:
    (length,) = struct.unpack_from(">I", data)
    return data[4 : 4 + length], data[4 + length + -length % 4 :]


def port_of(card: Card, program: int, transport: int = UDP) -> int:
    """What the port mapper says of version 3, asked by the same transport."""
    asked = call(PORTMAP, 2, GETPORT, words(program, 3, transport, 0))
    said = card.over_tcp(111, asked) if transport == TCP else card.called(ADDRESS, 111, asked)[0]
    (port,) = struct.unpack(">I", said)
    return int(port)


def mounted(card: Card, path: bytes) -> tuple[int, bytes]:
    """The status and, of 0, the handle that mountd gives, which is asked by UDP."""
    said, peer = card.called(ADDRESS, port_of(card, MOUNT), call(MOUNT, 3, 1, string(path)))
    assert peer[0] == ADDRESS
    (status,) = struct.unpack_from(">I", said)
    return status, taken(said[4:])[0] if status == 0 else b""


def looked_up(card: Card, directory: bytes, name: bytes) -> tuple[bytes, tuple[int, ...]]:
    """A handle, and the attributes behind it: type, mode, …, device (RFC 1813, 2.5)."""
    asked = call(NFS, 3, LOOKUP, string(directory) + string(name))
    said, _ = card.called(ADDRESS, 2049, asked)
    assert said[:4] == words(0)
    handle, rest = taken(said[4:])
    assert rest[:4] == words(1)
    kind, mode, _, _, _, _, _, _, _, major, minor = struct.unpack_from(">11I", rest, 4)
    return handle, (kind, mode & 0o777, major, minor)


@dataclass(frozen=True)
class Loader:
    """FreeBSD's: its NFS is by UDP, and takes no answer that lacks the attributes."""

    card: Card
    port: int

    def asks(self, procedure: int, handle: bytes, *arguments: bytes) -> bytes:
        """What is behind the status."""
        asked = call(NFS, 3, procedure, string(handle) + b"".join(arguments))
        said, peer = self.card.called(ADDRESS, self.port, asked)
        assert peer == (ADDRESS, self.port)
        assert said[:4] == words(0)
        return said[4:]

    def finds(self, directory: bytes, path: str) -> bytes:
        for name in path.split("/"):
            handle, rest = taken(self.asks(LOOKUP, directory, string(name.encode())))
            self.attributes(rest)
            assert len(handle) <= 64
            directory = handle
        return directory

    def reads(self, handle: bytes) -> bytes:
        """All of a file."""
        content, end = b"", 0
        while not end:
            asked = struct.pack(">QI", len(content), PIECE)
            _, rest = self.attributes(self.asks(READ, handle, asked))
            count, end = struct.unpack_from(">2I", rest)
            data, _ = taken(rest[8:])
            assert len(data) == count <= PIECE
            content += data
        return content

    def lists(self, handle: bytes) -> set[bytes]:
        """The names in a small directory."""
        asked = struct.pack(">QQI", 0, 0, PIECE)
        kind, rest = self.attributes(self.asks(READDIR, handle, asked))
        assert kind == DIRECTORY
        names, rest = set(), rest[8:]  # behind the verifier
        while rest[:4] == words(1):
            name, rest = taken(rest[12:])
            names.add(name)
            rest = rest[8:]
        assert rest == words(0, 1), "there is more"
        return names

    @staticmethod
    def attributes(data: bytes) -> tuple[int, bytes]:
        """Its type, and what is behind them: RFC 1813 makes them optional, and libsa does not."""
        follow, kind = struct.unpack_from(">2I", data)
        assert follow == 1
        return kind, data[4 + 84 :]


def test_a_freebsd_finds_its_root(net: LabNet, card: Card, tmp_path: Path) -> None:
    with serving(net, tmp_path, "freebsd-13.2", freebsd) as behunt:
        told = card.asks("-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000")
        assert (told["boot_file"], told["siaddr"]) == ("pxeboot", ADDRESS)
        assert card.fetched("pxeboot") == b"its pxeboot"
        behunt.comes_to("no mount")

        # its loader, which does not say what firmware there is
        user_class = b"\x07FreeBSD".hex()
        options = [f"-O{number}" for number in (17, 12, 16, 3, 1, 26, 54)]
        told = card.asks("-V", "PXEClient", "-x", f"0x4d:{user_class}", "-o", *options)
        assert (told["rootpath"], told["hostname"]) == (f"{ADDRESS}:/node1", "node1")
        assert (told["subnet"], told["serverid"]) == ("255.255.255.0", ADDRESS)
        assert not {"swapsrv", "opt16", "router"} & told.keys()
        loader = Loader(card, port_of(card, NFS))
        status, root = mounted(card, b"/node1")
        assert status == 0
        assert len(root) <= 64
        behunt.comes_to("no job")
        assert {b"loader.conf", b"loader.conf.local", b"kernel"} <= loader.lists(
            loader.finds(root, "boot")
        )
        assert loader.reads(loader.finds(root, "boot/kernel/kernel")) == KERNEL
        conf = loader.reads(loader.finds(root, "boot/loader.conf.local")).decode()
        assert f'vfs.root.mountfrom="nfs:{ADDRESS}:/node1"\n' in conf
        fstab = loader.reads(loader.finds(root, "etc/fstab")).decode()

        # its kernel, which is given the loader's handle
        nfs = port_of(card, NFS, TCP)
        said = card.over_tcp(nfs, call(NFS, 3, GETATTR, string(root)))
        assert said[:8] == words(0, DIRECTORY)

        # and mount(8), for `mount -u /`
        assert fstab.split() == [f"{ADDRESS}:/node1", "/", "nfs", "rw,nolockd", "0", "0"]
        asked = call(MOUNT, 3, 1, string(b"/node1"))
        said = card.over_tcp(port_of(card, MOUNT, TCP), asked)
        assert said[:4] == words(0)
        assert taken(said[4:])[0] == root


def test_an_openbsd_finds_its_root(net: LabNet, card: Card, tmp_path: Path) -> None:
    with serving(net, tmp_path, "openbsd-7.8", openbsd) as behunt:
        behunt.comes_to("no DHCP")
        told = card.asks("-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000")
        assert (told["boot_file"], told["siaddr"]) == ("pxeboot", ADDRESS)
        behunt.comes_to("no TFTP", "it has its address, and has fetched nothing")

        # its loader
        assert card.fetched("pxeboot") == b"pxeboot"
        assert card.fetched("bsd.upgrade") is None
        behunt.comes_to("no TFTP", "bsd.upgrade not found")
        boot_conf = b"stty com0 115200\nset tty com0\nboot tftp:bsd\n"
        assert card.fetched("/etc/boot.conf") == boot_conf
        assert len(card.fetched("/etc/random.seed") or b"") == 512
        behunt.comes_to("no TFTP", "not come to bsd")
        assert card.fetched("bsd") == KERNEL
        behunt.comes_to("no mount")

        # its kernel
        card.run("ip", "address", "flush", "dev", "eth0")
        address = told["ip"]
        assert by_rarp(card) == (address, ADDRESS)
        # of the class that it is of: no mask is known
        card.run("ip", "address", "add", f"{address}/8", "brd", "10.255.255.255", "dev", "eth0")
        for everybody in ("10.255.255.255", "255.255.255.255"):
            port, server = who_am_i(card, everybody, address)
            assert server == ADDRESS
        assert where(card, port, b"root") == (ADDRESS, b"/node1")
        status, root = mounted(card, b"/node1")
        assert status == 0
        behunt.comes_to("no job")

        # and its init
        devices, _ = looked_up(card, root, b"dev")
        assert looked_up(card, devices, b"console")[1] == (CHARACTERS, 0o600, 8, 0)
        assert looked_up(card, devices, b"null")[1] == (CHARACTERS, 0o666, 2, 2)
        made_by_makedev(card, devices)
        fstab = card.run("nfs-cat", f"nfs://{ADDRESS}/node1/etc/fstab?uid=0&gid=0")
        assert fstab == f"{ADDRESS}:/node1 / nfs rw 0 0\n"
        server, swap = where(card, port, b"swap")
        assert server == ADDRESS
        assert mounted(card, swap)[0] != 0


def made_by_makedev(card: Card, devices: bytes) -> None:
    """What rc.local has done in /dev: the console's own numbers cannot be made, and are not."""

    def done(procedure: int, *arguments: bytes) -> bool:
        said, _ = card.called(ADDRESS, 2049, call(NFS, 3, procedure, b"".join(arguments)))
        return said[:4] == words(0)

    def made(name: bytes, major: int, minor: int) -> bool:
        mode = words(1, 0o600, 0, 0, 0, 0, 0)
        return done(MKNOD, at(name), words(CHARACTERS), mode, words(major, minor))

    def at(name: bytes) -> bytes:
        return string(devices) + string(name)

    console, there = looked_up(card, devices, b"console")
    assert done(LINK, string(console), at(b".console"))
    assert done(REMOVE, at(b"console"))
    assert not made(b"console", 0, 0)
    assert made(b"tty00", 8, 0)
    assert done(RENAME, at(b".console"), at(b"console"))
    assert looked_up(card, devices, b"console")[1] == there
    assert looked_up(card, devices, b"tty00")[1] == (CHARACTERS, 0o600, 8, 0)


def by_rarp(card: Card) -> tuple[str, str]:
    """The address of the card and of who answers. A stranger, who asked before, gets nothing."""
    with card.socket(socket.AF_PACKET, socket.SOCK_RAW) as own:
        own.bind(("eth0", 0x8035))
        for mac in (STRANGER, card.address):
            asked = bytes.fromhex("8035 0001 0800 06 04 0003") + (mac + bytes(4)) * 2
            own.send(BROADCAST + card.address + asked + bytes(18))
        answer = own.recv(100)
    assert answer[:6] == card.address
    assert answer[12:22] == bytes.fromhex("8035 0001 0800 06 04 0004")
    server, target, address = answer[28:32], answer[32:38], answer[38:42]
    assert target == card.address
    return socket.inet_ntoa(address), socket.inet_ntoa(server)


def who_am_i(card: Card, everybody: str, address: str) -> tuple[int, str]:
    """Where bootparams are, by who answers. What is asked about another is not answered."""
    asked = (
        call(PORTMAP, 2, CALLIT, words(BOOTPARAM, 1, 1) + string(inet(who)), number)
        for number, who in ((5, "10.77.0.9"), (6, address))
    )
    said, peer = card.called(everybody, 111, *asked)
    inner, _ = taken(said[4:])
    assert inner[:12] == string(b"node1")
    return struct.unpack_from(">I", said)[0], peer[0]


def where(card: Card, port: int, key: bytes) -> tuple[str, bytes]:
    """A server and the path there."""
    asked = call(BOOTPARAM, 1, 2, string(b"node1") + string(key))
    said, _ = card.called(ADDRESS, port, asked)
    _, rest = taken(said)
    kind, *parts = struct.unpack_from(">5I", rest)
    assert kind == 1
    path, _ = taken(rest[20:])
    return ".".join(map(str, parts)), path


def test_a_netbsd_finds_its_root(net: LabNet, card: Card, tmp_path: Path) -> None:
    with serving(net, tmp_path, "netbsd-10.1", netbsd) as behunt:
        told = card.asks("-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000")
        assert (told["boot_file"], told["siaddr"]) == ("pxeboot_ia32.bin", ADDRESS)
        assert card.fetched("pxeboot_ia32.bin") == b"pxeboot_ia32.bin"

        # its loader
        told = card.asks("-V", "NetBSD:i386:libsa", "-o")
        assert (told["boot_file"], told["siaddr"]) == ("tftp:netbsd", ADDRESS)
        behunt.comes_to("no TFTP", "not come to netbsd")
        assert gzip.decompress(card.fetched("netbsd") or b"") == KERNEL
        behunt.comes_to("no mount")

        # its kernel, which asks for no option by its number
        told = card.asks("-V", "NetBSD:amd64:kernel:10.1", "-o")
        assert (told["rootpath"], told["siaddr"]) == ("/node1", ADDRESS)
        assert (told["subnet"], told["hostname"]) == ("255.255.255.0", "node1")
        assert mounted(card, b"/node1")[0] == 0
        behunt.comes_to("no job")
        rc_conf = card.run("nfs-cat", f"nfs://{ADDRESS}/node1/etc/rc.conf?uid=0&gid=0")
        assert rc_conf.startswith("hostname=its-own\nrc_configured=YES\n")


def test_nobody_listens_any_more_once_it_is_over(net: LabNet, tmp_path: Path) -> None:
    def heard() -> set[str]:
        """Types of frames that sockets wait for."""
        lines = Path(f"/proc/{net.holder}/net/packet").read_text().splitlines()[1:]
        return {line.split()[3] for line in lines}

    assert "8035" not in heard()
    with serving(net, tmp_path, "openbsd-7.8", openbsd):
        assert {"8035", "0800"} <= heard()
    assert "8035" not in heard()


NODE = Machine("node1", "02:01:02:03:04:05")
DEVICES = {"console": (12, 0), "null": (2, 2), "tty": (1, 0)}
UEFI = {"usr/mdec/BOOTX64.EFI": b"by UEFI"}


def devices(directory: Path) -> dict[str, tuple[int, int]]:
    found = {path.name: path.lstat() for path in directory.iterdir()}
    assert all(stat.S_ISCHR(one.st_mode) for one in found.values())
    return {
        name: (os.major(one.st_rdev), os.minor(one.st_rdev))
        for name, one in found.items()
        if name in DEVICES
    }


def test_an_openbsd_brings_its_devices_in_a_layer(tmp_path: Path) -> None:
    clone = installed(tmp_path, FILES["openbsd-7.8"])
    openbsd.make(release("openbsd-7.8"), clone, tmp_path / "made")
    layer, *rest = openbsd.layered(clone, tmp_path / "made", NODE).lower
    assert rest == list(clone.lower)
    assert devices(Path(layer) / "dev") == DEVICES
    serial = openbsd.layered(clone, tmp_path / "made", replace(NODE, console="sol")).lower[0]
    assert devices(Path(serial) / "dev") == {**DEVICES, "console": (8, 0)}


def test_a_clone_that_is_mounted_gets_them_itself(tmp_path: Path) -> None:
    clone = installed(tmp_path, FILES["openbsd-7.8"])
    mounted = replace(clone, lower=(), root=clone.lower[0])
    for _ in range(2):
        assert openbsd.layered(mounted, tmp_path / "made", NODE) == mounted
    assert devices(tmp_path / "root/dev") == DEVICES


def test_a_dev_that_leads_elsewhere_is_left_alone(tmp_path: Path) -> None:
    clone = installed(tmp_path, FILES["openbsd-7.8"])
    (tmp_path / "root/dev").rmdir()
    (tmp_path / "root/dev").symlink_to(tmp_path / "stage")
    with pytest.raises(HostError, match="cannot make an OpenBSD's devices"):
        openbsd.layered(replace(clone, lower=(), root=clone.lower[0]), tmp_path / "made", NODE)
    assert list((tmp_path / "stage").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arch", "loaders"),
    [
        ("openbsd-7.8", "amd64", {"pxeboot", "BOOTX64.EFI"}),
        ("openbsd-6.2", "amd64", {"pxeboot"}),  # the other is there, but knows no network
        ("openbsd-7.8", "i386", {"pxeboot"}),
    ],
)
def test_which_loaders_an_openbsd_brings(
    name: str, arch: str, loaders: set[str], tmp_path: Path
) -> None:
    clone = installed(tmp_path, {**FILES["openbsd-7.8"], **UEFI})
    assert openbsd.make(release(name, arch), clone, tmp_path / "made") == name.split("-")[1]
    made = {path.name for path in (tmp_path / "made").iterdir() if path.is_file()}
    assert made == loaders | {"bsd", "ttys", "rc.conf.local"}
