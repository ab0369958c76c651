"""Which runner `auto` means, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from behunt.drive.choosing import choose, way_out
from behunt.errors import BehuntError, UsageError
from behunt.hosts.local import LocalHost, Prefixed
from behunt.hosts.protocol import CLEAN_ENV
from behunt.model import Limits, Release, Test
from behunt.runners import NAMES, runners
from behunt.runners.protocol import Runner
from behunt.storage.home import Home

STAND_INS = Path(__file__).parents[1] / "stand_ins" / "freebsd-13.2"
DEBIAN = Release("debian-12-amd64", "debian", "12", "amd64", sources=("http://deb/",))
FREEBSD = Release("freebsd-11.1-amd64", "freebsd", "11.1", "amd64", sources=("/pub",))
OPENBSD = Release("openbsd-7.3-amd64", "openbsd", "7.3", "amd64", sources=("/pub",))
TEST = Test("t", ("true",))


@pytest.fixture
def here() -> Mapping[str, Runner]:
    return runners(Home(Path("/nowhere")))


@pytest.fixture
def freebsd(tmp_path: Path) -> Mapping[str, Runner]:
    """Those of a FreeBSD 13.2, as far as its programs tell."""
    words = (f"PATH={STAND_INS}:{CLEAN_ENV['PATH']}", f"STAND_IN_STATE={tmp_path}")
    host = Prefixed(LocalHost(), ("env", *words), "fbsd.lab")
    return runners(Home(Path("/nowhere")), host)


def test_all_runners_are_known_on_every_host(
    here: Mapping[str, Runner], freebsd: Mapping[str, Runner]
) -> None:
    assert tuple(here) == tuple(freebsd) == NAMES


def test_what_is_asked_for_is_taken(here: Mapping[str, Runner]) -> None:
    assert choose(here, "chroot", [FREEBSD], TEST) == "chroot"
    with pytest.raises(UsageError, match="no runner toaster"):
        choose(here, "toaster", [FREEBSD], TEST)
    assert choose(here, "auto", [replace(DEBIAN, sources=())], TEST) == "none"


@pytest.mark.real  # the stand-ins say that they are root's
def test_freebsd_on_a_freebsd_host_is_for_jails(freebsd: Mapping[str, Runner]) -> None:
    assert choose(freebsd, "auto", [FREEBSD, replace(FREEBSD, version="9.3")], TEST) == "jail"
    wants_loopback = replace(TEST, needs=frozenset({"loopback"}))
    assert choose(freebsd, "auto", [FREEBSD], wants_loopback) == "vnet"


@pytest.mark.real
@pytest.mark.parametrize(
    ("release", "test", "why"),
    [
        (replace(FREEBSD, version="14.0"), TEST, "newer than the host's kernel"),
        (FREEBSD, replace(TEST, limits=Limits(processes=9)), "it has no limits"),
        (FREEBSD, replace(TEST, needs=frozenset({"own_kernel"})), "it has no own_kernel"),
    ],
)
def test_why_a_freebsd_host_cannot_answer(
    freebsd: Mapping[str, Runner], release: Release, test: Test, why: str
) -> None:
    with pytest.raises(BehuntError, match="no runner here can answer") as told:
        choose(freebsd, "auto", [release], test)
    assert why in told.value.message


def test_debian_on_a_freebsd_host_has_no_runner(freebsd: Mapping[str, Runner]) -> None:
    with pytest.raises(BehuntError, match="its programs need a Linux kernel"):
        choose(freebsd, "auto", [DEBIAN], TEST)


def test_a_freebsd_that_nothing_here_boots_is_told_why(here: Mapping[str, Runner]) -> None:
    with pytest.raises(BehuntError, match=r"FreeBSD before 2\.2 reads no boot\.config") as told:
        choose(here, "auto", [replace(FREEBSD, version="2.1.0", arch="i386")], TEST)
    assert "a virtual machine that boots" in told.value.hint


@pytest.mark.real  # the runner qemu needs root
def test_freebsd_here_is_for_a_machine_of_its_own(tmp_path: Path) -> None:
    assert choose(runners(Home(tmp_path).make()), "auto", [FREEBSD], TEST) == "qemu"


@pytest.mark.parametrize(
    ("release", "way"),
    [
        (DEBIAN, "behunt doctor"),
        (FREEBSD, f"if that is {FREEBSD.version} or later: --host root@HOST --store zfs:POOL"),
        (replace(FREEBSD, version="2.2.8", arch="i386"), "a virtual machine that boots"),
        (OPENBSD, "--runner vmm --host root@HOST (docs/vm-hosts.md)"),
    ],
)
def test_the_way_out_is_one_that_works(release: Release, way: str) -> None:
    assert way in way_out(release)
