"""An OpenBSD in QEMU as values: what is typed to make its disk, and what is on it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from pathlib import PurePosixPath as P

import pytest

from behunt import catalogue
from behunt.errors import InstallError
from behunt.hosts.dialogue import pattern
from behunt.model import BootEnv, Release
from behunt.runners.vm import eras, openbsd_disk
from behunt.runners.vm.consoles import dialogue
from behunt.runners.vm.families import FAMILIES
from behunt.runners.vm.machine import Card, From, Machine, Nic, Tftp
from behunt.runners.vm.openbsd import IN_QEMU, booting, configured, disk_of
from behunt.runners.vm.qemu_args import Emulator, qemu_args
from behunt.runners.vm.shell import LONGEST
from behunt.storage.protocol import Clone

KNOWN = [one for one in catalogue.load("openbsd").releases if openbsd_disk.unfit(one) == ""]
# etc/etc.amd64/ttys
TTYS = """\
console\t"/usr/libexec/getty Pc"\t\tvt220\toff secure
tty00\t"/usr/libexec/getty std.9600"\tunknown off
tty01\t"/usr/libexec/getty std.9600"\tunknown off
"""


def release(version: str, arch: str = "amd64") -> Release:
    return catalogue.find(catalogue.load("openbsd"), version, os="openbsd", arch=arch)


def typed(version: str) -> tuple[str, ...]:
    return openbsd_disk.lines(version, eras.hardware_of(release(version)))


def test_what_is_typed_today() -> None:
    assert typed("7.7") == (
        "cd /dev && sh MAKEDEV sd0 sd1",
        r"print 'reinit\nupdate\nwrite\nquit' | fdisk -e sd0",
        r"print 'a a\n\n\n\n\nw\nq' | disklabel -E sd0 || :",
        "newfs -q /dev/rsd0a",
        "mount /dev/sd0a /mnt",
        "cd /mnt && tar xpf /dev/rsd1c",
        "cd /mnt/dev && sh MAKEDEV all",
        "cd / && installboot -r /mnt sd0",
        "umount /mnt",
    )


def test_what_was_typed_before_installboot_found_its_files() -> None:
    assert [line for line in typed("5.4") if "installboot" in line] == [
        "cd / && cp /mnt/usr/mdec/boot /mnt/boot && "
        "/mnt/usr/mdec/installboot /mnt/boot /mnt/usr/mdec/biosboot sd0"
    ]
    assert typed("5.2")[3] == "newfs -q /dev/rwd0a"
    assert typed("5.5")[-2] == "cd / && installboot -r /mnt sd0"


def test_every_line_can_be_typed_and_is_of_a_shell() -> None:
    assert {"3.5", "4.9", "7.9"} <= {one.version for one in KNOWN}
    for line in {line for one in KNOWN for line in typed(one.version)}:
        assert len(line) <= LONGEST
        subprocess.run(["sh", "-n", "-c", line], check=True)


@pytest.mark.parametrize(("version", "says"), [("3.4", "OpenBSD 3.5"), ("3.5", ""), ("7.9", "")])
def test_which_have_an_installer_that_pxe_boots(version: str, says: str) -> None:
    assert (says in openbsd_disk.unfit(release(version, "i386"))) is True
    assert bool(openbsd_disk.unfit(release(version, "i386"))) is bool(says)


def test_one_without_a_number_is_the_latest() -> None:
    assert openbsd_disk.unfit(replace(release("7.7"), version="snapshot")) == ""
    hardware = eras.hardware_of(release("7.7"))
    assert openbsd_disk.lines("snapshot", hardware) == typed("7.7")


def test_the_machine_that_makes_a_disk_boots_from_a_network_without_a_way_out() -> None:
    one = release("7.7")
    machine = openbsd_disk.making(
        one, eras.hardware_of(one), Path("/s/t,ftp"), Path("/s/root.img"), Path("/s/root.tar")
    )
    words = qemu_args(machine, Emulator(), serial=P("serial"), qmp=P("qmp"))
    assert "user,id=net,restrict=on,tftp=/s/t,,ftp,bootfile=pxeboot" in words
    assert "virtio-net-pci,netdev=net,bootindex=0" in words
    drives = [word for word in words if word.startswith("file=")]
    assert [word.partition(",")[0] for word in drives] == ["file=/s/root.img", "file=/s/root.tar"]


def test_an_open_gateway_may_serve_too() -> None:
    nic = Nic(Card.E1000, closed=False, tftp=Tftp(P("/t"), "x"))
    machine = Machine("m", eras.hardware_of(release("5.0")), From.NETWORK, nic=nic)
    words = qemu_args(machine, Emulator(), serial=P("serial"), qmp=P("qmp"))
    assert "user,id=net,restrict=off,tftp=/t,bootfile=x" in words


def test_what_it_is_configured_with() -> None:
    hardware = eras.hardware_of(release("7.7"))
    files = {**configured(hardware, IN_QEMU), **booting(hardware, TTYS)}
    assert files["etc/fstab"] == "/dev/sd0a / ffs rw 1 1\n"
    assert files["etc/boot.conf"] == "set tty com0\nboot /bsd\n"
    console, first, second = files["etc/ttys"].splitlines()
    assert first == 'tty00\t"/usr/libexec/getty std.9600"\tvt220 on secure'
    assert [console, second] == [line for line in TTYS.splitlines() if "tty00" not in line]
    assert files["etc/hostname.vio0"] == "dhcp\n"
    assert files["etc/rc.local"] == "sh /behunt/.init 9<>/dev/cua01\n"
    assert "disk=/dev/rsd1c\n" in files["behunt/.init"]
    assert "stty raw -echo </dev/cua01\n" in files["behunt/.init"]


@pytest.mark.parametrize(
    ("version", "disk", "interface"), [("7.7", "sd0", "vio0"), ("5.2", "wd0", "em0")]
)
def test_what_its_devices_are_called(version: str, disk: str, interface: str) -> None:
    hardware = eras.hardware_of(release(version))
    assert disk_of(hardware, 0) == disk
    assert f"etc/hostname.{interface}" in booting(hardware, "")


@pytest.mark.parametrize("one", KNOWN, ids=lambda one: one.id)
def test_each_has_a_network_and_no_ttys_that_it_did_not_have(one: Release) -> None:
    files = booting(eras.hardware_of(one), "")
    assert sum(name.startswith("etc/hostname.") for name in files) == 1
    assert "etc/ttys" not in files


@pytest.mark.parametrize(("version", "lacking"), [("5.6", "etc"), ("5.7", "base")])
def test_without_rc_nothing_would_start(tmp_path: Path, version: str, lacking: str) -> None:
    for name in ("bsd", "bsd.rd", "usr/mdec/pxeboot"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    clone = Clone("c", BootEnv("b", "b", tmp_path), lower=(str(tmp_path),))
    with pytest.raises(InstallError, match=f"without the set {lacking},") as caught:
        openbsd_disk.served(release(version), clone, tmp_path / "tftp")
    assert ("--set etc" in caught.value.hint) is (lacking == "etc")


@pytest.mark.parametrize(
    "asked",
    [
        "(I)nstall, (U)pgrade or (S)hell? ",  # up to 5.4
        "(I)nstall, (U)pgrade, (A)utoinstall or (S)hell? ",
    ],
)
def test_the_installer_is_asked_for_its_shell(asked: str) -> None:
    question, prompt = dialogue("openbsd", "ramdisk")
    assert re.search(pattern(question), asked)
    assert question.send == "s\r"
    assert re.search(pattern(prompt), f"{asked}s\n# ")
    assert re.search(pattern(prompt), f"{asked}s\nbsd# ")
    assert not re.search(pattern(prompt), "root on rd0a # \n")


def test_it_is_a_family_of_machines() -> None:
    family = FAMILIES["openbsd"]
    assert family.system("7.7").output == "/dev/cua01"
    assert family.boot(Path("/nowhere")) is From.DISK
    assert len(family.recipe()) == 64
