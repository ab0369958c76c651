"""FreeBSD 15 and later from packages, by a pkg(8) that the order's host has.

The distribution sets of 15 are still published, and are what behunt installs where it finds them:
they need no pkg on the host, and their MANIFEST names them for good, while a repository of
packages moves on with every patch of its release. Packages are taken where there are no sets, as
on the media of 15, or where they are asked for with `--set pkgbase`.

How pkg is called is as bsdinstall does it (usr.sbin/bsdinstall/scripts/pkgbase.in).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from behunt.errors import InstallError, UsageError
from behunt.hosts.facts import facts
from behunt.install.fetch import first_of
from behunt.install.protocol import Installer, Order, Origin, Say
from behunt.install.sets import places, tools
from behunt.model import Build, Package, Release

NAME = "pkgbase"  # what is given with --set to have packages
_REPOSITORY = "FreeBSD-base"
_CATALOGUE = "packagesite.pkg"  # of a repository: every package with its digest, signed
_USUAL = ("base", "kernel")
_KERNEL = "FreeBSD-kernel-generic"
_SET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_FILE = "file://"
_OFFLINE = "usr/freebsd-packages/offline"  # on the media of 15


class Pkgbase:
    """An Installer."""

    name = NAME
    archived = False
    anywhere = True

    def local(self, order: Order) -> bool:
        return bool(order.mirror) and not places.is_url(order.mirror)

    def missing(self, order: Order) -> str:
        host, release = order.host, order.release
        if order.packages:
            raise UsageError(
                f"no packages can be added to {release.id} while it is installed",
                "leave out --package; `pkg -r` adds them to its root afterwards",
            )
        packages(order.sets)
        if not facts(host).root:
            return f"installing needs root on {host.name}"
        if host.run(["pkg", "-N"]).code != 0:
            return f"{host.name} has no pkg: `pkg bootstrap` there, if it runs FreeBSD"
        return "" if self.local(order) else _missing_keys(order)

    def recipe(self, order: Order) -> str:
        return " ".join([NAME, abi(order.release), *packages(order.sets)])

    def resolve(self, order: Order) -> Origin:
        return _here(order) if self.local(order) else _published(order)

    def install(self, order: Order, origin: Origin, root: Path, say: Say) -> Build:
        release, target = order.release, PurePosixPath(root)
        signed = is_signed(order, origin.url)
        if signed:
            _copy_keys(order, target)
        with _configured(order, repository(release, origin.url, signed=signed)) as config:
            pkg = command(release, target, config)
            for argv in ([*pkg, "update", "-f"], [*pkg, *installing(order.sets)]):
                say(f"{order.host.name}: {shlex.join(argv)}")
                _run(order, argv)
            installed = parse(_run(order, [*pkg, "query", "%n\t%v\t%q"]))
        order.host.run(["rm", "-rf", str(target / "var/cache/pkg")])
        _check_version(release, installed)
        return Build(self.recipe(order), ((origin.url, origin.digest),), installed, origin.notes)


@dataclass(frozen=True, slots=True)
class SetsOrPackages:
    """An Installer: `sets` where they are found, else, or where asked for, `packages`."""

    sets: Installer
    packages: Installer

    archived = False
    anywhere = True

    @property
    def name(self) -> str:
        return self.sets.name

    def local(self, order: Order) -> bool:
        return self._asked(order).local(order)

    def missing(self, order: Order) -> str:
        return self._asked(order).missing(order)

    def recipe(self, order: Order) -> str:
        return self._asked(order).recipe(order)

    def resolve(self, order: Order) -> Origin:
        asked = self._asked(order)
        try:
            return asked.resolve(order)
        except InstallError as error:
            if asked is self.packages or order.sets or self.packages.missing(order):
                raise
            origin = self.packages.resolve(order)
            note = f"{order.release.id} is installed from packages: {error.message}"
            return replace(origin, notes=(*origin.notes, note))

    def install(self, order: Order, origin: Origin, root: Path, say: Say) -> Build:
        installer = self.packages if is_repository(origin.url) else self.sets
        return installer.install(order, origin, root, say)

    def _asked(self, order: Order) -> Installer:
        return self.packages if NAME in order.sets else self.sets


def is_repository(url: str) -> bool:
    return url.startswith(("pkg+", _FILE))


def abi(release: Release) -> str:
    """`FreeBSD:15:amd64`."""
    return release.trait("pkgbase_repo").split("/")[-2]


def packages(sets: Sequence[str]) -> tuple[str, ...]:
    """Packages of the sets that an order names, as `base`, `kernel`, `minimal-jail`, `devel-dbg`.

    Names that begin with `FreeBSD-` are packages themselves. Raises UsageError.
    """
    named = [name for name in sets if name != NAME] or list(_USUAL)
    if strange := [name for name in named if not _SET.fullmatch(name)]:
        raise UsageError(
            f"`{strange[0]}` cannot be the name of a set of packages",
            "give base, kernel, minimal, devel, or the name of a package as FreeBSD-clibs",
        )
    return tuple(_package(name) for name in named)


def _package(name: str) -> str:
    if name == "kernel":
        return _KERNEL
    return name if name.startswith("FreeBSD-") else f"FreeBSD-set-{name}"


def repository(release: Release, url: str, *, signed: bool) -> str:
    """The configuration of the repository at `url`, as pkg.conf(5) has it."""
    trust = {"signature_type": "none"}
    if signed:
        keys = release.trait("pkgbase_keys")
        trust = {"signature_type": "fingerprints", "fingerprints": keys}
    mirrors = "srv" if url.startswith("pkg+") else "none"
    settings = {"url": url, "mirror_type": mirrors, **trust}
    lines = [f"  {name}: {json.dumps(value)},\n" for name, value in settings.items()]
    return f"{_REPOSITORY}: {{\n{''.join(lines)}  enabled: yes\n}}\n"


def command(release: Release, root: PurePosixPath, config: PurePosixPath) -> list[str]:
    """How pkg is called for `root`. REPOS_DIR as an option would be looked for below the root."""
    major, minor = (int(part) for part in release.version.split(".")[:2])
    options = ("IGNORE_OSVERSION=yes", f"ABI={abi(release)}", f"OSVERSION={major}{minor:02}000")
    flags = [word for option in options for word in ("-o", option)]
    return ["pkg", "--rootdir", str(root), "--repo-conf-dir", str(config), *flags]


def installing(sets: Sequence[str]) -> list[str]:
    return ["install", "-U", "-y", "-r", _REPOSITORY, *packages(sets)]


def parse(listing: str) -> tuple[Package, ...]:
    r"""What `pkg query '%n\t%v\t%q'` says. Raises InstallError."""
    rows = [line.split("\t") for line in listing.splitlines()]
    if any(len(row) != len(("name", "version", "abi")) for row in rows):
        raise InstallError("pkg query answers in an unknown form", "this is a fault of behunt")
    return tuple(sorted((Package(*row) for row in rows), key=lambda package: package.name))


def directories(release: Release) -> tuple[str, ...]:
    """Where a repository may lie below what is given as the mirror."""
    published = "/".join(release.trait("pkgbase_repo").split("/")[-2:])
    return ("", published, _OFFLINE, "offline")


def is_signed(order: Order, url: str) -> bool:
    """Whether a repository says so itself: those on the media of 15 are not signed."""
    if not url.startswith(_FILE):
        return True
    catalogue = f"{url.removeprefix(_FILE)}/{_CATALOGUE}"
    listed = order.host.run(["tar", "-tf", catalogue], check=True).out
    return any(name.endswith(".sig") for name in listed.splitlines())


def _here(order: Order) -> Origin:
    below = [
        f"{order.mirror.rstrip('/')}/{name}".rstrip("/") for name in directories(order.release)
    ]
    for directory in order.host.run(tools.there(below, _CATALOGUE)).out.splitlines():
        url = f"{_FILE}{directory}"
        if not is_signed(order, url):
            return Origin(url, _digest(order, directory), notes=(f"{url} is not signed",))
        if lacks := _missing_keys(order):
            raise InstallError(lacks, "without it nothing vouches for the packages")
        return Origin(url, _digest(order, directory))
    raise InstallError(
        f"no repository of packages for {order.release.id} is on {order.host.name} in any of: "
        f"{', '.join(below)}",
        "name with --mirror the directory that has packagesite.pkg",
    )


def _digest(order: Order, directory: str) -> str:
    with tempfile.TemporaryDirectory(prefix="behunt-pkgbase-") as scratch:
        copy = Path(scratch, _CATALOGUE)
        order.host.get(PurePosixPath(directory, _CATALOGUE), copy)
        return hashlib.sha256(copy.read_bytes()).hexdigest()


def _published(order: Order) -> Origin:
    trait = order.release.trait("pkgbase_repo")
    mirror = order.mirror.rstrip("/")
    urls = [f"{mirror}/{name}".rstrip("/") for name in directories(order.release)[:2]]
    repositories = [trait, *(urls if mirror else [])][:: -1 if mirror else 1]
    places = {f"{url.removeprefix('pkg+')}/{_CATALOGUE}": url for url in repositories}
    found, content = first_of(list(places), f"the packages of {order.release.id}")
    return Origin(places[found], hashlib.sha256(content).hexdigest())


def _missing_keys(order: Order) -> str:
    keys = order.release.trait("pkgbase_keys")
    if order.host.run(["test", "-d", keys]).code == 0:
        return ""
    return (
        f"{order.host.name} has no {keys}, with which the packages of {order.release.label} are "
        "signed: copy it from a FreeBSD of that version"
    )


def _copy_keys(order: Order, root: PurePosixPath) -> None:
    """Pkg looks for them below the root that it fills."""
    keys = PurePosixPath(order.release.trait("pkgbase_keys"))
    below = root / keys.parent.relative_to("/")
    order.host.run(["mkdir", "-p", str(below)], check=True)
    order.host.run(["cp", "-R", str(keys), str(below)], check=True)


@contextlib.contextmanager
def _configured(order: Order, text: str) -> Iterator[PurePosixPath]:
    """A directory on the host that has `text` as its one repository."""
    made = order.host.run(["mktemp", "-d", "/tmp/behunt.XXXXXXXX"], check=True)  # noqa: S108
    directory = PurePosixPath(made.out.strip())
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            order.host.put(Path(file.name), directory / f"{_REPOSITORY}.conf")
        yield directory
    finally:
        order.host.run(["rm", "-rf", str(directory)])


def _run(order: Order, argv: Sequence[str]) -> str:
    done = order.host.run(argv, timeout=order.timeout)
    if done.code != 0:
        said = (done.err or done.out).strip().splitlines() or [done.how]
        raise InstallError(
            f"pkg could not install {order.release.id} ({done.how}): {said[-1]}",
            "run it again with --verbose to see its command",
        )
    return done.out


def _check_version(release: Release, installed: Sequence[Package]) -> None:
    """The packages of a release and of its patches: 15.0, 15.0p3."""
    versions = {package.version for package in installed if package.name == "FreeBSD-runtime"}
    wanted = re.compile(rf"{re.escape(release.version)}(?![\d.])")
    if not versions or not all(wanted.match(version) for version in versions):
        raise InstallError(
            f"what was installed is not {release.id}: FreeBSD-runtime is "
            f"{', '.join(versions) or 'missing'}",
            "the repository has another release: name another with --mirror",
        )
