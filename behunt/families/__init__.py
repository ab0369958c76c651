"""What is particular to a family of operating systems. Pure."""

from __future__ import annotations

import platform
import re

from behunt.model import Release

# os -> the kernel that its programs call, as uname -s names it
KERNELS = {
    "debian": "Linux",
    "freebsd": "FreeBSD",
    "openbsd": "OpenBSD",
    "netbsd": "NetBSD",
    "dragonfly": "DragonFly",
    "omnios": "SunOS",
}
_ARCHES = {
    "x86_64": {"amd64", "i386"},
    "amd64": {"amd64", "i386"},
    "aarch64": {"arm64", "aarch64"},
}
_LATEST = (1 << 30,)


def numbers(version: str) -> tuple[int, ...]:
    """A version to compare: (15, 0) of 15.0-STABLE, (151022,) of r151022.

    One without numbers (sid, snapshot) is the latest.

    >>> from behunt.families import numbers
    >>> numbers("6.0_BETA2"), numbers("snapshot") > numbers("15.0")
    ((6, 0, 2), True)
    """
    return tuple(map(int, re.findall(r"\d+", version))) or _LATEST


def runs_here(release: Release, system: str = "", machine: str = "") -> str:
    """Why this machine's kernel cannot run the programs of `release`; empty if it can.

    `system` and `machine` are what uname -s and -m say, by default of this machine. An os of a
    user's own catalogue is taken to fit.
    """
    system, machine = system or platform.system(), machine or platform.machine()
    kernel = KERNELS.get(release.os, system)
    if kernel != system:
        return f"its programs need a {kernel} kernel, and this is {system}"
    if release.arch not in _ARCHES.get(machine, {release.arch}):
        return f"it is for {release.arch}, and this machine is {machine}"
    return ""
