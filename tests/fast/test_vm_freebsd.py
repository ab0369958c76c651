"""What a FreeBSD machine is told, as values."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from waiting_machine import a_run, filled

from behunt import catalogue
from behunt.model import Release
from behunt.runners import runners
from behunt.runners.job import attempt
from behunt.runners.vm import freebsd
from behunt.runners.vm.eras import hardware_of
from behunt.runners.vm.job import FREEBSD
from behunt.runners.vm.machine import Firmware
from behunt.storage.home import Home


def release(version: str, arch: str = "amd64") -> Release:
    return catalogue.find(catalogue.load("freebsd"), version, os="freebsd", arch=arch)


def oldest_arch(version: str) -> Release:
    return release(version, "i386" if version[:2] in {"2.", "3.", "4.", "5."} else "amd64")


def settings(text: str) -> dict[str, str]:
    """As the loader's own parser and sh both read them."""
    found = re.findall(r'^([\w.]+)="([^"]*)"$', text, re.MULTILINE)
    assert len(found) == text.count("\n")
    return dict(found)


@pytest.mark.parametrize(
    ("version", "root", "exchange"),
    [
        ("2.2.8", "/dev/wd0a", "/dev/rwd1"),
        ("3.5.1", "/dev/wd0a", "/dev/rwd1"),
        ("4.11", "/dev/ad0s1a", "/dev/ad1"),
        ("7.0", "/dev/ad0s1a", "/dev/ad1"),
        ("7.1", "/dev/ad0p1", "/dev/ad1"),
        ("8.4", "/dev/ad0p1", "/dev/ad1"),
        ("9.1", "/dev/ada0p1", "/dev/ada1"),
        ("9.3", "/dev/vtbd0p1", "/dev/vtbd1"),
        ("13.2", "/dev/vtbd0p1", "/dev/vtbd1"),
        ("15.0", "/dev/vtbd0p1", "/dev/vtbd1"),
    ],
)
def test_its_disks_are_called_as_in_its_era(version: str, root: str, exchange: str) -> None:
    one = oldest_arch(version)
    files = freebsd.configured(hardware_of(one), version=version)
    assert settings(files["boot/loader.conf.local"])["vfs.root.mountfrom"] == f"ufs:{root}"
    assert files["etc/fstab"].split() == [root, "/", "ufs", "rw", "1", "1"]
    assert f"disk={exchange}\n" in files["behunt/.init"]


def test_it_boots_on_the_serial_line_and_asks_nobody() -> None:
    files = freebsd.configured(hardware_of(release("13.2")))
    loader = settings(files["boot/loader.conf.local"])
    assert loader["console"] == "comconsole"
    assert loader["boot_serial"] == "YES"
    assert loader["autoboot_delay"] == "-1"
    assert files["boot.config"] == "-h\n"
    assert settings(files["etc/rc.conf.local"])["dumpdev"] == "NO"


@pytest.mark.parametrize(("version", "delay"), [("4.11", "0"), ("7.0", "0"), ("7.1", "-1")])
def test_a_loader_that_knows_no_negative_delay_waits_not_at_all(version: str, delay: str) -> None:
    files = freebsd.console(hardware_of(oldest_arch(version)), version)
    assert settings(files["boot/loader.conf.local"])["autoboot_delay"] == delay


@pytest.mark.parametrize(
    ("version", "setting"),
    [
        ("4.0", ("ifconfig_rl0", "DHCP")),
        ("4.11", ("ifconfig_em0", "DHCP")),
        ("7.0", ("ifconfig_em0", "DHCP")),
        ("7.1", ("ifconfig_DEFAULT", "SYNCDHCP")),
    ],
)
def test_its_network_card_is_asked_for_by_name_where_it_must(
    version: str, setting: tuple[str, str]
) -> None:
    files = freebsd.console(hardware_of(oldest_arch(version)), version)
    assert setting in settings(files["etc/rc.conf.local"]).items()


def test_without_a_dhcp_client_there_is_no_network() -> None:
    files = freebsd.console(hardware_of(release("3.5", "i386")), "3.5")
    assert "ifconfig" not in files["etc/rc.conf.local"]
    assert settings(files["etc/rc.conf.local"])["dumpdev"] == "NO"


