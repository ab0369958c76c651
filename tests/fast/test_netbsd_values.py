"""What a NetBSD machine is told, as values, and what its boot programs are told."""

from __future__ import annotations

import os
import pty
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from waiting_machine import a_run, filled

from behunt import catalogue
from behunt.errors import InstallError
from behunt.hosts.dialogue import Watched, Window
from behunt.model import Release
from behunt.runners.vm import netbsd, netbsd_disk
from behunt.runners.vm.consoles import deaths
from behunt.runners.vm.eras import hardware_of
from behunt.runners.vm.interactive import unfit

OWN = {"etc/rc.conf": "rc_configured=NO\nhostname=own # kept\nsshd=YES\ncron=YES"}
SHELLS = [["dash"], ["yash", "-o", "posixlycorrect"]]


def release(version: str, arch: str = "amd64") -> Release:
    return catalogue.find(catalogue.load("netbsd"), version, os="netbsd", arch=arch)


def configured(version: str, own: Mapping[str, str] = OWN) -> Mapping[str, str]:
    return netbsd.configured(hardware_of(release(version)), version, own)


@pytest.mark.parametrize(
    ("version", "root", "exchange", "interface", "lines"),
    [
        ("2.0", "/dev/wd0a", "/dev/rwd1d", "wm0", ["up", "!dhclient $int"]),
        ("5.2.3", "/dev/wd0a", "/dev/rwd1d", "wm0", ["up", "!dhclient $int"]),
        ("6.0", "/dev/ld0a", "/dev/rld1d", "vioif0", ["up", "dhcp"]),
        ("10.1", "/dev/ld0a", "/dev/rld1d", "vioif0", ["up", "dhcp"]),
    ],
)
def test_its_devices_are_called_as_in_its_era(
    version: str, root: str, exchange: str, interface: str, lines: list[str]
) -> None:
    files = configured(version)
    assert files["etc/fstab"].split() == [root, "/", "ffs", "rw", "1", "1"]
    assert f"disk={exchange}\n" in files["behunt/.init"]
    assert files[f"etc/ifconfig.{interface}"].splitlines() == lines


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
def test_its_own_settings_stay_where_they_do_not_hinder(tmp_path: Path, shell: list[str]) -> None:
    """rc.conf(5) is sourced by a shell, so the last word counts."""
    (tmp_path / "rc.conf").write_text(configured("10.1")["etc/rc.conf"])
    asked = f'. {tmp_path}/rc.conf; echo "$rc_configured $hostname $sshd $cron $no_swap $postfix"'
    done = subprocess.run([*shell, "-c", asked], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["YES", "own", "YES", "NO", "YES", "NO"]


BOOT_CFG = """\
# boot.cfg of a release
menu=Boot normally:rndseed /var/db/entropy-file;boot
menu=Drop to boot prompt:prompt
default=1
consdev=pc
timeout=5
clear=1
"""


@pytest.mark.parametrize("own", ["", BOOT_CFG, BOOT_CFG.rstrip()])
def test_its_loader_waits_for_nobody(own: str) -> None:
    """Read as boot.cfg(5) has it: a line, a key, a value; of what is not a menu the last counts."""
    lines = configured("10.1", {"boot.cfg": own})["boot.cfg"].splitlines()
    pairs = [line.split("=", 1) for line in lines if not line.startswith("#")]
    settings = dict(pair for pair in pairs if pair[0] != "menu")
    assert (settings["consdev"], settings["timeout"], settings["clear"]) == ("com0", "0", "0")
    menu = [value for key, value in pairs if key == "menu"]
    assert menu == [line[5:] for line in own.splitlines() if line.startswith("menu=")]


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
def test_its_second_port_is_held_while_the_job_is_done(tmp_path: Path, shell: list[str]) -> None:
    """By who started the job, and not by the job, whose test shall have what it asked for."""
    master, port = pty.openpty()
    (tmp_path / "job").write_text(
        "for id in $PPID $$; do echo : $(readlink /proc/$id/fd/*); done\n"
    )
    script = configured("9.3")["etc/rc.local"]
    script = script.replace("/dev/dty01", os.ttyname(port)).replace("/behunt/.init", "job")
    done = subprocess.run(
        [*shell, "-c", f"{script}:"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    starter, job = done.stdout.splitlines()
    assert os.ttyname(port) in starter.split()
    assert os.ttyname(port) not in job.split()
    os.close(port)
    os.close(master)


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
def test_a_run_goes_as_it_should(tmp_path: Path, shell: list[str]) -> None:
    """Its date(1) takes no seconds to set the clock by; reboot(8) ends who calls it."""
    programs = filled(
        tmp_path,
        {
            "date": f"""case $* in
                "-r 1795287451 +%Y%m%d%H%M.%S") exec /bin/date -u -d @$2 $3 ;;
                "-n 202611211857.31") echo set >{tmp_path}/clock ;;
                *) exit 1 ;;
            esac""",
            "reboot": '[ "$*" = -q ] && kill -9 $PPID',
            "tar": 'exec bsdtar "$@"',
        },
    )
    a_run(tmp_path, programs, shell, netbsd.system("9.3"))
    assert (tmp_path / "clock").read_text() == "set\n"


OLD_TTYS = """\
console	"/usr/libexec/getty Pc"		pc3	off secure
ttyE0	"/usr/libexec/getty Pc"		vt220	on secure
tty00	"/usr/libexec/getty std.9600"	unknown off secure
"""
NEW_TTYS = """\
console	"/usr/libexec/getty Pc"		vt100	off secure
constty	"/usr/libexec/getty Pc"		vt100	on secure
"""


def test_somebody_can_log_in_on_the_console() -> None:
    """Not twice: constty(4) is what the console is."""
    first, *others = netbsd.with_getty(OLD_TTYS).splitlines(keepends=True)
    assert first == 'console\t"/usr/libexec/getty Pc" vt100 on secure\n'
    assert others == OLD_TTYS.splitlines(keepends=True)[1:]
    assert netbsd.with_getty(NEW_TTYS) == NEW_TTYS


def test_who_sits_there_finds_no_job() -> None:
    hardware = hardware_of(release("9.3"))
    there = netbsd.console(hardware, "9.3", OWN)
    assert configured("9.3").keys() - there.keys() == {"etc/rc.local", "behunt/.init"}
    assert unfit(release("9.3")) == ""
    assert "cannot stay" in unfit(release("9.3"), in_place=True)


@pytest.mark.parametrize(
    ("version", "arch", "says"),
    [
        ("1.6.2", "i386", "only its own installboot(8)"),
        ("2.0", "i386", ""),
        ("2.0", "amd64", ""),
        ("11.0", "amd64", ""),
    ],
)
def test_the_oldest_that_can_be_booted(version: str, arch: str, says: str) -> None:
    why = netbsd.unfit(release(version, arch))
    assert says in why
    assert bool(why) == bool(says)


def test_without_makefs_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert netbsd.unfit(release("9.3")).endswith("not installed: apt install makefs")


def test_the_recipe_is_that_of_what_is_made() -> None:
    assert netbsd.recipe() == netbsd.recipe()
    assert len(netbsd.recipe()) == 64


@pytest.mark.parametrize(
    "said",
    [
        "boot: hd0a:netbsd: no such file or directory\n",
        "/etc/rc.conf is not configured.  Multiuser boot aborted.\n",
        "Enter pathname of shell or RETURN for sh: ",  # up to 4.0
        "Enter pathname of shell or RETURN for /bin/sh: ",
    ],
)
def test_where_nothing_more_is_to_be_expected(said: str) -> None:
    window = Window()
    window.add(said)
    hit = window.first([Watched(row, 0) for row in deaths("netbsd")])
    assert hit is not None
    assert hit[0].row.reached == "unbootable"


# -- what installboot(8) does


def primary(magic: int = 0x7886B6D1, length: int = 36, size: int = 7680) -> bytes:
    """As boot_params.S begins it: a timeout of 5 seconds, the screen, a flag that is not ours."""
    code = bytes.fromhex("eb3c90").ljust(1024, b"\xcc") + b"\xeb\x2a\0\0"
    return (code + struct.pack("<6I", magic, length, 16, 5, 0, 9600)).ljust(size, b"\xcc")


def test_the_primary_bootstrap_is_told_the_console() -> None:
    before, after = primary(), netbsd_disk.told(primary())
    assert struct.unpack_from("<6I", after, 1028) == (0x7886B6D1, 36, 16, 0, 1, 9600)
    changed = [at for at, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert changed == [1040, 1044]  # the timeout, the console


def test_it_can_be_told_twice() -> None:
    once = netbsd_disk.told(primary())
    assert netbsd_disk.told(once) == once


@pytest.mark.parametrize(
    ("bootxx", "says"),
    [
        (None, "nothing to boot from: no /usr/mdec/mbr and /usr/mdec/bootxx_ffsv1 and /usr/mdec/"),
        (primary(magic=0x7886B6D2), "is no primary bootstrap that takes a console"),
        (primary(length=16), "is no primary bootstrap that takes a console"),
        (primary()[:1040], "is too short"),
        (primary(size=8193), "has 8193 bytes, and there is room for 8192"),
    ],
)
def test_what_nothing_boots_is_refused(tmp_path: Path, bootxx: bytes | None, says: str) -> None:
    (tmp_path / "usr/mdec").mkdir(parents=True)
    for name in ("mbr", "boot"):
        (tmp_path / "usr/mdec" / name).write_bytes(b"program")
    if bootxx is not None:
        (tmp_path / "usr/mdec/bootxx_ffsv1").write_bytes(bootxx)
    with pytest.raises(InstallError, match=r"netbsd-9\.3-amd64") as refused:
        netbsd_disk.programs(release("9.3"), [tmp_path])
    assert says in refused.value.message
