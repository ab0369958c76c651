"""What a NetBSD and an OpenBSD of a lab are told, given and answered, as values."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt import catalogue
from behunt.errors import InstallError
from behunt.model import BootEnv, Release
from behunt.netboot import bootparam, rarp
from behunt.netboot.bootparam import Known
from behunt.netboot.diskless import datagram
from behunt.netboot.dnsmasq import Booting, dhcp_conf, leased, options
from behunt.netboot.lab import Firmware, Machine, lab_of
from behunt.netboot.stages import Seen, Stage, stage
from behunt.runners.lab import netbsd, openbsd
from behunt.runners.lab.job import job
from behunt.runners.lab.root import Root
from behunt.storage.protocol import Clone

NODE = Machine("node1", "02:01:02:03:04:05")
SERIAL = replace(NODE, console="/dev/ttyUSB0,9600")
SERVER = IPv4Address("10.77.0.1")
ROOT = Root(SERVER, "/node1")
NETWORK = {"interface": "lab0", "address": "10.77.0.1/24", "range": ["10.77.0.50", "10.77.0.99"]}


def release(name: str, arch: str = "amd64") -> Release:
    os, _, version = name.partition("-")
    return catalogue.find(catalogue.load(os), version, os=os, arch=arch)


def installed(tmp_path: Path, files: Mapping[str, bytes]) -> Clone:
    for name, content in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "made").mkdir()
    bootenv = BootEnv("be", "a-release", tmp_path / "root", sealed=True)
    return Clone("c", bootenv, lower=(str(tmp_path / "root"),))


def words(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


# -- NetBSD

# A jump, the magic number of PXE, and 24 bytes of parameters, as pxeboot_ia32.bin begins with.
FLAGS, TIMEOUT = 12, 5
LOADER = (
    b"\xeb\x40\x90\x90"
    + bytes.fromhex("d3b68678")
    + struct.pack("<6I", 24, FLAGS, TIMEOUT, 0, 9600, 0)
    + b"code"
)


@pytest.fixture
def made_netbsd(tmp_path: Path) -> Path:
    files = {
        "netbsd": b"\x7fELF the kernel" * 100,
        "usr/mdec/pxeboot_ia32.bin": LOADER,
        "etc/rc.conf": b"rc_configured=NO\nhostname=its-own",
    }
    netbsd.make(release("netbsd-10.1"), installed(tmp_path, files), tmp_path / "made")
    return tmp_path / "made"


def test_a_netbsd_brings_its_loader_and_a_kernel_that_is_compressed(made_netbsd: Path) -> None:
    assert (made_netbsd / "pxeboot_ia32.bin").read_bytes() == LOADER
    kernel = (made_netbsd / "netbsd").read_bytes()
    assert gzip.decompress(kernel) == b"\x7fELF the kernel" * 100


def test_a_netbsd_without_a_kernel(tmp_path: Path) -> None:
    clone = installed(tmp_path, {"usr/mdec/pxeboot_ia32.bin": LOADER})
    with pytest.raises(InstallError, match="without a kernel") as raised:
        netbsd.make(release("netbsd-10.1"), clone, tmp_path / "made")
    assert "the set kern-GENERIC too" in raised.value.hint


def test_a_netbsd_is_told_its_kernel_by_tftp(made_netbsd: Path) -> None:
    offer = netbsd.offer(NODE, ROOT, made_netbsd)
    assert offer.last == "netbsd"
    assert offer.tftp == {"pxeboot_ia32.bin": LOADER, "netbsd": made_netbsd / "netbsd"}
    said = dhcp_conf(lab_of({"lab": NETWORK}), Path("/d"), 8080).splitlines()
    assert "dhcp-boot=tag:netbsd,tag:bios,pxeboot_ia32.bin,,10.77.0.1" in said
    assert "dhcp-boot=tag:netbsd,tag:!bios,tag:!uefi,tftp:netbsd,,10.77.0.1" in said
    told = options([Booting(NODE, offer.way, offer.options)])
    assert told == "tag:machine-node1,option:root-path,/node1\n"


def test_the_files_of_a_netbsd(made_netbsd: Path) -> None:
    laid = netbsd.offer(NODE, ROOT, made_netbsd).laid
    assert laid["etc/fstab"] == "10.77.0.1:/node1 / nfs rw 0 0\n"
    assert laid["etc/rc.local"] == "sh /behunt/.init\n"
    lines = laid["etc/rc.conf"].splitlines()
    assert lines[:3] == ["rc_configured=NO", "hostname=its-own", "rc_configured=YES"]
    assert {"auto_ifconfig=NO", 'net_interfaces=""', "no_swap=YES"} <= set(lines)
    assert "etc/rc.local" not in netbsd.offer(NODE, ROOT, made_netbsd, "/sbin/init").laid


def test_the_console_of_a_netbsd_is_told_to_its_loader(made_netbsd: Path) -> None:
    told = netbsd.offer(SERIAL, ROOT, made_netbsd).tftp["pxeboot_ia32.bin"]
    assert isinstance(told, bytes)
    assert told[:8] == LOADER[:8]
    assert struct.unpack_from("<6I", told, 8) == (24, FLAGS, TIMEOUT, 1, 9600, 0)
    assert told[32:] == LOADER[32:]
    fast = netbsd.with_console(LOADER, replace(NODE, console="sol"))
    assert struct.unpack_from("<2I", fast, 20) == (1, 115200)


@pytest.mark.parametrize("loader", [b"", LOADER[:20], LOADER.replace(b"\xd3", b"\xd2")])
def test_a_loader_that_takes_no_console_is_left_alone(loader: bytes) -> None:
    assert netbsd.with_console(loader, SERIAL) == loader


def test_no_netbsd_boots_by_uefi(made_netbsd: Path) -> None:
    with pytest.raises(InstallError, match="node1 boots by uefi, and no NetBSD is known"):
        netbsd.offer(replace(NODE, firmware=Firmware.UEFI), ROOT, made_netbsd)


@pytest.mark.parametrize("system", [netbsd.system("10.1"), openbsd.system("7.8")])
def test_their_jobs_end_with_the_power_off(system: netbsd.System) -> None:
    script = job(system, ["./t"], {}, "/", run="r", hostname="h")
    assert "\n    sync\n    halt -pq\n" in script


# -- OpenBSD

TTYS = b"""\
console	"/usr/libexec/getty std.9600"	vt220	off secure
ttyC0	"/usr/libexec/getty std.9600"	vt220	on  secure
tty00	"/usr/libexec/getty std.9600"	unknown off
tty01	"/usr/libexec/getty std.9600"	unknown off
"""


@pytest.fixture
def made_openbsd(tmp_path: Path) -> Path:
    """As tests/real/test_lab_bsd.py has it made, which takes root."""
    for name in ("pxeboot", "BOOTX64.EFI", "bsd"):
        (tmp_path / name).touch()
    (tmp_path / "ttys").write_bytes(TTYS)
    (tmp_path / "rc.conf.local").write_text("apmd_flags=-A\npf=YES")
    return tmp_path


@pytest.mark.parametrize(
    ("firmware", "loader"), [(Firmware.BIOS, "pxeboot"), (Firmware.UEFI, "BOOTX64.EFI")]
)
def test_what_an_openbsd_fetches(firmware: Firmware, loader: str, made_openbsd: Path) -> None:
    offer = openbsd.offer(replace(NODE, firmware=firmware), ROOT, made_openbsd)
    assert offer.tftp.keys() == {loader, "etc/boot.conf", "etc/random.seed", "bsd"}
    assert offer.tftp[loader] == made_openbsd / loader
    assert offer.tftp["bsd"] == made_openbsd / "bsd"
    assert offer.tftp["etc/boot.conf"] == b"boot tftp:bsd\n"
    assert offer.last == "bsd"
    said = dhcp_conf(lab_of({"lab": NETWORK}), Path("/d"), 8080).splitlines()
    assert f"dhcp-boot=tag:openbsd,tag:{firmware},{loader},,10.77.0.1" in said


def test_each_boot_has_a_seed_of_its_own(made_openbsd: Path) -> None:
    seeds = {
        bytes(openbsd.offer(NODE, ROOT, made_openbsd).tftp["etc/random.seed"])  # type: ignore[arg-type]
        for _ in range(2)
    }
    assert [len(seed) for seed in seeds] == [512, 512]


def test_an_openbsd_without_a_loader_for_uefi(made_openbsd: Path) -> None:
    (made_openbsd / "BOOTX64.EFI").unlink()
    with pytest.raises(InstallError, match=r"OpenBSD for amd64 has one since 6\.3"):
        openbsd.offer(replace(NODE, firmware=Firmware.UEFI), ROOT, made_openbsd)


def test_the_files_of_an_openbsd(made_openbsd: Path) -> None:
    laid = openbsd.offer(NODE, ROOT, made_openbsd).laid
    assert laid.keys() == {"etc/fstab", "etc/rc.conf.local", "etc/rc.local"}
    assert laid["etc/fstab"] == "10.77.0.1:/node1 / nfs rw 0 0\n"
    rc_conf = laid["etc/rc.conf.local"].splitlines()
    assert rc_conf[:2] == ["apmd_flags=-A", "pf=YES"]
    assert rc_conf[-1] == "pf=NO"
    makedev, run = laid["etc/rc.local"].splitlines()
    assert "sh MAKEDEV all" in makedev
    assert run == "sh /behunt/.init"


def test_the_console_of_an_openbsd(made_openbsd: Path) -> None:
    serial = openbsd.offer(SERIAL, ROOT, made_openbsd)
    assert serial.tftp["etc/boot.conf"] == b"stty com0 9600\nset tty com0\nboot tftp:bsd\n"


def test_somebody_who_sits_at_an_openbsd_logs_in_on_its_console(made_openbsd: Path) -> None:
    laid = openbsd.offer(SERIAL, ROOT, made_openbsd, "/sbin/init").laid
    old, new = TTYS.decode().splitlines(), laid["etc/ttys"].splitlines()
    assert [line for line in new if line not in old] == [
        'tty00 "/usr/libexec/getty std.9600" vt220 on secure'
    ]
    assert ".init" not in laid["etc/rc.local"]
    assert openbsd.offer(NODE, ROOT, made_openbsd, "/sbin/init").laid["etc/ttys"] == TTYS.decode()


# -- RARP

CARD = bytes.fromhex("020102030405")
OURS = bytes.fromhex("020000000001")
REQUEST = (
    b"\xff" * 6 + CARD + bytes.fromhex("8035 0001 0800 06 04 0003") + (CARD + bytes(4)) * 2
)  # RFC 903


def test_who_asks_by_rarp_is_answered() -> None:
    assert rarp.asked(REQUEST) == NODE.mac
    padded = REQUEST + bytes(18)
    assert rarp.asked(padded) == NODE.mac
    address = IPv4Address("10.77.0.50")
    said = rarp.answer(NODE.mac, address, OURS, SERVER)
    assert said == (
        CARD
        + OURS
        + bytes.fromhex("8035 0001 0800 06 04 0004")
        + (OURS + SERVER.packed + CARD + address.packed)
    )


@pytest.mark.parametrize("at", [13, 15, 17, 18, 19, 21])
def test_what_is_no_request(at: int) -> None:
    broken = bytearray(REQUEST)
    broken[at] ^= 1
    assert rarp.asked(bytes(broken)) == ""


@given(st.binary(max_size=60))
def test_noise_asks_for_nothing(noise: bytes) -> None:
    assert rarp.asked(noise) == ""


# -- bootparams

KNOWN = Known("node1", IPv4Address("10.200.0.50"), SERVER, "/node1")
ME, ACCEPTED = words(1, 10, 200, 0, 50), words(9, 1, 0, 0, 0)
HERE = words(1, 10, 77, 0, 1)


def call(program: int, version: int, procedure: int, arguments: bytes = b"") -> bytes:
    """As sys/nfs/krpc_subr.c makes it: with credentials of Unix."""
    credentials = words(1, 20) + bytes(20) + words(0, 0)
    return words(9, 0, 2, program, version, procedure) + credentials + arguments


def string(text: bytes) -> bytes:
    return words(len(text)) + text + bytes(-len(text) % 4)


def relay(arguments: bytes, program: int = 100026, procedure: int = 1) -> bytes:
    return call(100000, 2, 5, words(program, 1, procedure) + string(arguments))


NAMED = string(b"node1") + string(b"") + HERE


def test_who_it_is() -> None:
    assert bootparam.reply(call(100026, 1, 1, ME), KNOWN) == ACCEPTED + words(0) + NAMED
    signed = words(1, 10, 0xFFFFFFC8, 0, 50)  # as who has signed characters writes 200
    assert bootparam.reply(call(100026, 1, 1, signed), KNOWN) == ACCEPTED + words(0) + NAMED


@pytest.mark.parametrize(("key", "path"), [(b"root", b"/node1"), (b"swap", b"/node1/.not-there")])
def test_where_its_root_is(key: bytes, path: bytes) -> None:
    asked = call(100026, 1, 2, string(b"node1") + string(key))
    told = string(b"10.77.0.1") + HERE + string(path)
    assert bootparam.reply(asked, KNOWN) == ACCEPTED + words(0) + told


def test_a_port_mapper_s_answer_says_where_to_ask() -> None:
    told = words(0, 40123) + string(NAMED)
    assert bootparam.relayed(relay(ME), KNOWN, 40123) == ACCEPTED + told


@pytest.mark.parametrize(
    "asked",
    [
        call(100026, 1, 1, words(1, 10, 77, 0, 51)),
        call(100026, 1, 1, words(2, 10, 77, 0, 50)),
        call(100026, 1, 2, string(b"node2") + string(b"root")),
        call(100026, 1, 2, string(b"node1")),
        call(100026, 1, 1),
        b"",
    ],
)
def test_others_are_told_nothing(asked: bytes) -> None:
    assert bootparam.reply(asked, KNOWN) == b""


@pytest.mark.parametrize(
    "asked",
    [
        relay(words(1, 10, 77, 0, 51)),
        relay(ME, program=100005),
        relay(ME, procedure=9),
        relay(ME)[:-4],
        call(100000, 2, 3, words(100026, 1, 17, 0)),
        b"",
    ],
)
def test_a_broadcast_for_others_is_not_answered(asked: bytes) -> None:
    assert bootparam.relayed(asked, KNOWN, 40123) == b""


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (call(100026, 1, 0), words(0)),
        (call(100005, 1, 0), words(1)),
        (call(100026, 3, 1), words(2, 1, 1)),
        (call(100026, 1, 3), words(3)),
    ],
)
def test_calls_that_have_no_answer(asked: bytes, status: bytes) -> None:
    assert bootparam.reply(asked, KNOWN) == ACCEPTED + status


@given(st.binary(max_size=120))
def test_noise_is_told_nothing(noise: bytes) -> None:
    assert bootparam.relayed(noise, KNOWN, 1) == b""


@given(st.binary(max_size=60))
def test_noise_behind_a_head_is_survived(noise: bytes) -> None:
    for procedure in (1, 2):
        bootparam.reply(call(100026, 1, procedure, noise), KNOWN)
    assert bootparam.relayed(call(100000, 2, 5, noise), KNOWN, 1) == b""


# -- what is heard on the wire


def packet(payload: bytes, *, port: int = 111, protocol: int = 17, more: bytes = b"") -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45 + len(more) // 4, 0, 0, 0, 0, 64, protocol, 0)
    addresses = KNOWN.address.packed + IPv4Address("10.255.255.255").packed
    return head + addresses + more + struct.pack(">4H", 999, port, 8 + len(payload), 0) + payload


def test_a_datagram_to_the_port_mapper_is_heard() -> None:
    found = (KNOWN.address, 999, b"a call")
    assert datagram(packet(b"a call"), 111) == found
    assert datagram(packet(b"a call") + b"padding", 111) == found
    assert datagram(packet(b"a call", more=bytes(4)), 111) == found  # options of IP
    assert datagram(packet(b"a call", port=112), 111) is None
    assert datagram(packet(b"a call", protocol=6), 111) is None
    assert datagram(b"\x60" + packet(b"a call")[1:], 111) is None
    assert datagram(packet(b"")[:24], 111) is None


# -- how far it came

HEXHYP = "02-01-02-03-04-05"


def test_a_file_that_need_not_be_there_is_not_what_stopped_it() -> None:
    absent = f"file /d/tftp/{HEXHYP}/bsd.upgrade not found"
    sent = f"sent /d/tftp/{HEXHYP}/etc/boot.conf to 10.77.0.50"
    kernel = f"sent /d/tftp/{HEXHYP}/bsd to 10.77.0.50"
    closed = f"cannot access /d/tftp/{HEXHYP}/bsd: Permission denied"
    for missing in (absent, f"{absent} for 10.77.0.50", closed):
        assert stage(Seen(tftp=[sent, missing]), "bsd") == (Stage.NO_TFTP, missing)
    begun = "it has begun to fetch what it boots, and not come to bsd"
    assert stage(Seen(tftp=[absent, sent]), "bsd") == (Stage.NO_TFTP, begun)
    assert stage(Seen(tftp=[absent, sent, kernel]), "bsd")[0] is Stage.NO_MOUNT


def test_the_address_that_a_machine_has_been_given() -> None:
    leases = (
        "1763777000 02:01:02:03:04:06 10.77.0.50 node2 *\n"
        "1763777001 02:01:02:03:04:05 10.77.0.51 node1 ff:00\n"
        "duid 00:01\n"
    )
    assert leased(leases, NODE) == IPv4Address("10.77.0.51")
    assert leased("", NODE) is None