def test_device_nodes_are_made_where_the_kernel_makes_none() -> None:
    """By the release's own MAKEDEV, before the job, and before somebody logs in."""
    hardware = hardware_of(release("4.11", "i386"))
    first = "(cd /dev && sh MAKEDEV all)\n"
    assert freebsd.console(hardware, "4.11")["etc/rc.local"] == first
    configured = freebsd.configured(hardware, version="4.11")
    assert configured["etc/rc.local"] == f"{first}sh /behunt/.init\n"
    assert "etc/rc.local" not in freebsd.console(hardware, "5.0")


@pytest.mark.parametrize(
    ("version", "arch"), [("13.2", "amd64"), ("4.11", "i386"), ("2.2.8", "i386")]
)
def test_the_scripts_are_of_any_shell(version: str, arch: str) -> None:
    one = release(version, arch)
    files = dict(freebsd.configured(hardware_of(one), freebsd.system(version), version))
    first, _, files["etc/rc.local"] = files["etc/rc.local"].rpartition("all)\n")
    assert bool(first) == (arch == "i386")
    for name in ("etc/rc.local", "behunt/.init", "etc/rc.conf.local"):
        for shell in (["dash", "-n"], ["yash", "-o", "posixlycorrect", "-n"]):
            subprocess.run(shell, input=files[name], text=True, check=True)
    assert files["etc/rc.local"] == "sh /behunt/.init\n"


TTYS = """\
# name\tgetty\t\t\t\ttype\tstatus
console\tnone\t\t\t\tunknown\toff secure
ttyv0\t"/usr/libexec/getty Pc"\t\txterm\tonifexists secure
"""


@pytest.mark.parametrize(
    ("port", "state"),
    [
        ('ttyu{}\t"/usr/libexec/getty 3wire"\tvt100', "onifconsole secure"),
        ('ttyu{}\t"/usr/libexec/getty std.9600"\tdialup', "off secure"),
        ('ttyd{}   "/usr/libexec/getty std.9600" dialup', "off secure"),
    ],
)
def test_somebody_can_log_in_on_the_first_port(port: str, state: str) -> None:
    second = f"{port.format(1)}\t{state}\n"
    before = f"{TTYS}{port.format(0)}\t{state}\n{second}"
    assert freebsd.with_getty(before) == f"{TTYS}{port.format(0)} on secure\n{second}"


def test_who_sits_there_finds_no_job() -> None:
    hardware = hardware_of(release("13.2"))
    assert freebsd.configured(hardware).keys() - freebsd.console(hardware).keys() == {
        "etc/rc.local",
        "behunt/.init",
    }


@pytest.mark.parametrize(
    ("version", "output", "initial"),
    [
        ("2.2.8", "/dev/cuaa1", "/dev/cuaia1"),
        ("4.0", "/dev/cuaa1", "/dev/cuaia1"),
        ("5.5", "/dev/cuaa1", "/dev/cuaia1"),
        ("6.0", "/dev/cuad1", "/dev/cuad1.init"),
        ("7.4", "/dev/cuad1", "/dev/cuad1.init"),
        ("8.0", "/dev/cuau1", "/dev/cuau1.init"),
    ],
)
def test_a_serial_port_has_the_name_of_its_driver(version: str, output: str, initial: str) -> None:
    system = freebsd.system(version)
    assert system.output == output
    files = freebsd.configured(hardware_of(oldest_arch(version)), system, version)
    assert f"stty raw -echo <{initial}\n" in files["behunt/.init"]


@pytest.mark.parametrize(("version", "off"), [("4.11", "reboot -q"), ("5.0", "halt -pq")])
def test_without_acpi_it_reboots_which_ends_its_machine(version: str, off: str) -> None:
    assert freebsd.system(version).off == off


def test_the_firmware_is_that_of_the_era() -> None:
    assert hardware_of(release("13.2")).firmware is Firmware.UEFI
    assert hardware_of(release("13.2", "i386")).firmware is Firmware.BIOS
    assert hardware_of(release("12.4")).firmware is Firmware.BIOS


def test_the_recipe_is_that_of_what_is_made() -> None:
    assert freebsd.recipe() == freebsd.recipe()
    assert len(freebsd.recipe()) == 64


