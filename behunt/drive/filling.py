"""Fill an empty boot environment: from an archive of what was installed before, or afresh."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from behunt.drive.lab import Lab
from behunt.errors import InstallError
from behunt.events import InstallEnded, InstallProgress, InstallStarted, Note
from behunt.install import archive, installer_for
from behunt.install.protocol import Order, Origin, Say, archive_key
from behunt.model import BootEnv, Build, Release
from behunt.storage.disk import disk_errors
from behunt.storage.overlay import OverlayStore


def order_of(lab: Lab, release: Release) -> Order:
    settings = lab.settings
    return Order(
        release,
        tuple(sorted(set(settings.packages))),
        settings.mirror,
        settings.keyring,
        host=lab.host,
        sets=settings.sets,
        downloads=lab.home.downloads,
    )


@dataclass(frozen=True, slots=True)
class Source:
    """What a root is made from: the archive `key` where it holds a build, or else `origin`."""

    order: Order
    key: str
    origin: Origin
    kept: Build | None

    @property
    def how(self) -> str:
        return "archive" if self.kept else installer_for(self.order.release).name


def source_of(lab: Lab, release: Release) -> Source:
    """Find what `release` will be installed from. Raises InstallError."""
    order = order_of(lab, release)
    installer = installer_for(release)
    if lacks := installer.missing(order):
        raise InstallError(lacks, "`behunt doctor` lists what this machine can do")
    if not installer.archived:
        return Source(order, "", installer.resolve(order), None)
    recipe = installer.recipe(order)
    try:
        origin = installer.resolve(order)
    except InstallError as error:
        # A bad day: the mirror is gone, but this recipe was installed before.
        if (kept := archive.latest(lab.home.archives, recipe)) is None:
            raise
        lab.emit(Note(f"{release.id}: {error.message}; using the archive", warning=True))
        return Source(order, kept[0], Origin("", ""), kept[1])
    key = archive_key(recipe, origin)
    return Source(order, key, origin, archive.find(lab.home.archives, key))


def filled(lab: Lab, source: Source, bootenv: BootEnv) -> BootEnv:
    """Fill `bootenv` and seal it; on any error it is destroyed. Raises InstallError."""
    with _or_destroyed(lab, bootenv):
        if source.kept:
            build = source.kept
            token = lab.owner.token
            archive.unpack(lab.home.archives, source.key, lab.host, bootenv.path, token)
        else:
            build = _fresh(lab, source, bootenv)
        sealed = lab.store.seal(bootenv, build)
    for note in build.notes:
        lab.emit(Note(f"{source.order.release.id}: {note}", warning=True))
    lab.results.add_build(build)
    lab.current.add(sealed)
    return sealed


def fill(lab: Lab, release: Release, bootenv: BootEnv) -> BootEnv:
    """Install `release` into `bootenv`, which the user made, and seal it. Raises InstallError."""
    began, how, error = time.monotonic(), "", ""
    try:
        with _or_destroyed(lab, bootenv):
            source = source_of(lab, release)
        how = source.how
        lab.emit(InstallStarted(release.id, how))
        return filled(lab, source, bootenv)
    except BaseException as failure:
        error = getattr(failure, "message", "interrupted")
        raise
    finally:
        lab.emit(InstallEnded(release.id, how, time.monotonic() - began, error))


@contextlib.contextmanager
def _or_destroyed(lab: Lab, bootenv: BootEnv) -> Iterator[None]:
    try:
        yield
    except BaseException:
        lab.store.destroy(bootenv)
        raise


def _fresh(lab: Lab, source: Source, bootenv: BootEnv) -> Build:
    """Install into `bootenv`, and keep an archive of it where that is worth its room.

    An installer that works only here fills a root of ours, whose content is sent to the host.
    """
    installer = installer_for(source.order.release)
    if not lab.away or installer.anywhere:
        build = _installed(lab, source, bootenv.name, bootenv.path)
        if installer.archived:
            archive.pack(bootenv.path, build, lab.home.archives, source.key, lab.owner.token)
        return build
    scratch = OverlayStore(lab.home, lab.owner)
    root = scratch.create(bootenv.name, bootenv.release)
    try:
        build = _installed(lab, source, bootenv.name, root.path)
        if installer.archived:
            archive.pack(root.path, build, lab.home.archives, source.key, lab.owner.token)
        archive.send(root.path, lab.host, bootenv.path, lab.home.archives, lab.owner.token)
    finally:
        scratch.destroy(root)
    return build


def install_log(lab: Lab, name: str) -> Path:
    """Where the last installation into the boot environment `name` said what it did."""
    return lab.home.runs / f"install-{name}.log"


def _installed(lab: Lab, source: Source, name: str, root: Path) -> Build:
    release = source.order.release
    path = install_log(lab, name)
    with disk_errors(path):
        file = path.open("wb", buffering=0)
    with file as log:
        say = _teller(lab, release, log)
        return installer_for(release).install(source.order, source.origin, root, say)


def _teller(lab: Lab, release: Release, log: BinaryIO) -> Say:
    def say(line: str) -> None:
        with contextlib.suppress(OSError):  # of the disk that the installation has filled
            log.write(line.encode(errors="replace") + b"\n")
        lab.emit(InstallProgress(release.id, line))

    return say
