"""The disk that a NetBSD machine boots from, read by others and started by a BIOS.

No NetBSD runs here. What stands for its boot programs are three small ones that do as those do.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from bsd_sets import archive, digests, kernel
from bsd_sets import netbsd as sets

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import Lab, Settings, opened
from behunt.drive.trial import answer
from behunt.errors import InstallError
from behunt.model import BootEnv, Outcome, Release, Test, TestFile
from behunt.runners.vm import made, netbsd
from behunt.runners.vm.eras import hardware_of
from behunt.runners.vm.machine import Hardware
from behunt.runners.vm.qemu_args import Emulator
from behunt.storage.home import Home
from behunt.storage.protocol import Clone

pytestmark = pytest.mark.real

Make = Callable[[Release, Clone, Hardware, Path], None]
START = 63 * 512  # of the partition
# Like mbr.S: go out of the way, find the active partition in the table, read its first sector, and
# start it with ESI at the partition's first sector.
MBR = bytes.fromhex(
    "31c0 8ed8 8ec0 8ed0 bc007c fc  be007c bf0006 b90001 f3a5 ea1c060000"
    "bebe07 803c80 7405 83c610 ebf6  8a7401 b280 8b4c02 bb007c b80102 cd13"
    "66 8b7408 ea007c0000"
)
# Like pbr.S: read 16 sectors from there to 0x8c00 (ah=42h, the request is at 0x7d80), and start
# what is in the third, if that has its magic number behind its first jump, and the label in the
# second is whole: both its magic numbers, and nothing left when its 202 words are combined.
PBR = bytes.fromhex(
    "66 8936887d be807d b442 b280 cd13  be008e 668b04 663b8484 00 7527 663d57455682 751f"
    "31c0 b9ca00 3304 83c602 e2f9 85c0 750f  66813e0490 d1b68678 7504"
)
PBR = (PBR + bytes.fromhex("ea00900000 ebfe")).ljust(0x180, b"\0")
PBR = (PBR + bytes.fromhex("1000 1000 008c 0000").ljust(16, b"\0")).ljust(510, b"\0") + b"\x55\xaa"
# Its parameters, as boot_params.S has them; then: speak on the first serial port, if that is the
# console. Say what stands at 0x90a0, wait for a byte; do it again if that ended a line, or else say
# what stands at 0x90c0 and power off.
BOOTXX = (
    bytes(512)
    + (b"\xeb\x3e\x90\x90" + struct.pack("<6I", 0x7886B6D1, 56, 0, 5, 0, 0)).ljust(0x40, b"\0")
    + bytes.fromhex(
        "833e149001 75fe"
        "baf803 bea090 ac 84c0 7403 ee ebf8  bafd03 ec a801 74fb  baf803 ec 3c0a 74e2"
        "baf803 bec090 ac 84c0 7403 ee ebf8  ba0406 b80020 ef ebfe"
    ).ljust(0x60, b"\0")
    + b"behunt: ready\n".ljust(0x20, b"\0")
    + b"it was told the time\n\0"
)
MDEC = {
    "usr/mdec/mbr": MBR,
    "usr/mdec/bootxx_ffsv1": PBR + BOOTXX.ljust(14 * 512, b"\2"),
    "usr/mdec/boot": b"\xe9\0" + bytes(range(256)) * 200,
}
RC_CONF = b". /etc/defaults/rc.conf\n\nrc_configured=NO\n"
TTYS = b'console\t"/usr/libexec/getty Pc"\tpc3\toff secure\ntty00\t"getty"\tunknown off secure\n'
TREE = {
    **MDEC,
    "netbsd": kernel("NetBSD", "9.3"),
    "etc/rc": b"#!/bin/sh\n",
    "etc/rc.conf": RC_CONF,
    "etc/ttys": TTYS,
    "dev/MAKEDEV": b"#!/bin/sh -\n",
    "usr/bin/true": b"true",
}


def release(version: str, arch: str = "amd64") -> Release:
    return catalogue.find(catalogue.load("netbsd"), version, os="netbsd", arch=arch)


def to_run(release: Release, clone: Clone, hardware: Hardware, place: Path) -> None:
    netbsd.make(release, clone, hardware, place, Emulator())


def make(place: Path, tree: Mapping[str, bytes], how: Make = to_run) -> Path:
    """The image of a release; beside it, `world` is what it is made of."""
    root = place / "world"
    for name, content in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (place / "stage").mkdir()
    (place / "made").mkdir()
    clone = Clone("c", BootEnv("b", "b", root), lower=(str(root),), stage=str(place / "stage"))
    how(release("9.3"), clone, hardware_of(release("9.3")), place / "made")
    return place / "made" / made.ROOT


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("disk"), TREE)


def same(disk: Path, path: str, wanted: Path) -> bool:
    """What GRUB reads there is what lies here: in partition a of the label."""
    command = ["grub-fstest", str(disk), "cmp", f"(loop0,netbsd1)/{path}", str(wanted)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_its_root_is_the_first_partition_of_its_label(disk: Path) -> None:
    columns = ["--raw", "--noheadings", "--output", "NR,START,SECTORS,SCHEME"]
    shown = subprocess.run(["partx", *columns, str(disk)], check=True, capture_output=True)
    whole, root = shown.stdout.decode().splitlines()
    assert whole.split()[::3] == ["1", "dos"]
    assert root.split() == ["5", "63", str(1900 << 11), "netbsd"]


def test_what_boots_it_is_the_release_s_own(disk: Path) -> None:
    own = MDEC["usr/mdec/bootxx_ffsv1"]
    with disk.open("rb") as image:
        assert image.read(len(MBR)) == MBR
        image.seek(START)
        boot = image.read(len(own))
    assert boot[:512] == PBR
    different = [at for at in range(1024, len(own)) if boot[at] != own[at]]
    assert different == [1040, 1044, 1048, 1049]  # no timeout, com0, 9600
    assert same(disk, "boot", disk.parents[1] / "world/usr/mdec/boot")


def test_the_root_is_what_the_boot_environment_has(disk: Path, tmp_path: Path) -> None:
    for name in ("netbsd", "dev/MAKEDEV", "usr/bin/true"):
        assert same(disk, name, disk.parents[1] / "world" / name)
    own = {"etc/rc.conf": RC_CONF.decode()}
    for name, content in netbsd.configured(hardware_of(release("9.3")), "9.3", own).items():
        (tmp_path / "wanted").write_text(content)
        assert same(disk, name, tmp_path / "wanted"), name


def test_who_sits_there_finds_a_login_and_no_job(tmp_path: Path) -> None:
    disk = make(tmp_path, TREE, netbsd.make_seat)
    (tmp_path / "wanted").write_text(netbsd.with_getty(TTYS.decode()))
    assert same(disk, "etc/ttys", tmp_path / "wanted")
    listed = subprocess.run(
        ["grub-fstest", str(disk), "ls", "(loop0,netbsd1)/etc/"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert set(listed.stdout.split()) >= {"fstab", "ifconfig.vioif0", "rc.conf", "ttys"}
    assert "rc.local" not in listed.stdout


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("netbsd", "installed without a kernel to boot"),
        ("usr/mdec/bootxx_ffsv1", "nothing to boot from"),
        ("etc/rc", "installed without the set etc"),
    ],
)
def test_what_cannot_boot_is_refused(tmp_path: Path, missing: str, says: str) -> None:
    with pytest.raises(InstallError, match=says):
        make(tmp_path, {name: TREE[name] for name in TREE if name != missing})


def published(tmp_path: Path, one: Release) -> Path:
    """A mirror that has the sets of a release."""
    port = one.trait("tree").split("/")[-2]
    suffix = one.trait("set_format")
    directory = tmp_path / f"pub/NetBSD/NetBSD-{one.version}/{port}/binary"
    sets(directory, one.version, suffix, one.trait("checksum_file"))
    release_file = f"NetBSD {one.version}/{port}\n".encode()
    base = {**MDEC, "bin/sh": b"sh", "etc/release": release_file}
    archive(directory / f"sets/base.{suffix}", base, tmp_path / "scratch")
    name = one.trait("checksum_file")
    digests(directory / "sets", f"{name.lower()}sum", name)
    return tmp_path / "pub"


def said(lab: Lab, one: Release, words: Path) -> str:
    """What the machine says in a run. It ends before its job, which needs a real system."""
    test = Test("t", ("./words",), files=(TestFile("words", words),))
    trial = answer(lab, one, test).trial
    assert trial.outcome is Outcome.BROKEN
    return Path(trial.log).read_text()


@pytest.mark.parametrize(("version", "arch"), [("5.2", "i386"), ("9.3", "amd64")])
def test_a_bios_starts_it_and_it_is_resumed(tmp_path: Path, version: str, arch: str) -> None:
    """From an IDE disk and from a virtio one, by MBR, partition, and what installboot(8) tells."""
    home = Home(tmp_path / "home").make()
    one = release(version, arch)
    (tmp_path / "words").write_text("words\n")
    settings = Settings(mirror=str(published(tmp_path, one)), fresh=True, retries=0)
    with opened(home.path, "qemu", settings=settings) as lab:
        for _ in range(2):
            assert "it was told the time" in said(lab, one, tmp_path / "words")
        identity = ensure(lab, one).identity
        (place,) = home.machines.glob(f"{identity[:24]}-*")
        assert len(list(place.glob("state-*"))) == 1