@pytest.mark.parametrize(
    ("os", "version", "says"),
    [
        ("freebsd", "2.1.7", "FreeBSD before 2.2 reads no boot.config"),
        ("dragonfly", "6.4.0", "cannot make a disk that dragonfly 6.4.0 boots from"),
        ("omnios", "r151054", "cannot make a disk that omnios r151054 boots from"),
    ],
)
def test_what_cannot_be_booted_is_refused_with_a_reason(
    tmp_path: Path, os: str, version: str, says: str
) -> None:
    one = catalogue.find(catalogue.load(os), version, os=os)
    assert says in runners(Home(tmp_path))["qemu"].unfit(one)


def test_the_oldest_that_can_be_booted_and_one_without_a_number() -> None:
    assert freebsd.unfit(release("2.2.0", "i386")) == ""
    latest = replace(release("15.0"), version="CURRENT")
    assert freebsd.unfit(latest) == ""
    assert freebsd.system(latest.version) == FREEBSD


def test_without_makefs_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert freebsd.unfit(release("13.2")).endswith("not installed: apt install makefs")


@pytest.mark.parametrize("shell", [["dash"], ["yash", "-o", "posixlycorrect"], ["busybox", "sh"]])
@pytest.mark.parametrize(
    ("first_line", "told"),
    [
        (b"#!/bin/sh", "started\nexit 3\n"),
        (b"#! /bin/sh -e", "started\nexit 3\n"),
        (b"#!/usr/local/bin/python3", "/usr/local/bin/python3 is not there\n"),
        (b"#!/bin/sh\r", "/bin/sh\r is not there\n"),
    ],
)
def test_a_script_is_not_started_without_its_interpreter(
    tmp_path: Path, shell: list[str], first_line: bytes, told: str
) -> None:
    """No kernel tells that: what starts it exits with 127, as a test may."""
    (tmp_path / "t").write_bytes(first_line + b"\nexit 3\n")
    (tmp_path / "t").chmod(0o755)
    body = attempt(["./t"], {"PATH": "/usr/bin:/bin"}, str(tmp_path), output="/dev/null")
    script = f'tell() {{ echo "$@"; }}\n{body}'
    done = subprocess.run([*shell, "-c", script], check=True, capture_output=True)
    assert done.stdout.decode().endswith(told)


# -- the scripts, done by shells that FreeBSD's sh is like, and by bsdtar


@pytest.fixture
def like_freebsd(tmp_path: Path) -> Path:
    """Programs that are not as on Linux, by FreeBSD's manual pages. halt(8) ends who calls it."""
    return filled(
        tmp_path,
        {
            "date": '[ "$1 $2" = "-f %s" ] && [ "$3" -gt 1700000000 ] && [ $# = 3 ] && echo Sat',
            "halt": '[ "$*" = -pq ] && kill -9 $PPID',
            "tar": 'exec bsdtar "$@"',
        },
    )


def like_freebsd_4(tmp_path: Path, asked: str, told: str) -> Path:
    """Its tar(1) is GNU's, its od(1) has no options of POSIX, its date(1) is `asked` and `told`."""
    return filled(
        tmp_path,
        {
            "date": f"""case $* in
                "-r 1795287451 {asked}") exec /bin/date -u -d @$2 $3 ;;
                "{told}") ;;
                *) exit 1 ;;
            esac
            echo set >{tmp_path}/clock""",
            "halt": "exit 1",
            "od": "echo usage >&2; exit 1",
            "reboot": '[ "$*" = -q ] && kill -9 $PPID',
        },
    )


@pytest.mark.parametrize("shell", [["dash"], ["yash", "-o", "posixlycorrect"]], ids="-".join)
def test_a_run_goes_as_it_should(tmp_path: Path, like_freebsd: Path, shell: list[str]) -> None:
    """From the first word on the console to the archive on the disk."""
    a_run(tmp_path, like_freebsd, shell, FREEBSD)


@pytest.mark.parametrize(
    ("version", "asked", "told"),
    [
        ("4.11", "+%Y%m%d%H%M.%S", "202611211857.31"),
        ("2.2.8", "+%y%m%d%H%M.%S", "-n 2611211857.31"),  # its date(1) knows no centuries
    ],
)
def test_a_run_goes_as_it_should_in_old_ones(
    tmp_path: Path, version: str, asked: str, told: str
) -> None:
    a_run(tmp_path, like_freebsd_4(tmp_path, asked, told), ["dash"], freebsd.system(version))
    assert (tmp_path / "clock").read_text() == "set\n"
