"""Roots of OpenBSD and NetBSD, from small sets of each era that real tools made."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from bsd_sets import (
    Keys,
    WithPkg,
    archive,
    digests,
    kernel,
    keys,
    netbsd,
    openbsd,
    pkgbase_keys,
    repository,
    run,
    sign,
)

from behunt import catalogue
from behunt.errors import InstallError, UsageError
from behunt.install import SETS, installer_for
from behunt.install.protocol import Order
from behunt.install.sets.pkgbase import Pkgbase
from behunt.model import Build, Release

pytestmark = pytest.mark.real


def release(os: str, version: str, arch: str = "amd64") -> Release:
    builds = (entry.build(arch) for entry in catalogue.load(os).entries)
    return next(one for one in builds if one and one.version == version)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return keys(tmp_path_factory.mktemp("keys"), "openbsd-77-base")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


def installed(order: Order, root: Path) -> Build:
    """Through the whole of it. What it says is of no interest here."""
    assert installer_for(order.release) is SETS
    assert SETS.missing(order) == ""
    return SETS.install(order, SETS.resolve(order), root, print)


def order_of(one: Release, mirror: Path, made: Keys | None = None, *sets: str) -> Order:
    return Order(one, mirror=str(mirror), keyring=str(made.public) if made else "", sets=sets)


# ---- OpenBSD


@pytest.mark.parametrize(("version", "inside"), [("5.8", "usr/share"), ("7.7", "var")])
def test_openbsd_with_the_content_of_etc_inside_base(
    tmp_path: Path, root: Path, ours: Keys, version: str, inside: str
) -> None:
    mirror = tmp_path / "pub"
    openbsd(mirror / f"pub/OpenBSD/{version}/amd64", version, ours)
    build = installed(order_of(release("openbsd", version), mirror, ours), root)
    assert (root / f"{inside}/sysmerge/etc.tgz").is_file()
    assert (root / "etc/myname").read_text() == "my.domain\n"
    assert (root / "bin/sh").readlink() == Path("ksh")
    assert (root / "usr/share/man/man1/ls.1").is_file()
    assert (root / "bsd").read_bytes() == kernel("OpenBSD", version)
    assert (root / "bsd").stat().st_mode & 0o077 == 0
    assert build.notes == ()
    assert build.recipe == f"sets bsd bsd.rd base comp man of openbsd-{version}-amd64"
    assert build.origins[0][0] == f"{mirror}/pub/OpenBSD/{version}/amd64/SHA256.sig"


@pytest.mark.parametrize(("version", "signed"), [("3.9", False), ("5.3", False), ("5.6", True)])
def test_openbsd_with_a_set_of_its_own_for_etc(
    tmp_path: Path, root: Path, ours: Keys, version: str, *, signed: bool
) -> None:
    directory = openbsd(tmp_path / version, version, ours if signed else None)
    order = order_of(release("openbsd", version), directory, ours if signed else None)
    build = installed(order, root)
    assert (root / "etc/myname").read_text() == "my.domain\n"
    assert (root / "etc/ksh.kshrc").is_file()
    assert bool(build.notes) != signed
    assert all("never signed" in note for note in build.notes)


def test_what_lies_inside_base_goes_over_it(tmp_path: Path, root: Path, ours: Keys) -> None:
    """As install.sub does: base first, then etc.tgz, and then nothing of base again."""
    directory = openbsd(tmp_path / "7.7", "7.7", ours)
    inner = archive(tmp_path / "etc.tgz", {"etc/motd": b"etc"}, tmp_path / "other")
    base = {"var/sysmerge/etc.tgz": inner.read_bytes(), "etc/motd": b"base"}
    resigned(
        directory, "base77.tgz", archive(tmp_path / "base.tgz", base, tmp_path / "other"), ours
    )
    installed(order_of(release("openbsd", "7.7"), directory, ours), root)
    assert (root / "etc/motd").read_bytes() == b"etc"


def resigned(directory: Path, name: str, replaced: Path, made: Keys) -> None:
    shutil.copy(replaced, directory / name)
    digests(directory, "sha256sum", "SHA256")
    sign(directory, made)


def test_an_archive_inside_base_that_leaves_the_root(
    tmp_path: Path, root: Path, ours: Keys
) -> None:
    directory = openbsd(tmp_path / "7.7", "7.7", ours)
    hostile, source = tmp_path / "hostile.tgz", tmp_path / "source"
    source.mkdir()
    (source / "planted").touch()
    run("tar", "-czPf", hostile, "--transform", "s,^,../,", "-C", source, "planted")
    base = {"var/sysmerge/etc.tgz": hostile.read_bytes()}
    resigned(
        directory, "base77.tgz", archive(tmp_path / "base.tgz", base, tmp_path / "other"), ours
    )
    with pytest.raises(InstallError, match=r"'\.\./planted': it leaves the root through `\.\.`"):
        installed(order_of(release("openbsd", "7.7"), directory, ours), root)
    assert not (root.parent / "planted").exists()


@pytest.mark.parametrize("damage", ["cut", "changed", "missing"])
@pytest.mark.parametrize("name", ["base77.tgz", "bsd"])
def test_nothing_is_unpacked_if_one_set_is_damaged(
    tmp_path: Path, root: Path, ours: Keys, name: str, damage: str
) -> None:
    directory = openbsd(tmp_path / "7.7", "7.7", ours)
    file = directory / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-10] if damage == "cut" else content[:-1] + b"!")
    with pytest.raises(InstallError, match=f"{name} is damaged"):
        installed(order_of(release("openbsd", "7.7"), directory, ours), root)
    assert {path.name for path in root.iterdir()} <= {".behunt"}


def test_another_release_under_the_name_of_this_one(tmp_path: Path, root: Path, ours: Keys) -> None:
    directory = openbsd(tmp_path / "7.7", "7.7", ours)
    other = tmp_path / "bsd.76"
    other.write_bytes(kernel("OpenBSD", "7.6"))
    resigned(directory, "bsd", other, ours)
    with pytest.raises(InstallError, match=r"not the sets of openbsd-7\.7.*`OpenBSD 7\.6 \(GEN"):
        installed(order_of(release("openbsd", "7.7"), directory, ours), root)


def test_sets_that_are_signed_by_nobody_we_know(tmp_path: Path, ours: Keys) -> None:
    directory = openbsd(tmp_path / "7.7", "7.7", keys(tmp_path, "evil"))
    with pytest.raises(InstallError, match=f"{directory}: SHA256.sig of .* is not signed by"):
        SETS.resolve(order_of(release("openbsd", "7.7"), directory, ours))


# ---- NetBSD


@pytest.mark.parametrize(
    ("version", "arch", "suffix"),
    [("1.5", "i386", "tgz"), ("5.1", "amd64", "tgz"), ("10.1", "amd64", "tar.xz")],
)
def test_netbsd(tmp_path: Path, root: Path, version: str, arch: str, suffix: str) -> None:
    one = release("netbsd", version, arch)
    mirror = tmp_path / "pub"
    netbsd(mirror / f"NetBSD-{version}/{arch}/binary", version, suffix, "MD5 SHA512")
    build = installed(order_of(one, mirror), root)
    assert (root / "netbsd").read_bytes() == kernel("NetBSD", version)
    assert (root / "etc/rc.conf").is_file()
    assert (root / "usr/bin/cc").is_file()
    assert not (root / "usr/games").exists(), "only what is usual"
    (note,) = build.notes
    assert "nobody vouches" in note


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_netbsd_with_a_damaged_set(tmp_path: Path, root: Path, damage: str) -> None:
    directory = netbsd(tmp_path / "binary", "10.1", "tar.xz")
    etc = directory / "sets/etc.tar.xz"
    if damage == "missing":
        etc.unlink()
    else:
        etc.write_bytes(etc.read_bytes()[:-4])
    with pytest.raises(InstallError, match=r"sets/etc\.tar\.xz is damaged"):
        installed(order_of(release("netbsd", "10.1"), directory), root)


def test_netbsd_of_another_version(tmp_path: Path, root: Path) -> None:
    directory = netbsd(tmp_path / "binary", "10.0", "tar.xz")
    with pytest.raises(InstallError, match=r"not the sets of netbsd-10\.1.*NetBSD 10\.0"):
        installed(order_of(release("netbsd", "10.1"), directory), root)


@contextmanager
def served(directory: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


def test_a_mirror_that_answers_with_a_page_is_passed_over(tmp_path: Path, root: Path) -> None:
    """As NetBSD's CDN does for what has gone to the archive, instead of saying 404."""
    page = tmp_path / "www/moved/sets/SHA512"
    page.parent.mkdir(parents=True)
    page.write_text("<html><head><title>NetBSD 10.1 is archived</title></head></html>\n")
    netbsd(tmp_path / "www/archive", "10.1", "tar.xz")
    with served(tmp_path / "www") as url:
        sources = (f"{url}/moved/", f"{url}/archive/")
        one = replace(release("netbsd", "10.1"), sources=sources)
        build = installed(Order(one, downloads=tmp_path / "downloads"), root)
    assert build.origins[0][0] == f"{url}/archive/sets/SHA512"
    assert any(f"passed over {url}/moved: sets/SHA512 is no list" in note for note in build.notes)
    assert (root / "netbsd").is_file()


