"""The disk that a FreeBSD machine boots from: made of small sets, and read by others.

No FreeBSD runs here. What stands for its boot programs is a boot sector of the tests' own, and
GRUB, which has readers of its own for partition tables, FAT and UFS.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pexpect
import pytest
from behunt_cli import COMMAND, Behunt
from guest import debian
from release_sets import freebsd_world, kernel_file, manifest, txz

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import Lab, Settings, opened
from behunt.drive.trial import answer
from behunt.errors import InstallError
from behunt.model import BootEnv, Outcome, Release, Test, TestFile
from behunt.runners.vm import freebsd, gpt, made
from behunt.runners.vm.eras import hardware_of
from behunt.runners.vm.initrd import cpio, needed
from behunt.runners.vm.linux import BUSYBOX
from behunt.runners.vm.machine import Firmware
from behunt.runners.vm.qemu_args import Emulator
from behunt.storage.home import Home
from behunt.storage.protocol import Clone

pytestmark = pytest.mark.real

# Like pmbr(8): find the start of the second partition in the table, read a sector of it, start
# it. int 13h, ah=42h; what is to be read stands at 0x7c60.
PMBR = bytes.fromhex(
    "31c0 8ed8 8ec0 fc  b442 b280 be607c cd13  bea080 bf687c b90400 f3a5"
    "c706647c007e  b442 b280 be607c cd13  ea007e0000"
).ljust(0x60, b"\0") + bytes.fromhex("1000 0100 0080 0000 0200000000000000")
# Say what stands at 0x7e60, wait for a byte; do it again if that ended a line, or else say what
# stands at 0x7e80 and power off.
GPTBOOT = (
    bytes.fromhex(
        "baf803 be607e ac 84c0 7403 ee ebf8  bafd03 ec a801 74fb  baf803 ec 3c0a 74e2"
        "baf803 be807e ac 84c0 7403 ee ebf8  ba0406 b80020 ef ebfe"
    ).ljust(0x60, b"\0")
    + b"behunt: ready\n".ljust(0x20, b"\0")
    + b"it was told the time\n\0"
)
BIOS = {"boot/pmbr": PMBR, "boot/gptboot": GPTBOOT, "boot/loader": b"loader"}
# FreeBSD's part, played by GRUB. What is typed comes through the firmware, which reads it anyway.
GRUB = """
serial --unit=0
terminal_output serial
terminal_input console
cat (hd0,gpt1)/etc/fstab
echo "behunt: ready"
read asked
echo "behunt: ready"
read now
echo "it was told the time"
cat (hd1)/test/words
halt
"""
MODULES = "part_gpt ufs1 tar serial terminal echo cat read halt linux boot"


BOOT = 120  # seconds, on a machine however busy
TTYS = b'ttyu0 "/usr/libexec/getty 3wire" vt100 onifconsole secure\n'
SEAT = """
serial --unit=0
terminal_output serial
terminal_input console
cat (hd0,gpt1)/etc/ttys
echo "login:"
read name
echo "good bye"
halt
"""
# FreeBSD's part in a whole run, played by a Linux whose devices and programs are called alike. Its
# tar(1) must see the disk as it is, as a raw device shows it; it would read all of it.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in /modules/*; do insmod $module; done
for name in cuau1 cuau1.init; do ln -s ttyS1 /dev/$name; done
ln -s vdb /dev/vtbd1
date() { [ "$1" = -f ] && busybox date -s "@$3"; }
df() { echo /dev/vtbd0p1 1000000 500000 400000 56% /; }
halt() { echo o >/proc/sysrq-trigger; }
tar() {
    [ $1 = xf ] || { busybox tar "$@"; return; }
    echo 3 >/proc/sys/vm/drop_caches
    head -c 5242880 $2 | busybox tar xf -
}
uname() { echo 13.2-RELEASE; }
exec </dev/console >/dev/console 2>&1
. /behunt/.init
"""
LINUX = """
linux (hd0,gpt1)/boot/vmlinuz console=ttyS0 quiet panic=-1 rdinit=/init
initrd (hd0,gpt1)/boot/initrd
boot
"""


