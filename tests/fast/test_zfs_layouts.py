"""The datasets of a boot environment: releases/layouts/zfs.toml as behunt reads it."""

from __future__ import annotations

import pytest

from behunt.catalogue.load import operating_systems
from behunt.errors import UsageError
from behunt.model import Build, Package
from behunt.storage.zfs.builds import properties, summary_in
from behunt.storage.zfs.layouts import (
    check_layout,
    fstab,
    layout_of,
    layouts,
    properties_of,
    with_fstab,
)

FREEBSD = [
    "4.11", "8.4", "9.3", "10.1", "10.4", "11.1", "12.0", "12.1", "13.2", "14.3", "15.0-RC1", "15.1"
]  # fmt: skip


def parts(name: str, release: str = "") -> list[str]:
    return [part.name for part in layout_of(name, release).parts]


def test_the_layouts_are_those_of_the_manual() -> None:
    assert set(layouts()) == {"freebsd", "netbsd", "openbsd", "illumos", "linux", "flat"}
    with pytest.raises(UsageError, match="there is no layout ufs"):
        check_layout("ufs")
    assert "layouts" not in operating_systems()


@pytest.mark.parametrize("name", ["freebsd", "netbsd", "openbsd", "illumos", "linux", "flat"])
def test_parents_come_first_and_none_is_missing(name: str) -> None:
    releases = [f"freebsd-{version}-amd64" for version in FREEBSD] if name == "freebsd" else [""]
    for release in releases:
        seen: set[str] = set()
        for part in parts(name, release):
            assert part not in seen
            assert "/" not in part or part.rpartition("/")[0] in seen
            seen.add(part)


def test_no_part_has_a_mount_point_of_its_own() -> None:
    for name in layouts():
        for part in layout_of(name).parts:
            found = properties_of(part)
            assert found["canmount"] in {"noauto", "off"}
            assert set(found) <= {"canmount", "exec", "setuid", "atime"}
            assert part.mode in {0, 0o1777}


@pytest.mark.parametrize(
    ("version", "count", "others"),
    [
        ("4.11", 10, {"usr/home", "var", "fstab"}),
        ("9.3", 10, {"usr/home", "var", "fstab"}),
        ("10.1", 10, {"usr/home", "fstab"}),
        ("11.1", 11, {"usr/home", "var/audit", "fstab"}),
        ("12.0", 11, {"usr/home", "var/audit", "fstab"}),
        ("12.1", 11, {"usr/home", "var/audit"}),
        ("13.2", 11, {"usr/home", "var/audit"}),
        ("14.3", 11, {"usr/home", "var/audit"}),
        ("15.0-RC1", 11, {"home", "var/audit"}),
    ],
)
def test_each_freebsd_has_what_its_own_installer_makes(
    version: str, count: int, others: set[str]
) -> None:
    layout = layout_of("freebsd", f"freebsd-{version}-amd64")
    assert len(layout.parts) == count
    mounted = {part.name for part in layout.parts if part.mountable}
    assert "usr" not in mounted
    told = mounted & {"home", "usr/home", "var", "var/audit"}
    assert told | ({"fstab"} if fstab("zroot/behunt/x", layout) else set()) == others


def test_without_a_release_it_is_the_latest() -> None:
    assert parts("freebsd") == parts("freebsd", "freebsd-15.1-amd64")
    assert parts("freebsd", "debian-12-amd64") == parts("freebsd")


def test_sources_are_executable_everywhere() -> None:
    for version in FREEBSD:
        part = layout_of("freebsd", f"freebsd-{version}-amd64").part("usr/src")
        assert part is not None
        assert part.properties.get("exec", "on") == "on"


def test_fstab_has_a_line_for_each_that_is_mounted() -> None:
    lines = fstab("zroot/behunt/old", layout_of("freebsd", "freebsd-11.1-amd64"))
    assert lines[0] == "zroot/behunt/old/tmp\t/tmp\tzfs\trw,late\t0\t0"
    assert not any("\t/usr\t" in line or "\t/var\t" in line for line in lines)
    assert len(lines) == 9


def test_fstab_keeps_what_is_not_ours_and_replaces_what_is() -> None:
    once = with_fstab("/dev/x / ufs rw 1 1", ("a", "b"))
    assert once.splitlines()[0] == "/dev/x / ufs rw 1 1"
    twice = with_fstab(once + "later\n", ("c",))
    assert [line for line in twice.splitlines() if line[0] != "#"] == [
        "/dev/x / ufs rw 1 1",
        "later",
        "c",
    ]
    assert with_fstab(twice, ()) == "/dev/x / ufs rw 1 1\nlater\n"


def test_a_build_fits_into_properties_of_the_oldest_pools() -> None:
    packages = tuple(
        Package(f"p{n * 7919 % 1000003}", f"1.{n}-{n % 13}", "all") for n in range(2000)
    )
    build = Build("recipe", (("http://there", "ab" * 32),), packages)
    told = properties(build, "2026-11-21T12:00:00+00:00", 7)
    assert all(len(key) + len(value) <= 1024 for key, value in told.items())
    summary = summary_in("zroot/x", told["behunt:build"])
    assert (summary.identity, summary.bytes) == (build.identity(), 7)
    assert summary.parts == len(told) - 1