# ---- FreeBSD, from packages


def test_packages_are_taken_where_there_are_no_sets(tmp_path: Path, root: Path) -> None:
    host = WithPkg.made(tmp_path / "sbin")
    repository(tmp_path / "media/usr/freebsd-packages/offline", signed=False)
    one = replace(release("freebsd", "15.0"), sources=())
    order = Order(one, mirror=f"{tmp_path}/media", host=host)
    installer = installer_for(one)
    assert installer.missing(order) == ""
    origin = installer.resolve(order)
    assert origin.url == f"file://{tmp_path}/media/usr/freebsd-packages/offline"
    assert "is not signed" in origin.notes[0]
    assert "installed from packages: no source has the sets base" in origin.notes[1]
    build = installer.install(order, origin, root, print)
    assert {package.name for package in build.packages} == {"FreeBSD-clibs", "FreeBSD-runtime"}
    named = replace(order, sets=("base", "tests"))
    with pytest.raises(InstallError, match="no source has the sets base tests"):
        installer.resolve(named)


def test_what_a_host_lacks_for_packages(tmp_path: Path) -> None:
    one = release("freebsd", "15.0")
    assert "has no pkg: `pkg bootstrap` there" in Pkgbase().missing(Order(one))
    host = WithPkg.made(tmp_path / "sbin")
    assert "fbsd.lab has no /usr/share/keys/pkgbase-15" in Pkgbase().missing(Order(one, host=host))
    traits = dict(one.traits) | {"pkgbase_keys": str(pkgbase_keys(tmp_path))}
    assert Pkgbase().missing(Order(replace(one, traits=tuple(traits.items())), host=host)) == ""
    with pytest.raises(UsageError, match="no packages can be added"):
        Pkgbase().missing(Order(one, packages=("bash",), host=host))