def release(version: str) -> Release:
    return catalogue.find(catalogue.load("freebsd"), version, os="freebsd", arch="amd64")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Of its own: what is made of sets as these is of no use to others."""
    return Home(tmp_path / "home").make()


def grub(place: Path, config: str) -> bytes:
    """An EFI program that does what `config` says."""
    (place / "grub.cfg").write_text(config)
    made_by = ["grub-mkimage", "-O", "x86_64-efi", "-p", "/", "-c", "grub.cfg", "-o", "loader.efi"]
    subprocess.run([*made_by, *MODULES.split()], cwd=place, check=True)
    return (place / "loader.efi").read_bytes()


def world(root: Path, version: str, boot: Mapping[str, bytes]) -> Path:
    freebsd_world(root, version)
    for name, content in boot.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    return root


def clone(tmp_path: Path, *trees: Path) -> Clone:
    (tmp_path / "stage").mkdir()
    bootenv = BootEnv("freebsd-13.2-amd64", "freebsd-13.2-amd64", trees[-1])
    return Clone("c", bootenv, lower=tuple(map(str, trees)), stage=str(tmp_path / "stage"))


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of a release with both ways to boot; beside it, `world` is what it is made of."""
    place = tmp_path_factory.mktemp("disk")
    root = world(place / "world", "13.2", {**BIOS, "boot/loader.efi": b"an EFI program"})
    kernel_file(root / "boot/kernel/kernel", "13.2")
    (root / "etc/fstab").write_text("its own\n")
    (root / "etc/rc.conf").write_text('hostname="own"\n')
    (root / "rescue").mkdir()
    (root / "rescue/cat").write_bytes(bytes(range(256)) * 40_000)
    for name in range(300):  # 3 GB, were each a file of its own
        (root / f"rescue/{name}").hardlink_to(root / "rescue/cat")
    one = release("13.2")
    (place / "made").mkdir()
    freebsd.make(one, clone(place, root), hardware_of(one), place / "made", Emulator())
    assert sorted(path.name for path in (place / "made").iterdir()) == ["made.json", made.ROOT]
    return place / "made" / made.ROOT


def same(disk: Path, partition: int, path: str, wanted: Path) -> bool:
    """What GRUB reads there is what lies here."""
    command = ["grub-fstest", str(disk), "cmp", f"(loop0,gpt{partition})/{path}", str(wanted)]
    return subprocess.run(command, check=False).returncode == 0


def test_its_partitions_are_those_that_freebsd_looks_for(disk: Path) -> None:
    verified = subprocess.run(["sfdisk", "--verify", str(disk)], check=True, capture_output=True)
    assert b"No errors detected" in verified.stdout
    told = subprocess.run(["sfdisk", "--json", str(disk)], check=True, capture_output=True)
    kinds = [
        part["type"].lower() for part in json.loads(told.stdout)["partitiontable"]["partitions"]
    ]
    assert kinds == [gpt.TYPES[name] for name in ("freebsd-ufs", "freebsd-boot", "efi")]


def test_the_root_is_what_the_boot_environment_has(disk: Path) -> None:
    root = disk.parents[1] / "world"
    for name in (
        "boot/kernel/kernel",
        "lib/libc.so.7",
        "etc/rc.conf",
        "rescue/299",
        "usr/bin/chpass",
    ):
        assert same(disk, 1, name, root / name)


def test_what_it_is_configured_with_is_on_the_disk_alone(disk: Path, tmp_path: Path) -> None:
    for name, content in freebsd.configured(hardware_of(release("13.2"))).items():
        (tmp_path / "wanted").write_text(content)
        assert same(disk, 1, name, tmp_path / "wanted")
    root = disk.parents[1] / "world"
    assert (root / "etc/fstab").read_text() == "its own\n"
    assert not (root / "behunt").exists()


def test_the_loader_is_where_a_firmware_looks(disk: Path) -> None:
    assert same(disk, 3, "EFI/BOOT/BOOTX64.EFI", disk.parents[1] / "world/boot/loader.efi")


def test_what_is_too_large_is_refused_before_it_is_made(tmp_path: Path) -> None:
    root = world(tmp_path / "world", "13.2", BIOS)
    kernel_file(root / "boot/kernel/kernel", "13.2")
    with (root / "large").open("wb") as large:
        large.truncate(1900 << 20)
    one = release("13.2")
    (tmp_path / "made").mkdir()
    with pytest.raises(InstallError, match="does not fit on a disk of 1900 MiB"):
        freebsd.make(one, clone(tmp_path, root), hardware_of(one), tmp_path / "made", Emulator())


