"""Which worlds a FreeBSD kernel runs, and what their numbers are."""

from __future__ import annotations

from pathlib import Path

import pytest

from behunt import catalogue
from behunt.families.freebsd import (
    Kernel,
    features,
    osreldate,
    osrelease,
    runs_on,
    version_of,
)
from behunt.model import Release

SAID = Path(__file__).parents[1] / "transcripts"


def release(version: str, arch: str = "amd64") -> Release:
    return Release(id=f"freebsd-{version}-{arch}", os="freebsd", version=version, arch=arch)


@pytest.mark.parametrize(
    ("version", "arch"),
    [("13.2", "amd64"), ("13.1", "i386"), ("9.3", "amd64"), ("8.4", "i386"), ("4.0", "i386")],
)
def test_a_generic_kernel_runs_worlds_back_to_4(version: str, arch: str) -> None:
    assert runs_on(release(version, arch), Kernel()) == ""


@pytest.mark.parametrize(
    ("version", "arch", "kernel", "why"),
    [
        ("14.0", "amd64", Kernel(), "newer than the host's kernel, which is 13.2-RELEASE"),
        ("13.3", "amd64", Kernel("13.2-RELEASE-p4"), "newer than the host's kernel"),
        ("3.5.1", "i386", Kernel(), "does not run programs from before 4.0"),
        ("5.0", "amd64", Kernel(), "no FreeBSD for amd64 before 5.1: take --arch i386"),
        ("9.3", "i386", Kernel(compat32=False), "without COMPAT_FREEBSD32"),
        ("9.3", "amd64", Kernel(machine="i386"), "for amd64, and the host is i386"),
        ("13.1", "i386", Kernel(machine="arm64"), "for i386, and the host is arm64"),
        ("4.11", "i386", Kernel(compat=frozenset({5, 6, 7})), "without COMPAT_FREEBSD4;"),
        ("9.3", "amd64", Kernel(compat=frozenset({4, 9, 10, 12})), "without COMPAT_FREEBSD11;"),
        ("6.4", "i386", Kernel("9.3", "i386", frozenset({4})), "FREEBSD6 and COMPAT_FREEBSD7"),
    ],
)
def test_what_it_cannot_run_and_why(version: str, arch: str, kernel: Kernel, why: str) -> None:
    assert why in runs_on(release(version, arch), kernel)


@pytest.mark.parametrize("version", ["14.0", "3.4"])
def test_what_would_run_it_is_named(version: str) -> None:
    assert "a virtual machine can" in runs_on(release(version, "i386"), Kernel())


def test_a_kernel_that_tells_only_of_old_worlds_is_believed_about_newer_ones() -> None:
    """kern_mib.c of many releases names 4 to 7 and no later one, whatever was compiled in."""
    assert runs_on(release("9.3"), Kernel(compat=frozenset({4, 5, 6, 7}))) == ""
    # COMPAT_FREEBSD9 and 10 came with 11: a 10.1 kernel has no need of them
    assert runs_on(release("9.3"), Kernel("10.1-RELEASE", compat=frozenset({4, 5, 6, 7}))) == ""


def test_features_are_read_from_what_a_kernel_says() -> None:
    said = (SAID / "sysctl-kern-13.2.txt").read_text()
    assert features(said) == (frozenset({4}), False)
    more = said + "kern.features.compat_freebsd_32bit: 1\nkern.features.compat_freebsd11: 1\n"
    assert features(more) == (frozenset({4, 11}), True)
    assert features("") == (frozenset(), False)


def test_numbers_of_a_version() -> None:
    assert version_of("13.2-RELEASE-p4") == (13, 2)
    assert version_of("5.2.1") == (5, 2, 1)
    assert version_of("CURRENT") == ()


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("4.0", 400017),
        ("4.1", 410000),
        ("4.1.1", 411000),
        ("4.9", 490000),
        ("4.10", 491000),
        ("4.11", 492000),
        ("5.0", 500043),
        ("5.2.1", 502010),
        ("5.5", 505000),
        ("6.4", 604000),
        ("8.4", 804000),
        ("9.3", 903000),
        ("10.1", 1001000),
        ("13.2", 1302001),
        ("14.3", 1403000),
        ("3.5.1", 0),
    ],
)
def test_osreldate_as_the_porters_handbook_lists_it(version: str, number: int) -> None:
    assert osreldate(version) == number


def test_a_worlds_own_header_knows_better() -> None:
    header = "#undef __FreeBSD_version\n#define __FreeBSD_version 1101001\t/* Master */\n"
    assert osreldate("11.0", header) == 1101001
    assert osreldate("11.0", "no such line\n") == 1100122


def test_osreldates_grow_with_the_releases() -> None:
    """Along the catalogue, in order of version, for all that a jail can run."""
    known = [r for r in catalogue.load("freebsd").releases if version_of(r.version) >= (4,)]
    versions = sorted({version_of(r.version) for r in known})
    numbers = [osreldate(".".join(map(str, version))) for version in versions]
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 60


def test_the_name_that_uname_gives() -> None:
    assert osrelease(release("9.3")) == "9.3-RELEASE"
