"""FreeBSD from packages: what pkg is told, and what is made of its answers.

No pkg runs on Linux. A small program stands for it here, which holds what it is told against
what bsdinstall tells it, and puts into the root what the test says.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from bsd_sets import WithPkg, pkgbase_keys, repository

from behunt import catalogue
from behunt.errors import InstallError, UsageError
from behunt.install import installer_for
from behunt.install.protocol import Order
from behunt.install.sets import pkgbase
from behunt.install.sets.installer import Sets
from behunt.install.sets.pkgbase import Pkgbase
from behunt.model import Package, Release


@pytest.fixture
def host(tmp_path: Path) -> WithPkg:
    return WithPkg.made(tmp_path / "sbin")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


def release(version: str = "15.0", arch: str = "amd64", **traits: str) -> Release:
    entry = next(one for one in catalogue.load("freebsd").entries if one.version == version)
    build = entry.build(arch)
    assert build
    return replace(build, traits=tuple((dict(build.traits) | traits).items()))


# ---- what pkg is told


def test_the_configuration_of_the_projects_own_repository() -> None:
    one = release("15.1")
    assert pkgbase.repository(one, one.trait("pkgbase_repo"), signed=True) == (
        "FreeBSD-base: {\n"
        '  url: "pkg+https://pkg.FreeBSD.org/FreeBSD:15:amd64/base_release_1",\n'
        '  mirror_type: "srv",\n'
        '  signature_type: "fingerprints",\n'
        '  fingerprints: "/usr/share/keys/pkgbase-15",\n'
        "  enabled: yes\n"
        "}\n"
    )


def test_the_configuration_of_the_media() -> None:
    text = pkgbase.repository(release(), 'file:///mnt/"usr"', signed=False)
    assert '  url: "file:///mnt/\\"usr\\"",\n' in text
    assert '  mirror_type: "none",\n  signature_type: "none",\n' in text


@pytest.mark.parametrize(
    ("version", "arch", "abi", "osversion"),
    [
        ("15.0", "amd64", "FreeBSD:15:amd64", "1500000"),
        ("15.1", "arm64", "FreeBSD:15:aarch64", "1501000"),
    ],
)
def test_pkg_is_told_which_system_it_installs(
    version: str, arch: str, abi: str, osversion: str
) -> None:
    one = release(version, arch)
    assert pkgbase.command(one, PurePosixPath("/be/x"), PurePosixPath("/tmp/c")) == [
        *("pkg", "--rootdir", "/be/x", "--repo-conf-dir", "/tmp/c"),
        *("-o", "IGNORE_OSVERSION=yes", "-o", f"ABI={abi}", "-o", f"OSVERSION={osversion}"),
    ]


@pytest.mark.parametrize(
    ("sets", "wanted"),
    [
        ((), ("FreeBSD-set-base", "FreeBSD-kernel-generic")),
        (("pkgbase",), ("FreeBSD-set-base", "FreeBSD-kernel-generic")),
        (("pkgbase", "minimal-jail"), ("FreeBSD-set-minimal-jail",)),
        (("base-dbg", "FreeBSD-clibs"), ("FreeBSD-set-base-dbg", "FreeBSD-clibs")),
    ],
)
def test_sets_and_their_packages(sets: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    assert pkgbase.packages(sets) == wanted
    assert pkgbase.installing(sets)[-len(wanted) :] == list(wanted)


@pytest.mark.parametrize("name", ["-f", "a b", "", "x;y"])
def test_names_that_are_no_packages(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        pkgbase.packages((name,))


# ---- what pkg answers


def test_the_list_of_what_is_installed() -> None:
    listing = "FreeBSD-runtime\t15.0p1\tFreeBSD:15:amd64\nFreeBSD-clibs\t15.0\tFreeBSD:15:*\n"
    assert pkgbase.parse(listing) == (
        Package("FreeBSD-clibs", "15.0", "FreeBSD:15:*"),
        Package("FreeBSD-runtime", "15.0p1", "FreeBSD:15:amd64"),
    )
    with pytest.raises(InstallError, match="unknown form"):
        pkgbase.parse("FreeBSD-runtime-15.0\n")


# ---- where packages are found


@pytest.mark.parametrize(
    "below",
    ["", "FreeBSD:15:amd64/base_release_0", "usr/freebsd-packages/offline", "offline"],
)
def test_a_repository_below_the_mirror(tmp_path: Path, host: WithPkg, below: str) -> None:
    directory = repository(tmp_path / "pub" / below, signed=False)
    order = Order(release(), mirror=f"{tmp_path}/pub/", host=host)
    origin = Pkgbase().resolve(order)
    assert origin.url == f"file://{directory}"
    assert origin.notes == (f"file://{directory} is not signed",)
    changed = repository(tmp_path / "pub2", signed=True)
    (changed / "packagesite.pkg").replace(directory / "packagesite.pkg")
    one = release(pkgbase_keys=str(pkgbase_keys(tmp_path)))
    signed = Pkgbase().resolve(replace(order, release=one))
    assert signed.digest != origin.digest
    assert signed.notes == ()


def test_a_signed_repository_is_nothing_without_the_keys(tmp_path: Path, host: WithPkg) -> None:
    repository(tmp_path / "pub", signed=True)
    one = release(pkgbase_keys=f"{tmp_path}/keys/pkgbase-15")
    with pytest.raises(InstallError, match=r"fbsd\.lab has no .*/keys/pkgbase-15"):
        Pkgbase().resolve(Order(one, mirror=f"{tmp_path}/pub", host=host))


def test_no_repository_there(tmp_path: Path, host: WithPkg) -> None:
    with pytest.raises(InstallError, match="no repository of packages for freebsd-15") as caught:
        Pkgbase().resolve(Order(release(), mirror=str(tmp_path), host=host))
    assert f"{tmp_path}/usr/freebsd-packages/offline" in caught.value.message


# ---- an installation


def test_keys_and_configuration_are_there_when_pkg_runs(
    tmp_path: Path, host: WithPkg, root: Path
) -> None:
    one = release(pkgbase_keys=str(pkgbase_keys(tmp_path)))
    repository(tmp_path / "pub", signed=True)
    order = Order(one, mirror=f"{tmp_path}/pub", host=host)
    said: list[str] = []
    build = Pkgbase().install(order, Pkgbase().resolve(order), root, said.append)
    assert (root / "told").read_text().splitlines() == [
        "update -f",
        "install -U -y -r FreeBSD-base FreeBSD-set-base FreeBSD-kernel-generic",
        "query %n\t%v\t%q",
    ]
    assert (root / "trusted").read_text() == "awskms-15\n"
    assert f'url: "file://{tmp_path}/pub"' in (root / "told.conf").read_text()
    assert "fbsd.lab: pkg --rootdir" in said[0]
    assert [package.version for package in build.packages] == ["15.0", "15.0p2"]
    assert build.recipe == ("pkgbase FreeBSD:15:amd64 FreeBSD-set-base FreeBSD-kernel-generic")
    assert not (root / "var/cache/pkg").exists()
    config = said[0].split("--repo-conf-dir ")[1].split()[0]
    assert not Path(config).exists()


@pytest.mark.parametrize("version", ["15.1", "15.0.1", "14.3p1"])
def test_packages_of_another_release(
    tmp_path: Path, host: WithPkg, root: Path, version: str
) -> None:
    repository(tmp_path / "pub", signed=False)
    order = Order(release(), mirror=f"{tmp_path}/pub", host=replace(host, version=version))
    with pytest.raises(InstallError, match=f"FreeBSD-runtime is {re.escape(version)}"):
        Pkgbase().install(order, Pkgbase().resolve(order), root, print)


def test_what_pkg_complains_of(tmp_path: Path, host: WithPkg, root: Path) -> None:
    repository(tmp_path / "pub", signed=False)
    order = Order(release(), mirror=f"{tmp_path}/pub", host=host)
    origin = Pkgbase().resolve(order)
    program = tmp_path / "sbin/pkg"
    program.write_text("#!/bin/sh\necho 'pkg: No space left on device' >&2; exit 3\n")
    with pytest.raises(InstallError, match=r"\(exit 3\): pkg: No space left on device"):
        Pkgbase().install(order, origin, root, print)


# ---- sets or packages


def test_packages_are_taken_where_they_are_asked_for(tmp_path: Path, host: WithPkg) -> None:
    directory = repository(tmp_path / "pub", signed=False)
    order = Order(release(), mirror=str(directory), host=host, sets=("pkgbase", "minimal"))
    installer = installer_for(order.release)
    assert installer.recipe(order) == "pkgbase FreeBSD:15:amd64 FreeBSD-set-minimal"
    assert installer.resolve(order).url == f"file://{directory}"


def test_releases_before_packages_have_sets_only() -> None:
    older = [one for one in catalogue.load("freebsd").releases if not one.trait("pkgbase_repo")]
    assert all(float(one.version[:3].rstrip(".")) < 15 for one in older)
    assert {type(installer_for(one)) for one in older if one.set_format != "unknown"} == {Sets}
