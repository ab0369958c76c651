"""What an OpenBSD machine needs: its root, its serial console, and the job. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from behunt.runners.protocol import AT
from behunt.runners.vm.job import System, waiting
from behunt.runners.vm.machine import Hardware

_JOB = f"{AT}/.init"
_SERVICES = ("cron", "ntpd", "slaacd", "smtpd", "sndiod", "sshd")
_OFF = (*(f"{name}_flags" for name in _SERVICES), "library_aslr", "pf")
# vmd(8) gives it one serial port, which rc(8) has open: its settings last.
OPENBSD = System(
    console="/dev/console",
    output="/dev/console",
    first=":",
    clock="date $(date -r $now +%Y%m%d%H%M.%S) >/dev/null",
    take="tar xf $disk",
    off="halt -pq",
)


def configured(hardware: Hardware) -> Mapping[str, str]:
    """Files over those of the boot environment. rc.local is run before anybody can log in.

    Nothing that takes time, or that a test would meet, is started: rc.conf(8). `library_aslr` has
    rc(8) link no libraries anew.
    """
    root = hardware.device_of(0).replace("/dev/r", "/dev/", 1).removesuffix("c") + "a"
    return {
        "etc/fstab": f"{root} / ffs rw 1 1\n",
        "etc/rc.conf.local": "".join(f"{name}=NO\n" for name in _OFF),
        "etc/rc.local": f"sh {_JOB}\n",
        _JOB.lstrip("/"): waiting(OPENBSD, hardware.device_of(1)),
    }
