"""What an OpenBSD machine needs: its root, its serial console, and the job. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from behunt.runners.protocol import AT
from behunt.runners.vm.job import System, waiting
from behunt.runners.vm.machine import Card, Hardware

_JOB = f"{AT}/.init"
_SERVICES = ("cron", "ntpd", "sendmail", "slaacd", "smtpd", "sndiod", "sshd")
_OFF = (*(f"{name}_flags" for name in _SERVICES), "library_aslr", "pf")
_INTERFACES = {Card.VIRTIO: "vio0", Card.E1000: "em0"}
# name, "getty", then type, whether it is on, and the rest
_PORT = re.compile(r'^(tty00[ \t]+"[^"]*"[ \t]+).*$', re.MULTILINE)
# vmd(8) gives it one serial port, which rc(8) has open: its settings last.
OPENBSD = System(
    console="/dev/console",
    output="/dev/console",
    first=":",
    clock="date $(date -r $now +%Y%m%d%H%M.%S) >/dev/null",
    take="tar xf $disk",
    off="halt -pq",
    os="openbsd",
)
# The second one forgets its settings when it is closed. To call out it does not wait for a carrier.
IN_QEMU = replace(OPENBSD, output="/dev/cua01")


def configured(hardware: Hardware, system: System = OPENBSD) -> Mapping[str, str]:
    """Files over those of the boot environment. rc.local is run before anybody can log in.

    Nothing that takes time, or that a test would meet, is started: rc.conf(8). `library_aslr` has
    rc(8) link no libraries anew.
    """
    root = disk_of(hardware, 0) + "a"
    held = "" if system.output == system.console else f" 9<>{system.output}"
    return {
        "etc/fstab": f"/dev/{root} / ffs rw 1 1\n",
        "etc/rc.conf.local": "".join(f"{name}=NO\n" for name in _OFF),
        "etc/rc.local": f"sh {_JOB}{held}\n",
        _JOB.lstrip("/"): waiting(system, hardware.device_of(1)),
    }


def booting(hardware: Hardware, ttys: str) -> Mapping[str, str]:
    """More of them, for a machine that has boot(8) and a network card.

    `ttys` is the boot environment's own etc/ttys, if it has one. Its first serial port gets a
    login, which is seen where the job does not start.
    """
    files = {
        "etc/boot.conf": boot_conf("/bsd"),
        f"etc/hostname.{_INTERFACES[hardware.nic]}": "dhcp\n",
    }
    return {**files, "etc/ttys": _PORT.sub(r"\1vt220 on secure", ttys)} if ttys else files


def boot_conf(kernel: str) -> str:
    """What boot(8) reads first: where its console is, and the kernel, without a question."""
    return f"set tty com0\nboot {kernel}\n"


def disk_of(hardware: Hardware, n: int) -> str:
    """The name of disk `n`: `sd0`, `wd1`."""
    return hardware.device_of(n).removeprefix("/dev/r").removesuffix("c")