@pytest.mark.parametrize(
    ("has", "says"),
    [
        (BIOS, "installed without a kernel to boot"),
        ({"boot/kernel/kernel": b"", "boot/pmbr": PMBR}, "nothing to boot from: no /boot/pmbr and"),
    ],
)
def test_what_nothing_boots_is_refused(tmp_path: Path, has: Mapping[str, bytes], says: str) -> None:
    root = world(tmp_path / "world", "13.2", has)
    one = release("13.2")
    (tmp_path / "made").mkdir()
    with pytest.raises(InstallError, match=says):
        freebsd.make(one, clone(tmp_path, root), hardware_of(one), tmp_path / "made", Emulator())


def test_a_link_does_not_bring_a_file_from_outside(tmp_path: Path) -> None:
    root = world(tmp_path / "world", "13.2", BIOS)
    (root / "boot/kernel/kernel").symlink_to("/etc/passwd")
    one = release("13.2")
    (tmp_path / "made").mkdir()
    with pytest.raises(InstallError, match="installed without a kernel"):
        freebsd.make(one, clone(tmp_path, root), hardware_of(one), tmp_path / "made", Emulator())


def published(tmp_path: Path, version: str, boot: Mapping[str, bytes]) -> Path:
    """A mirror that has the sets of `version`."""
    base, kernel = tmp_path / "base", tmp_path / "kernel"
    world(base, version, boot)
    kernel_file(kernel / "boot/kernel/kernel", version)
    place = tmp_path / f"pub/FreeBSD/releases/amd64/{version}-RELEASE"
    manifest(place, {"base": txz(place, "base", base), "kernel": txz(place, "kernel", kernel)})
    return tmp_path / "pub"


def ran(lab: Lab, version: str, tmp_path: Path) -> str:
    """What the machine says in a run. It ends before its job, which needs a real system."""
    words = tmp_path / "words"
    words.write_text("from the exchange disk\n")
    test = Test("t", ("./words",), files=(TestFile("words", words),))
    trial = answer(lab, release(version), test).trial
    assert trial.outcome is Outcome.BROKEN
    assert trial.why == "the test never started: did not boot: it powered off"
    said = Path(trial.log).read_text()
    assert "it was told the time" in said
    return said


def kept(lab: Lab, version: str) -> tuple[Path, list[tuple[Path, int]]]:
    """What is made of a release, and the states of its machines."""
    (place,) = lab.home.machines.glob(f"{ensure(lab, release(version)).identity[:24]}-*")
    return place, [(state, state.stat().st_ino) for state in place.glob("state-*")]


def test_a_machine_that_a_bios_boots_is_resumed(home: Home, tmp_path: Path) -> None:
    """Its era prefers UEFI, but there is nothing to boot by that."""
    settings = Settings(mirror=str(published(tmp_path, "13.2", BIOS)), fresh=True, retries=0)
    with opened(home.path, "qemu", settings=settings) as lab:
        ran(lab, "13.2", tmp_path)
        place, states = kept(lab, "13.2")
        ran(lab, "13.2", tmp_path)
        assert kept(lab, "13.2") == (place, states)
        assert len(states) == 1
        assert made.read(place).hardware.firmware is Firmware.BIOS


def test_a_machine_that_uefi_boots_is_resumed(home: Home, tmp_path: Path) -> None:
    pub = published(tmp_path, "13.2", {"boot/loader.efi": grub(tmp_path, GRUB)})
    with opened(
        home.path, "qemu", settings=Settings(mirror=str(pub), fresh=True, retries=0)
    ) as lab:
        for _ in range(2):
            said = ran(lab, "13.2", tmp_path)
            assert "/dev/vtbd0p1 / ufs" not in said  # that was before it was kept
            assert "from the exchange disk" in said
        place, states = kept(lab, "13.2")
        assert len(states) == 1
        assert made.read(place).hardware.firmware is Firmware.UEFI


def test_a_kept_machine_that_is_no_good_is_booted_instead(home: Home, tmp_path: Path) -> None:
    """This one powers off as soon as it is asked whether it is there."""
    dead = GPTBOOT.replace(bytes.fromhex("3c0a 74e2"), bytes.fromhex("3c0a 740e"))
    pub = published(tmp_path, "12.4", {**BIOS, "boot/gptboot": dead})
    settings = Settings(mirror=str(pub), fresh=True, retries=0)
    with opened(home.path, "qemu", settings=settings) as lab:
        assert "behunt: ready" in ran(lab, "12.4", tmp_path)
        assert kept(lab, "12.4")[1] == []


