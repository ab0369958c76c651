"""An OpenBSD's disk, made in a real QEMU by what a Linux plays of its pxeboot and its bsd.rd.

The firmware, DHCP and TFTP are real, and so are the typing and the archive that is unpacked. What
is fetched as pxeboot is a script that QEMU's iPXE follows, as bsd.rd a Debian's kernel.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from homes import sharing

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import Lab, Settings, opened
from behunt.errors import InstallError
from behunt.model import BootEnv
from behunt.runners.vm import openbsd_disk
from behunt.runners.vm.eras import hardware_of
from behunt.runners.vm.initrd import cpio
from behunt.runners.vm.made import INITRD, KERNEL, ROOT
from behunt.storage.protocol import Clone

pytestmark = pytest.mark.real

DEBIAN = catalogue.find(catalogue.load("debian"), "12", os="debian")
RELEASE = catalogue.find(catalogue.load("openbsd"), "7.7", os="openbsd", arch="amd64")
# iPXE finds its files beside the script.
PXEBOOT = """#!ipxe
kernel bsd.rd console=ttyS0 quiet panic=-1
initrd initrd
boot
"""
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
def ramdisk(lab: Lab) -> tuple[bytes, bytes]:
    """A kernel, and the archive that it unpacks into its ramdisk."""
    bootenv = ensure(lab, DEBIAN)
    with lab.store.clone(bootenv) as clone:
        lab.runner.prepare(DEBIAN, clone)
    made, *_ = lab.home.machines.glob(f"{bootenv.identity[:24]}-????????/{INITRD}")
    programs = {name: (0o755, f"#!/bin/sh\n{text}".encode()) for name, text in PROGRAMS.items()}
    more = cpio(["sbin"], {"init": (0o755, INIT.encode()), **programs})
    return (made.parent / KERNEL).read_bytes(), made.read_bytes() + more


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The root of an OpenBSD with all that a disk is made of."""
    root = tmp_path / "root"
    files = {
        "bsd": "kernel\n",
        "bsd.rd": "its own\n",
        "usr/mdec/pxeboot": PXEBOOT,
        "usr/mdec/biosboot": "boot blocks\n",
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
    bootenv = BootEnv(RELEASE.id, RELEASE.id, root)
    return Clone("c", bootenv, lower=(str(root),), stage=str(tmp_path / "stage"))


def of(disk: Path, name: str) -> str:
    words = ["debugfs", "-R", f"cat {name}", str(disk)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_a_disk_is_made_by_what_pxe_boots(
    ramdisk: tuple[bytes, bytes], installed: Path, tmp_path: Path
) -> None:
    (installed / "bsd.rd").write_bytes(ramdisk[0])
    clone = cloned(tmp_path, installed)
    scratch = tmp_path / "made"
    scratch.mkdir()
    machine = openbsd_disk.prepared(RELEASE, clone, hardware_of(RELEASE), scratch)
    boot_conf = scratch / openbsd_disk.TFTP / "etc/boot.conf"
    assert boot_conf.read_text() == "set tty com0\nboot tftp:/bsd.rd\n"
    (scratch / openbsd_disk.TFTP / "initrd").write_bytes(ramdisk[1])
    openbsd_disk.install(machine, RELEASE, scratch)
    disk = scratch / ROOT
    assert disk.stat().st_blocks * 512 < 64 << 20
    assert of(disk, "bsd") == "kernel\n"
    assert of(disk, "etc/rc.local") == "sh /behunt/.init 9<>/dev/cua01\n"
    assert of(disk, "etc/boot.conf") == "set tty com0\nboot /bsd\n"
    assert "disk=/dev/rsd1c\n" in of(disk, "behunt/.init")
    assert of(disk, "booted") == "boot blocks\n"
    assert subprocess.run(["debugfs", "-R", "stat dev/made", disk], check=True).returncode == 0


@pytest.mark.parametrize("name", ["bsd", "bsd.rd", "usr/mdec/pxeboot"])
def test_what_a_disk_cannot_do_without(installed: Path, tmp_path: Path, name: str) -> None:
    (installed / name).unlink()
    place = tmp_path / "made"
    place.mkdir()
    clone = cloned(tmp_path, installed)
    with pytest.raises(InstallError, match="was installed without the set") as caught:
        openbsd_disk.make(RELEASE, clone, hardware_of(RELEASE), place)
    assert "--set bsd.rd" in caught.value.hint
    assert not list(place.iterdir())
