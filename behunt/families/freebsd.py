"""What is particular to FreeBSD: which worlds a kernel can run, and how it counts. Pure.

A jail or chroot shares the host's kernel, so the world in it must be one that this kernel still
answers: not newer, and old system calls only where COMPAT_FREEBSDn was compiled in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from behunt.model import Release

# sys/conf/NOTES: n -> the first kernel that has COMPAT_FREEBSDn. There is nothing for 8, which
# changed no system call on its way to 9.
_COMPAT = {4: 5, 5: 6, 6: 7, 7: 8, 9: 11, 10: 11, 11: 12, 12: 13, 13: 14, 14: 15}
# All kernels tell these of themselves (kern_mib.c); those for later worlds only the newest do.
_ALWAYS_TOLD = frozenset({4, 5, 6, 7})
_OLDEST = 4  # before: a.out, or system calls of COMPAT_43, which GENERIC has not
_FIRST_AMD64 = (5, 1)
_A_MACHINE = "a virtual machine can: --runner qemu, or bhyve"

# __FreeBSD_version of releases that do not follow the rule (Porter's Handbook, chapter 18): a
# .0 is the CURRENT it was cut from.
_OSRELDATES = {
    (4, 0): 400017,
    (4, 1, 1): 411000,
    (4, 6, 2): 460002,
    (4, 10): 491000,
    (4, 11): 492000,
    (5, 0): 500043,
    (5, 2, 1): 502010,
    (6, 0): 600034,
    (7, 0): 700055,
    (8, 0): 800107,
    (9, 0): 900044,
    (9, 2): 902001,
    (10, 0): 1000510,
    (11, 0): 1100122,
    (11, 1): 1101001,
    (11, 4): 1104001,
    (12, 0): 1200086,
    (13, 0): 1300139,
    (13, 2): 1302001,
    (14, 0): 1400097,
    (15, 0): 1500068,
}
_FEATURE = re.compile(r"^kern\.features\.compat_freebsd(\d+|_32bit): 1$", re.MULTILINE)
_DEFINED = re.compile(r"^#define[ \t]+__FreeBSD_version[ \t]+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A FreeBSD kernel: uname -r and -m, and the COMPAT_FREEBSDn that it says it has."""

    release: str = "13.2-RELEASE"
    machine: str = "amd64"
    compat: frozenset[int] = frozenset({4, 5, 6, 7, 9, 10, 11, 12})
    compat32: bool = True


def features(sysctl: str) -> tuple[frozenset[int], bool]:
    """The worlds n of COMPAT_FREEBSDn, and whether 32-bit ones run, of `sysctl kern.features`."""
    found = set(_FEATURE.findall(sysctl))
    return frozenset(int(word) for word in found if word.isdigit()), "_32bit" in found


def version_of(text: str) -> tuple[int, ...]:
    """The numbers in front of a version: (13, 2) of `13.2-RELEASE-p4`; empty if there are none."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def runs_on(release: Release, kernel: Kernel) -> str:
    """Why `kernel` cannot run the programs of `release`; empty if it can."""
    world, host = version_of(release.version), version_of(kernel.release)
    if wrong := _wrong_machine(release, world, kernel):
        return wrong
    if not world or not host:
        return ""
    if world[0] < _OLDEST:
        return f"the kernel of {kernel.release} does not run programs from before 4.0; {_A_MACHINE}"
    if world[:2] > host[:2]:
        return (
            f"it is newer than the host's kernel, which is {kernel.release}: a host that runs "
            f"{release.version} or later can, or {_A_MACHINE}"
        )
    if lacking := sorted(_needed(world[0], host[0], kernel.compat) - kernel.compat):
        options = " and ".join(f"COMPAT_FREEBSD{n}" for n in lacking)
        return f"the host's kernel was built without {options}; GENERIC has it, or {_A_MACHINE}"
    return ""


def in_jails(release: Release) -> bool:
    """Whether any kernel could run its programs in a jail."""
    world = version_of(release.version)
    return not world or (world[0] >= _OLDEST and (release.arch != "amd64" or world >= _FIRST_AMD64))


def _wrong_machine(release: Release, world: tuple[int, ...], kernel: Kernel) -> str:
    if release.arch == "amd64" and world and world < _FIRST_AMD64:
        return "there was no FreeBSD for amd64 before 5.1: take --arch i386"
    if release.arch in {"", kernel.machine}:
        return ""
    if (release.arch, kernel.machine) != ("i386", "amd64"):
        return f"it is for {release.arch}, and the host is {kernel.machine}"
    if not kernel.compat32:
        return f"the host's kernel was built without COMPAT_FREEBSD32; {_A_MACHINE}"
    return ""


def _needed(world: int, host: int, told: frozenset[int]) -> frozenset[int]:
    """The n of each COMPAT_FREEBSDn that a `host` kernel needs and would tell of, if it had it."""
    needed = {n for n, since in _COMPAT.items() if world <= n and since <= host}
    return frozenset(needed if told - _ALWAYS_TOLD else needed & _ALWAYS_TOLD)


def osrelease(release: Release) -> str:
    """What uname -r says on it."""
    return f"{release.version}-RELEASE"


def osreldate(version: str, header: str = "") -> int:
    """__FreeBSD_version of a release: what `sysctl kern.osreldate` and uname -K say on it.

    `header` is its own sys/param.h or osreldate.h, which knows it exactly. Without: from 5.0 on
    100000 for the major version and 1000 for the minor one (9.3 is 903000), in 4.x 10000 for the
    minor one (4.9 is 490000), but for those that the Porter's Handbook lists otherwise. 0 where
    it is not known: 3.x and older counted in other ways.
    """
    if defined := _DEFINED.search(header):
        return int(defined[1])
    numbers = version_of(version)
    if numbers in _OSRELDATES:
        return _OSRELDATES[numbers]
    major, minor = (*numbers, 0, 0)[:2]
    if major < _OLDEST:
        return 0
    return major * 100_000 + minor * (10_000 if major == _OLDEST else 1_000)
