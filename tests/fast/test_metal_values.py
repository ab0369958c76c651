"""What machines of a lab are told, what they fetch and what lies in their root, as values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from behunt import catalogue
from behunt.errors import HostError, InstallError
from behunt.model import BootEnv, Release
from behunt.netboot.dnsmasq import FILES, Booting, dhcp_conf, hosts, options
from behunt.netboot.lab import Dhcp, Firmware, Machine, lab_of
from behunt.runners.lab import families, freebsd, linux, root
from behunt.runners.lab.families import FAMILIES
from behunt.runners.lab.job import job
from behunt.runners.lab.root import Made, Root, rate_of
from behunt.runners.metal import MetalRunner, nobody
from behunt.storage.home import Home
from behunt.storage.protocol import Clone

NODE = Machine("node1", "02:01:02:03:04:05")
ROOT = Root(IPv4Address("10.77.0.1"), "/node1")
NETWORK = {"interface": "lab0", "address": "10.77.0.1/24", "range": ["10.77.0.50", "10.77.0.99"]}


def release(name: str, arch: str = "amd64") -> Release:
    os = name.partition("-")[0]
    return catalogue.find(catalogue.load(os), name.partition("-")[2], os=os, arch=arch)


# -- FreeBSD


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    loaders = [name for files in FILES.values() for name in files.values()]
    for name in (*loaders, "rc.conf", "rc.conf.local", "ttys"):
        (place / name).touch()
    return place


LOADER_CONF = """\
autoboot_delay="-1"
beastie_disable="YES"
vfs.root.mountfrom="nfs:10.77.0.1:/node1"
vfs.root.mountfrom.options="rw"
boot.nfsroot.options="nolockd"
"""


def test_the_files_of_a_freebsd(place: Path) -> None:
    assert freebsd.offer(NODE, ROOT, place).laid == {
        "boot/loader.conf.local": LOADER_CONF,
        "etc/fstab": "10.77.0.1:/node1 / nfs rw,nolockd 0 0\n",
        "etc/rc.conf.local": (
            'network_interfaces="lo0"\nifconfig_DEFAULT=""\nroot_rw_mount="YES"\n'
            'sendmail_enable="NONE"\ncron_enable="NO"\ndumpdev="NO"\n'
        ),
        "etc/rc.local": "sh /behunt/.init\n",
    }


def test_a_freebsd_that_somebody_sits_at_has_no_job(place: Path) -> None:
    laid = freebsd.offer(NODE, ROOT, place, "/sbin/init").laid
    assert "etc/rc.local" not in laid
    assert laid["etc/fstab"]


def test_the_console_of_a_freebsd_is_serial_where_it_has_one(place: Path) -> None:
    node = replace(NODE, console="/dev/ttyUSB0,9600")
    conf = freebsd.offer(node, ROOT, place).laid["boot/loader.conf.local"]
    serial = 'boot_serial="YES"\ncomconsole_speed="9600"\nconsole="comconsole"\n'
    assert conf == LOADER_CONF + serial


@pytest.mark.parametrize(
    ("console", "rate"),
    [("/dev/ttyUSB0,9600", "9600"), ("tcp:127.0.0.1:4001", "115200"), ("sol", "115200")],
)
def test_the_rate_of_a_console(console: str, rate: str) -> None:
    assert rate_of(console) == rate


@pytest.mark.parametrize(
    ("firmware", "loader"), [(Firmware.BIOS, "pxeboot"), (Firmware.UEFI, "loader.efi")]
)
def test_a_freebsd_fetches_its_own_loader(firmware: Firmware, loader: str, place: Path) -> None:
    node = replace(NODE, firmware=firmware)
    offer = freebsd.offer(node, ROOT, place)
    assert offer.tftp == {loader: place / loader}
    assert offer.last == loader
    assert offer.web == {}
    booting = Booting(node, offer.way, offer.options)
    assert options([booting]) == "tag:machine-node1,option:root-path,10.77.0.1:/node1\n"
    said = dhcp_conf(lab_of({"lab": NETWORK}), Path("/d"), 8080).splitlines()
    assert f"dhcp-boot=tag:freebsd,tag:{firmware},{loader},,10.77.0.1" in said
    assert not any("option:swap-server" in line for line in said)  # it would be the root's


def test_a_freebsd_without_a_loader_for_the_firmware(place: Path) -> None:
    (place / "loader.efi").unlink()
    with pytest.raises(InstallError, match="node1 boots by uefi, and the release has no /boot/lo"):
        freebsd.offer(replace(NODE, firmware=Firmware.UEFI), ROOT, place)


def test_a_freebsd_takes_no_root_with_a_long_name(place: Path) -> None:
    with pytest.raises(HostError, match="a FreeBSD takes 127 bytes") as why:
        freebsd.offer(NODE, replace(ROOT, path="/home" * 30), place)
    assert "--home" in why.value.hint


def installed(tmp_path: Path, files: Sequence[str]) -> Clone:
    for name in files:
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    bootenv = BootEnv("be", "freebsd-13.2-amd64", tmp_path / "root", sealed=True)
    return Clone("c", bootenv, lower=(str(tmp_path / "root"),))


def test_a_freebsd_brings_its_loaders(tmp_path: Path) -> None:
    kernel, *loaders = files = "boot/kernel/kernel", "boot/pxeboot", "boot/loader.efi"
    (tmp_path / "made").mkdir()
    clone = installed(tmp_path, files)
    assert freebsd.make(release("freebsd-13.2"), clone, tmp_path / "made") == "13.2"
    assert {path.name: path.read_text() for path in (tmp_path / "made").iterdir()} == {
        "pxeboot": loaders[0],
        "loader.efi": loaders[1],
    }
    assert freebsd.layered(clone, tmp_path / "made", NODE) == clone
    (tmp_path / "root" / kernel).unlink()
    with pytest.raises(InstallError, match="installed without a kernel"):
        freebsd.make(release("freebsd-13.2"), clone, tmp_path / "made")


def test_a_loader_that_leads_out_of_the_release_is_none(tmp_path: Path) -> None:
    clone = installed(tmp_path, ["boot/kernel/kernel"])
    (tmp_path / "made").mkdir()
    (tmp_path / "root/boot/pxeboot").symlink_to("/etc/passwd")
    with pytest.raises(InstallError, match="no loader that boots from the network"):
        freebsd.make(release("freebsd-13.2"), clone, tmp_path / "made")


# -- which releases


@pytest.mark.parametrize(
    "name",
    [
        *("debian-12", "freebsd-9.0", "freebsd-13.2", "freebsd-15.0"),
        *("netbsd-2.0", "netbsd-10.1", "openbsd-5.5", "openbsd-7.8"),
    ],
)
def test_these_boot(name: str) -> None:
    assert families.unfit(release(name), Dhcp.FULL) == ""


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("freebsd-8.4", "the loader of FreeBSD 8.4 speaks NFS version 2, which nothing here"),
        ("openbsd-5.4", "the kernel of OpenBSD 5.4 speaks NFS version 2, which nothing here"),
        ("dragonfly-6.4.2", "dragonfly 6.4.2 over the network yet"),
    ],
)
def test_these_do_not(name: str, why: str) -> None:
    assert why in families.unfit(release(name), Dhcp.FULL)


@pytest.mark.parametrize("name", ["freebsd-13.2", "netbsd-10.1", "openbsd-7.8"])
def test_a_proxy_cannot_tell_a_bsd_what_it_asks(name: str) -> None:
    assert "a proxy cannot tell it" in families.unfit(release(name), Dhcp.PROXY)


def test_a_proxy_is_enough_for_a_linux() -> None:
    assert families.unfit(release("debian-12"), Dhcp.PROXY) == ""


def test_dnsmasq_may_read_what_is_made_whatever_the_umask(tmp_path: Path) -> None:
    clone = installed(tmp_path, ["boot/kernel/kernel", "boot/pxeboot"])
    runner = MetalRunner(Home(tmp_path / "home").make(), None, "", nobody)
    before = os.umask(0o077)
    try:
        place = runner.make(release("freebsd-13.2"), clone)
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in place.iterdir()} == {
        "made.json": 0o644,
        "pxeboot": 0o644,
    }


@pytest.mark.parametrize(
    ("machine", "arch", "why"),
    [
        ({"arch": "amd64"}, "i386", ""),
        ({"arch": "amd64", "firmware": "uefi"}, "amd64", ""),
        ({"arch": "amd64", "firmware": "uefi"}, "i386", "it is for i386, which node1 cannot boot"),
        ({"arch": "i386"}, "amd64", "it is for amd64, which node1 cannot boot"),
    ],
)
def test_which_machine_boots_what(
    machine: dict[str, str], arch: str, why: str, tmp_path: Path
) -> None:
    row = {"name": "node1", "mac": NODE.mac, **machine}
    lab = lab_of({"lab": NETWORK, "machine": [row]})
    runner = MetalRunner(Home(tmp_path), lab, "", nobody)
    assert runner.unfit(release("freebsd-13.2", arch)) == why


# -- Linux


def test_a_linux_is_told_its_root_by_ipxe(tmp_path: Path) -> None:
    offer = linux.offer(replace(NODE, console="sol"), ROOT, tmp_path)
    assert offer.web["boot.ipxe"] == (
        b"#!ipxe\n"
        b"kernel vmlinuz initrd=initrd behunt.mac=02:01:02:03:04:05 behunt.ip=${netX/ip}"
        b" behunt.mask=${netX/netmask} behunt.root=10.77.0.1:/node1 console=ttyS0,115200"
        b" panic=30\n"
        b"initrd initrd\n"
        b"boot\n"
    )
    assert offer.web["vmlinuz"] == tmp_path / "vmlinuz"
    assert (offer.last, offer.tftp, offer.laid, offer.options) == ("initrd", {}, {}, {})


def test_a_linux_may_have_an_init_of_its_own(tmp_path: Path) -> None:
    script = linux.offer(NODE, ROOT, tmp_path, "/sbin/init").web["boot.ipxe"]
    assert isinstance(script, bytes)
    assert b" behunt.init=/sbin/init " in script


# -- what dnsmasq is told


@pytest.mark.parametrize("name", ["freebsd", "uefi", "ipxe", "known"])
def test_a_machine_may_be_called_as_a_tag_of_dnsmasq_is(name: str) -> None:
    booting = Booting(replace(NODE, name=name), "netbsd", {"root-path": "/it"})
    tags = {"netbsd", f"machine-{name}"}
    (told,) = hosts([booting]).splitlines()
    mac, *words = told.split(",")
    assert (mac, words[-1]) == (NODE.mac, name)
    assert {word.removeprefix("set:") for word in words if word.startswith("set:")} == tags
    assert options([booting]) == f"tag:machine-{name},option:root-path,/it\n"


def test_firmware_of_32_bits_is_given_no_loader_of_64() -> None:
    said = dhcp_conf(lab_of({"lab": NETWORK}), Path("/d"), 8080).splitlines()
    matches = {line for line in said if line.startswith("dhcp-match=")}
    assert matches == {
        "dhcp-match=set:bios,option:client-arch,0",
        "dhcp-match=set:uefi,option:client-arch,7",
        "dhcp-match=set:uefi,option:client-arch,9",
    }


# -- all of them


@pytest.mark.parametrize("os", FAMILIES)
def test_a_family_s_recipe_is_always_the_same(os: str) -> None:
    assert FAMILIES[os].recipe() == FAMILIES[os].recipe()
    assert len({family.recipe() for family in FAMILIES.values()}) == len(FAMILIES)


@pytest.mark.parametrize("os", FAMILIES)
def test_what_a_family_boots_by_is_known_to_dnsmasq(os: str, place: Path) -> None:
    assert FAMILIES[os].offer(NODE, ROOT, place).way in FILES


def test_a_job_ends_with_the_power_off_of_its_system() -> None:
    for name, off in (("debian", "echo o >/proc/sysrq-trigger"), ("freebsd", "halt -pq")):
        script = job(FAMILIES[name].system("13.2"), ["./t"], {}, "/", run="r", hostname="h")
        assert f"\n    sync\n    {off}\n" in script
        assert script.endswith("tell done\noff\n")


def test_what_was_made_is_read_again(tmp_path: Path) -> None:
    made = Made("freebsd", "amd64", "13.2")
    with pytest.raises(FileNotFoundError):
        root.read(tmp_path)
    made.write(tmp_path)
    assert root.read(tmp_path) == made
