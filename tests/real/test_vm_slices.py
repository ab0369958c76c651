"""The disk that a FreeBSD machine before 7.1 boots from, read by others and started by a BIOS.

No FreeBSD runs here. What stands for its boot programs are small ones that do as those do.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from release_sets import freebsd_world, kernel_file, split

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import Lab, Settings, opened
from behunt.drive.trial import answer
from behunt.errors import InstallError
from behunt.model import BootEnv, Outcome, Release, Test, TestFile
from behunt.runners.vm import disklabel, freebsd, made
from behunt.runners.vm.eras import hardware_of
from behunt.runners.vm.machine import Firmware, Hardware
from behunt.runners.vm.qemu_args import Emulator
from behunt.storage.home import Home
from behunt.storage.protocol import Clone

pytestmark = pytest.mark.real

Make = Callable[[Release, Clone, Hardware, Path], None]
START = 63 * 512  # of the slice
# Like mbr(8): go out of the way, find the active slice in the table, read its first sector by
# cylinder, head and sector (int 13h, ah=2), and start it with SI at the table's entry.
MBR = bytes.fromhex(
    "31c0 8ed8 8ec0 8ed0 bc007c fc  be007c bf0006 b90001 f3a5 ea1c060000"
    "bebe07 803c80 7405 83c610 ebf6  8a7401 b280 8b4c02 bb007c b80102 cd13 ea007c0000"
)
# Like boot1: read the slice's first 16 sectors to 0x8c00 by their number (ah=42h, the request is
# at 0x7d80), and start boot2, if the label in the second is whole: both its magic numbers, and
# nothing left when all of its 138 words are combined.
CHECKED = bytes.fromhex(
    "be008e 668b04 663b8484 00 751d 663d57455682 7515"
    "31c0 b98a00 3304 83c602 e2f9 85c0 7505  ea00900000 ebfe"
)
BOOT1 = (
    (bytes.fromhex("1e 668b4408 66a3887d be807d b442 b280 cd13") + CHECKED).ljust(0x180, b"\0")
    + bytes.fromhex("1000 1000 008c 0000").ljust(16, b"\0")
).ljust(510, b"\0") + b"\x55\xaa"
# Like the one of biosboot: nobody has been here before. It has the disk to itself, reads them by
# cylinder, head and sector (ah=2), and has a table of partitions that means that.
DEDICATED1 = (
    bytes.fromhex("31c0 8ed8 8ec0 8ed0 bc007c fc bb008c b90100 ba8000 b81002 cd13") + CHECKED
).ljust(0x1EE, b"\0") + bytes.fromhex("80000100 a5ffffff 00000000 50c30000 55aa")
# Say what stands at 0x9060, wait for a byte; do it again if that ended a line, or else say what
# stands at 0x9080 and power off. In front of it is room for the label.
BOOT2 = (
    bytes(512)
    + bytes.fromhex(
        "baf803 be6090 ac 84c0 7403 ee ebf8  bafd03 ec a801 74fb  baf803 ec 3c0a 74e2"
        "baf803 be8090 ac 84c0 7403 ee ebf8  ba0406 b80020 ef ebfe"
    ).ljust(0x60, b"\0")
    + b"behunt: ready\n".ljust(0x20, b"\0")
    + b"it was told the time\n\0/boot.config\0"
)
LOADER = {"boot/mbr": MBR, "boot/loader": b"loader"}
APART = {**LOADER, "boot/boot1": BOOT1, "boot/boot2": BOOT2.ljust(15 * 512, b"\2")}
DEDICATED = {"usr/mdec/boot1": DEDICATED1, "usr/mdec/boot2": BOOT2.ljust(15 * 512, b"\2")}
WHOLE = {**LOADER, "boot/boot": BOOT1 + BOOT2.ljust(15 * 512, b"\2")}


def release(version: str) -> Release:
    return catalogue.find(catalogue.load("freebsd"), version, os="freebsd", arch="i386")


def world(root: Path, version: str, boot: Mapping[str, bytes]) -> Path:
    freebsd_world(root, version)
    (root / "dev").mkdir()
    for name, content in boot.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    kernel_file(root / release(version).trait("kernel_path").lstrip("/"), version)
    return root


def to_run(release: Release, clone: Clone, hardware: Hardware, place: Path) -> None:
    freebsd.make(release, clone, hardware, place, Emulator())


def make(place: Path, version: str, boot: Mapping[str, bytes], how: Make = to_run) -> Path:
    """The image of a release; beside it, `world` is what it is made of."""
    root = world(place / "world", version, boot)
    (place / "stage").mkdir()
    (place / "made").mkdir()
    bootenv = BootEnv("b", "b", root)
    clone = Clone("c", bootenv, lower=(str(root),), stage=str(place / "stage"))
    how(release(version), clone, hardware_of(release(version)), place / "made")
    return place / "made" / made.ROOT


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("disk"), "4.11", APART)


def same(disk: Path, path: str, wanted: Path) -> bool:
    """What GRUB reads there is what lies here. The slice begins as its first partition does."""
    command = ["grub-fstest", str(disk), "cmp", f"(loop0,msdos1)/{path}", str(wanted)]
    return subprocess.run(command, check=False).returncode == 0


def test_its_root_is_the_first_partition_of_the_first_slice(disk: Path) -> None:
    columns = ["--raw", "--noheadings", "--output", "NR,START,SECTORS,SCHEME"]
    shown = subprocess.run(["partx", *columns, str(disk)], check=True, capture_output=True)
    slices, root = shown.stdout.decode().splitlines()
    assert slices.split()[::3] == ["1", "dos"]
    assert root.split() == ["5", "63", str(1900 << 11), "freebsd"]


def test_what_boots_it_is_the_release_s_own(disk: Path) -> None:
    with disk.open("rb") as image:
        assert image.read(len(MBR)) == MBR
        image.seek(START)
        boot = image.read(disklabel.BOOT)
    assert boot[:512] == BOOT1
    assert boot[1024:] == APART["boot/boot2"][512:]


def test_both_forms_of_its_boot_programs_make_the_same_disk(tmp_path: Path, disk: Path) -> None:
    other = make(tmp_path, "4.11", WHOLE)
    with disk.open("rb") as one, other.open("rb") as two:
        assert one.read(START + disklabel.BOOT) == two.read(START + disklabel.BOOT)


def test_the_root_is_what_the_boot_environment_has(disk: Path, tmp_path: Path) -> None:
    for name in ("kernel", "boot/loader", "lib/libc.so.7", "usr/bin/chpass"):
        assert same(disk, name, disk.parents[1] / "world" / name)
    one = release("4.11")
    files = freebsd.configured(hardware_of(one), freebsd.system("4.11"), "4.11")
    for name, content in files.items():
        (tmp_path / "wanted").write_text(content)
        assert same(disk, name, tmp_path / "wanted")


def test_who_sits_there_finds_a_login_and_devices(tmp_path: Path) -> None:
    ttys = 'ttyd{}\t"/usr/libexec/getty std.9600"\tdialup\t{} secure\n'
    off = {"etc/ttys": (ttys.format(0, "off") + ttys.format(1, "off")).encode()}
    disk = make(tmp_path, "4.11", {**APART, **off}, freebsd.make_seat)
    on = 'ttyd0\t"/usr/libexec/getty std.9600"\tdialup on secure\n' + ttys.format(1, "off")
    for name, content in (("ttys", on), ("rc.local", "(cd /dev && sh MAKEDEV all)\n")):
        (tmp_path / "wanted").write_text(content)
        assert same(disk, f"etc/{name}", tmp_path / "wanted")


@pytest.fixture(scope="module")
def dedicated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("dedicated"), "2.2.8", DEDICATED)


def test_before_4_0_the_disk_is_all_boot_programs_and_root(dedicated: Path, tmp_path: Path) -> None:
    """GRUB reads it without any table."""
    own = b"".join(DEDICATED.values())
    with dedicated.open("rb") as image:
        boot = image.read(disklabel.BOOT)
    assert (boot[:512], boot[1024:]) == (own[:512], own[1024:])
    files = freebsd.configured(hardware_of(release("2.2.8")), freebsd.system("2.2.8"), "2.2.8")
    for name in ("kernel", "etc/fstab", "boot.config", "behunt/.init"):
        wanted = dedicated.parents[1] / "world" / name
        if name in files:
            wanted = tmp_path / "wanted"
            wanted.write_text(files[name])
        command = ["grub-fstest", str(dedicated), "cmp", f"(loop0)/{name}", str(wanted)]
        assert subprocess.run(command, check=False).returncode == 0, name


def superblock(disk: Path, start: int = START) -> bytes:
    with disk.open("rb") as image:
        image.seek(start + 8192)
        return image.read(1376)


def number(block: bytes, offset: int) -> int:
    (found,) = struct.unpack_from("<i", block, offset)
    return int(found)


def test_a_kernel_of_then_finds_a_file_system_of_its_kind(disk: Path) -> None:
    """What ffs_mountfs() of 4.x insists on, and what its macros divide by (sys/ufs/ffs/fs.h).

    fsck(8) compares the last copy of the superblock with the first.
    """
    first = superblock(disk)
    groups, block, fragment, group = (number(first, at) for at in (44, 48, 52, 188))
    assert number(first, 1372) == 0x11954  # magic
    assert (block, fragment, number(first, 104) >= 1376) == (8192, 1024, True)
    cylinder, in_group, cylinders = (number(first, at) for at in (172, 180, 176))
    per_track, per_track_there = number(first, 168), number(first, 132)
    assert min(cylinder, per_track, per_track_there) > 0
    assert in_group * cylinder >= group * fragment // 512  # no block is beyond its group's
    assert (groups - 1) * in_group < cylinders <= groups * in_group
    assert number(first, 1324) == 2  # inodes of 4.4BSD
    assert number(first, 1356) == number(first, 1360) == 1  # its tables, one rotational position
    assert first[209] == 1  # clean
    with disk.open("rb") as image:
        image.seek(START + (group * (groups - 1) + number(first, 8)) * fragment)
        assert image.read(1376) == first


def devices(disk: Path, start: int = START, kind: int = 0o02) -> set[int]:
    """Of the device nodes in the first group, as their inodes have them (sys/ufs/ufs/dinode.h)."""
    first = superblock(disk, start)
    with disk.open("rb") as image:
        image.seek(start + number(first, 16) * number(first, 52))
        table = image.read(number(first, 184) * 128)
    inodes = [table[at : at + 128] for at in range(0, len(table), 128)]
    return {number(i, 40) for i in inodes if i[1] >> 4 == kind and number(i, 0)}


def test_its_devices_have_the_numbers_of_its_kernel(disk: Path, tmp_path: Path) -> None:
    """116 is ad(4)'s; the slice is in the minor number's upper bits. With devfs there are none."""
    assert devices(disk) == {0, 2 << 8 | 2, 116 << 8 | 2 << 16}
    assert devices(make(tmp_path, "5.0", WHOLE)) == set()


def test_wd_had_block_devices_which_had_a_number_of_their_own(dedicated: Path) -> None:
    """3 and 0 are those of sys/i386/conf/majors.i386; to mount takes a block device."""
    assert devices(dedicated, start=0) == {0, 2 << 8 | 2, 3 << 8}
    assert devices(dedicated, start=0, kind=0o06) == {0}


@pytest.mark.parametrize(
    ("version", "boot", "says"),
    [
        ("3.5.1", LOADER, "nothing to boot from: no /usr/mdec/boot1 and /usr/mdec/boot2"),
        ("5.4", LOADER, "nothing to boot from: no /boot/mbr and /boot/loader and /boot/boot"),
        ("2.2.0", {name: bytes(512) for name in DEDICATED}, "read no boot.config, so nothing"),
        ("5.4", {**LOADER, "boot/boot": bytes(8193)}, "have 8193 bytes, and there is room for"),
    ],
)
def test_what_nothing_boots_is_refused(
    tmp_path: Path, version: str, boot: Mapping[str, bytes], says: str
) -> None:
    with pytest.raises(InstallError, match=says):
        make(tmp_path, version, boot)


def published(tmp_path: Path, version: str, boot: Mapping[str, bytes]) -> Path:
    """A mirror that has the set `bin` of `version`, or `base`."""
    place = tmp_path / f"pub/FreeBSD/releases/i386/{version}-RELEASE"
    root = world(tmp_path / "trees/world", version, boot)
    name = release(version).trait("base_set")
    checksums = [release(version).trait("checksum")]
    split(place / name, name, root, checksums, devices=name == "bin")
    return tmp_path / "pub"


def said(lab: Lab, version: str, words: Path) -> str:
    """What the machine says in a run. It ends before its job, which needs a real system."""
    test = Test("t", ("./words",), files=(TestFile("words", words),))
    trial = answer(lab, release(version), test).trial
    assert trial.outcome is Outcome.BROKEN
    return Path(trial.log).read_text()


@pytest.mark.parametrize(
    ("version", "boot"), [("2.2.8", DEDICATED), ("4.11", APART), ("5.4", WHOLE)]
)
def test_a_bios_starts_it_and_it_is_resumed(
    tmp_path: Path, version: str, boot: Mapping[str, bytes]
) -> None:
    """From the MBR by the active slice and its label to what is behind that."""
    home = Home(tmp_path / "home").make()
    pub = published(tmp_path, version, boot)
    (tmp_path / "words").write_text("words\n")
    settings = Settings(mirror=str(pub), fresh=True, retries=0)
    with opened(home.path, "qemu", settings=settings) as lab:
        for _ in range(2):
            assert "it was told the time" in said(lab, version, tmp_path / "words")
        identity = ensure(lab, release(version)).identity
        (place,) = home.machines.glob(f"{identity[:24]}-*")
        assert len(list(place.glob("state-*"))) == 1
        assert made.read(place).hardware.firmware is Firmware.BIOS
