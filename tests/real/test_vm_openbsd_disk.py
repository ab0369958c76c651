"""An OpenBSD's disk, made in a real QEMU by what a Linux plays of its pxeboot and its bsd.rd.

The firmware, DHCP and TFTP are real, and so are the typing and the archive that is unpacked. What
is fetched as pxeboot is a script that QEMU's iPXE follows, as bsd.rd a Debian's kernel.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
from homes import sharing
from running import PATIENCE, below, handles

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import Lab, Settings, opened
from behunt.errors import InstallError
from behunt.model import BootEnv
from behunt.runners.qemu import QemuRunner
from behunt.runners.vm import openbsd_disk
from behunt.runners.vm.eras import hardware_of
from behunt.runners.vm.initrd import cpio
from behunt.runners.vm.made import INITRD, KERNEL, ROOT, Made
from behunt.runners.vm.qemu_args import Emulator
from behunt.storage.home import Home
from behunt.storage.protocol import Clone

pytestmark = pytest.mark.real

DEBIAN = catalogue.find(catalogue.load("debian"), "12", os="debian")
RELEASE = catalogue.find(catalogue.load("openbsd"), "7.7", os="openbsd", arch="amd64")
# iPXE finds its files beside the script.
PXEBOOT = """#!ipxe
kernel bsd.rd console=ttyS0 quiet panic=-1
initrd bsd.rd
boot
"""
_HEADER = 112  # bytes of a cpio archive, in front of a first file whose name is a letter
INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /mnt
$b --install -s /bin
export PATH=/sbin:/bin PS1='# ' ENV=/own
echo 'fdisk() { /sbin/fdisk "$@"; }' >/own # busybox would take its own
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in /modules/*; do insmod $module; done
cp /MAKEDEV /dev/
echo 'Welcome to the OpenBSD/amd64 7.7 installation program.'
echo 'Starting non-interactive mode in 5 seconds...'
reply=
while [ "$reply" != s ]; do
    printf '(I)nstall, (U)pgrade, (A)utoinstall or (S)hell? '
    read -r reply
done
exec setsid cttyhack sh -i
"""
# Each as little as tells whether it was asked as the real one wants to be.
PROGRAMS = {
    "MAKEDEV": """
for name; do
    case $name in
    sd0) ln -s vda sd0a; ln -s vda rsd0a ;;
    sd1) ln -s vdb rsd1c ;;
    *) exit 1 ;;
    esac
done
""",
    "sbin/print": "printf '%b\\n' \"$1\"",
    "sbin/fdisk": """
test "$*" = "-e sd0" && test "$(tr '\\n' ' ')" = "reinit update write quit "
""",
    "sbin/disklabel": """
test "$*" = "-E sd0" && read -r first && test "$first" = "a a" && tail -n 1 | grep -q '^q$'
""",
    "sbin/newfs": """
test "$*" = "-q /dev/rsd0a" && mke2fs -F /dev/rsd0a 65536 >/dev/null
""",
    "sbin/installboot": """
test "$*" = "-r /mnt sd0" && pwd && cp /mnt/usr/mdec/biosboot /mnt/booted
""",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Iterator[Lab]:
    home = sharing(tmp_path_factory.mktemp("qemu") / "home", kept)
    with opened(home.path, "qemu", settings=Settings(retries=0)) as lab:
        yield lab


@pytest.fixture
def ramdisk(lab: Lab) -> bytes:
    """A kernel that is also, as a bsd.rd is, the archive that it unpacks into its ramdisk.

    Of its first 497 bytes a BIOS has no use (Documentation/arch/x86/boot.rst).
    """
    bootenv = ensure(lab, DEBIAN)
    with lab.store.clone(bootenv) as clone:
        lab.runner.prepare(DEBIAN, clone)
    made, *_ = lab.home.machines.glob(f"{bootenv.identity[:24]}-????????/{INITRD}")
    programs = {name: (0o755, f"#!/bin/sh\n{text}".encode()) for name, text in PROGRAMS.items()}
    more = cpio(["sbin"], {"init": (0o755, INIT.encode()), **programs})
    kernel = (made.parent / KERNEL).read_bytes()
    return cpio([], {"k": (0o644, kernel[_HEADER:])}) + made.read_bytes() + more


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The root of an OpenBSD with all that a disk is made of."""
    root = tmp_path / "root"
    files = {
        "bsd": "kernel\n",
        "bsd.rd": "its own\n",
        "usr/mdec/pxeboot": PXEBOOT,
        "usr/mdec/biosboot": "boot blocks\n",
        "etc/rc": "for init\n",
        "dev/MAKEDEV": 'test "$1" = all && touch made\n',
        "etc/rc.local": "of the boot environment\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "usr/mdec/biosboot").chmod(0o444)
    return root


def cloned(tmp_path: Path, root: Path) -> Clone:
    (tmp_path / "stage").mkdir()
    bootenv = BootEnv(RELEASE.id, RELEASE.id, root, identity="0" * 64)
    return Clone("c", bootenv, lower=(str(root),), stage=str(tmp_path / "stage"))


def of(disk: Path, name: str) -> str:
    words = ["debugfs", "-R", f"cat {name}", str(disk)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_a_disk_is_made_by_what_pxe_boots(ramdisk: bytes, installed: Path, tmp_path: Path) -> None:
    (installed / "bsd.rd").write_bytes(ramdisk)
    runner = QemuRunner(tmp_path / "machines")
    runner.machines.mkdir()
    clone = cloned(tmp_path, installed)
    assert runner.prepare(RELEASE, clone).startswith("7.7 on ")
    (place,) = runner.machines.glob("*/")
    assert sorted(path.name for path in place.iterdir()) == ["made.json", ROOT]
    disk = place / ROOT
    assert disk.stat().st_blocks * 512 < 64 << 20
    assert of(disk, "bsd") == "kernel\n"
    assert of(disk, "etc/rc.local") == "sh /behunt/.init 9<>/dev/cua01\n"
    assert of(disk, "etc/boot.conf") == "set tty com0\nboot /bsd\n"
    assert "disk=/dev/rsd1c\n" in of(disk, "behunt/.init")
    assert of(disk, "booted") == "boot blocks\n"
    assert subprocess.run(["debugfs", "-R", "stat dev/made", disk], check=True).returncode == 0
    assert runner.prepared(clone.bootenv) == runner.prepare(RELEASE, clone)


def test_what_pxeboot_reads(installed: Path, tmp_path: Path) -> None:
    place = openbsd_disk.served(RELEASE, cloned(tmp_path, installed), tmp_path / "tftp")
    assert (place / "etc/boot.conf").read_text() == "set tty com0\nboot tftp:/bsd.rd\n"
    assert (place / "bsd.rd").read_text() == "its own\n"


# What makes a disk of sys.argv: the home, and what an OpenBSD was installed as.
MAKING = """
import shutil, sys
from pathlib import Path
from behunt import catalogue
from behunt.drive.lab import opened
from behunt.model import Build
release = catalogue.find(catalogue.load("openbsd"), "7.7", os="openbsd", arch="amd64")
with opened(Path(sys.argv[1]), "qemu") as lab:
    new = lab.store.create(release.id, release.id)
    shutil.copytree(sys.argv[2], new.path, dirs_exist_ok=True)
    with lab.store.clone(lab.store.seal(new, Build("sets"))) as clone:
        lab.runner.prepare(release, clone)
"""


def test_who_is_killed_while_it_makes_a_disk_leaves_nothing(
    installed: Path, tmp_path: Path
) -> None:
    """Of this bsd.rd no shell comes up, so it would wait for one."""
    home = Home(tmp_path / "home").make()
    with subprocess.Popen([sys.executable, "-c", MAKING, home.path, installed]) as making:
        while not list(home.machines.glob(".make.*/machine/*/serial")):
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(making.wait(0.05))
        fds = list(handles(below(making.pid)))
        making.kill()
    for fd in fds:
        assert select.select([fd], [], [], PATIENCE)[0], "something runs on"
        os.close(fd)
    assert list(home.machines.glob(".make.*"))
    with opened(home.path, "qemu"):
        assert {path.name[:6] for path in home.machines.iterdir()} <= {"accele", ".lock."}
    assert str(home.path) not in Path("/proc/self/mountinfo").read_text()


def waits(lock: IO[str]) -> bool:
    """Whether somebody waits for what is held by this file (proc_locks(5))."""
    of = f":{os.fstat(lock.fileno()).st_ino} "
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and of in line for line in lines)


def test_what_another_makes_is_waited_for(installed: Path, tmp_path: Path) -> None:
    """Of this nobody can make anything: who tried would say so."""
    (installed / "bsd").unlink()
    runner = QemuRunner(tmp_path / "machines")
    runner.machines.mkdir()
    clone = cloned(tmp_path, installed)
    place = runner._place(clone.bootenv)
    lock = runner.machines / f".lock.{place.name}"
    with lock.open("w") as held, ThreadPoolExecutor(1) as pool:
        fcntl.flock(held, fcntl.LOCK_EX)
        preparing = pool.submit(runner.prepare, RELEASE, clone)
        while not waits(held) and not preparing.done():
            wait([preparing], 0.05)
        place.mkdir()
        Made("openbsd", "7.7", hardware_of(RELEASE)).write(place)
        fcntl.flock(held, fcntl.LOCK_UN)
        assert preparing.result().startswith("7.7 on ")


@pytest.mark.parametrize("name", ["bsd", "bsd.rd", "usr/mdec/pxeboot", "etc/rc"])
def test_what_a_disk_cannot_do_without(installed: Path, tmp_path: Path, name: str) -> None:
    (installed / name).unlink()
    place = tmp_path / "made"
    place.mkdir()
    clone = cloned(tmp_path, installed)
    with pytest.raises(InstallError, match="was installed without the set") as caught:
        openbsd_disk.make(RELEASE, clone, hardware_of(RELEASE), place, Emulator())
    assert "--set bsd.rd" in caught.value.hint
    assert not list(place.iterdir())