def test_a_machine_that_does_not_come_up_is_told_with_its_console(
    home: Home, tmp_path: Path
) -> None:
    """This one waits for nobody."""
    dead = GPTBOOT.replace(bytes.fromhex("a801 74fb"), bytes.fromhex("a801 9090"))
    dead = dead.replace(b"behunt: ready", b"cannot find k")
    pub = published(tmp_path, "12.4", {**BIOS, "boot/gptboot": dead})
    settings = Settings(mirror=str(pub), fresh=True, retries=0)
    with opened(home.path, "qemu", settings=settings) as lab:
        trial = answer(lab, release("12.4"), Test("t", ("true",))).trial
        assert trial.outcome is Outcome.BROKEN
        assert trial.why == "the test never started: did not boot: it powered off"
        assert "cannot find k" in Path(trial.log).read_text()
        assert kept(lab, "12.4")[1] == []


def like_freebsd(scratch: Path) -> dict[str, bytes]:
    """What boots a Linux that does as a FreeBSD does."""
    of = debian.kernel(debian.root())
    (modules,) = (of / "lib/modules").iterdir()
    hardware = hardware_of(release("13.2"))
    members = {
        "init": (0o755, INIT.encode()),
        "bin/busybox": (0o755, BUSYBOX.read_bytes()),
        "behunt/.init": (0o755, freebsd.configured(hardware)["behunt/.init"].encode()),
    }
    wanted = needed(modules, ("virtio_pci", "virtio_blk"))
    members |= {f"modules/{n}": (0o644, module) for n, module in enumerate(wanted.values())}
    return {
        "boot/loader.efi": grub(scratch, LINUX),
        "boot/vmlinuz": (of / "vmlinuz").read_bytes(),
        "boot/initrd": cpio(("bin", "dev", "proc", "behunt", "modules"), members),
    }


def test_a_whole_run(home: Home, tmp_path: Path) -> None:
    pub = published(tmp_path, "13.2", like_freebsd(tmp_path))
    script = tmp_path / "t.sh"
    script.write_text(
        "#!/bin/sh\necho $BEHUNT_VERSION\ncat words\necho kept >$BEHUNT_OUT/file\n"
        'echo "boot 7 s" >$BEHUNT_METRICS\nexit ${CODE:-0}\n'
    )
    script.chmod(0o755)
    (tmp_path / "words").write_text("brought along\n")
    files = tuple(TestFile(path.name, path) for path in (script, tmp_path / "words"))
    test = Test("t", ("./t.sh",), files=files)
    settings = Settings(mirror=str(pub), fresh=True, retries=0)
    with opened(home.path, "qemu", settings=settings) as lab:
        trial = answer(lab, release("13.2"), test).trial
        assert (trial.outcome, trial.reason) == (Outcome.PASSED, "")
        assert Path(trial.log).read_text() == "13.2\nbrought along\n"
        assert Path(trial.out, "file").read_text() == "kept\n"
        assert [(one.name, one.value) for one in trial.metrics] == [("boot", 7)]
        assert trial.kernel == "13.2-RELEASE"
        _, states = kept(lab, "13.2")
        trial = answer(lab, release("13.2"), replace(test, env=(("CODE", "3"),))).trial
        assert (trial.outcome, trial.exit_code) == (Outcome.FAILED, 3)
        assert kept(lab, "13.2")[1] == states
        assert len(states) == 1
        missing = replace(test, argv=("no-such-program",))
        trial = answer(lab, release("13.2"), missing).trial
        assert trial.outcome is Outcome.BROKEN
        assert "no-such-program" in trial.reason


def test_a_user_sits_at_one(tmp_path: Path) -> None:
    pub = published(tmp_path, "13.2", {"boot/loader.efi": grub(tmp_path, SEAT), "etc/ttys": TTYS})
    behunt = Behunt.below(tmp_path)
    program, *args = [*COMMAND, "be", "boot", "--mirror", str(pub), "freebsd-13.2"]
    with pexpect.spawn(
        program,
        args,
        cwd=str(behunt.place),
        env=behunt.environment(),
        encoding="utf-8",
        timeout=BOOT,
    ) as user:
        user.expect_exact('ttyu0 "/usr/libexec/getty 3wire" vt100 on secure')
        user.expect_exact("login:")
        user.sendline("root")
        user.expect_exact("good bye")
        user.expect(pexpect.EOF)
        user.wait()
        assert user.exitstatus == 0
    assert list((behunt.home / "clones").iterdir()) == []
    refused = behunt("be", "boot", "--mirror", pub, "--in-place", "freebsd-13.2")
    assert refused.code == 1
    assert "it boots from a copy" in refused.err
