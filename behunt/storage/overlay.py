"""Boot environments as plain directories, clones by overlayfs: the embedded store on Linux.

A boot environment being installed lies in `be/.<name>.<owner>`; sealing renames it to
`be/<name>`. So what has a proper name is whole, and what has not is reaped with its owner.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from behunt.errors import HostError, UsageError
from behunt.model import BootEnv, Build, Package
from behunt.storage.home import TOKEN, Home, Owner, exclusive, is_alive, registry, shared
from behunt.storage.protocol import Clone

_ABOUT = "behunt.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~@-]*")
_numbers = itertools.count()


class OverlayStore:
    """The Store of `home`. `on_disk`: clones keep their changes there instead of in memory."""

    name = "overlay"

    def __init__(self, home: Home, owner: Owner, *, on_disk: bool = False) -> None:
        self.home = home
        self.owner = owner
        self.on_disk = on_disk

    def create(self, name: str, release: str) -> BootEnv:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"`{name}` cannot name a boot environment",
                "use letters, digits and . _ + ~ @ -, and begin with a letter or digit",
            )
        if self.find(name):
            raise UsageError(
                f"the boot environment {name} exists", f"behunt be destroy {name} removes it"
            )
        directory = self.home.boot_environments / f".{name}.{self.owner.token}"
        _remove(directory)
        with _disk_errors(directory):
            (directory / "root").mkdir(parents=True)
        return BootEnv(name, release, directory / "root", created=_now())

    def seal(self, bootenv: BootEnv, build: Build) -> BootEnv:
        directory = bootenv.path.parent
        final = self.home.boot_environments / bootenv.name
        sealed = replace(
            bootenv,
            path=final / "root",
            sealed=True,
            identity=build.identity(),
            bytes=_size(bootenv.path),
        )
        about = {**asdict(sealed), "path": "root", "build": asdict(build)}
        with _disk_errors(directory):
            (directory / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
            directory.rename(final)
        return sealed

    def find(self, name: str) -> BootEnv | None:
        about = self._about(name)
        return self._bootenv(about) if about else None

    def bootenvs(self) -> list[BootEnv]:
        names = sorted(p.name for p in self.home.boot_environments.iterdir())
        return [self._bootenv(about) for name in names if (about := self._about(name))]

    def build(self, bootenv: BootEnv) -> Build:
        about = self._about(bootenv.name)
        if about is None:
            raise UsageError(f"there is no boot environment {bootenv.name}", "see `behunt be list`")
        build = about["build"]
        return Build(
            recipe=build["recipe"],
            origins=tuple((url, digest) for url, digest in build["origins"]),
            packages=tuple(Package(**package) for package in build["packages"]),
            notes=tuple(build["notes"]),
        )

    @contextlib.contextmanager
    def clone(self, bootenv: BootEnv) -> Iterator[Clone]:
        name = f"{bootenv.name}.{self.owner.token}.{next(_numbers)}"
        layers, stage = (str(bootenv.path),), str(self.home.stage)
        with shared(self.home, _lock(bootenv.name)):
            if not self.on_disk:
                yield Clone(name, bootenv, layers, stage=stage)
                return
            directory = self.home.clones / name
            try:
                with _disk_errors(directory):
                    for part in ("upper", "work"):
                        (directory / part).mkdir(parents=True)
                upper, work = str(directory / "upper"), str(directory / "work")
                yield Clone(name, bootenv, layers, upper, work, stage=stage)
            finally:
                _remove(directory)

    def destroy(self, bootenv: BootEnv) -> None:
        with exclusive(self.home, _lock(bootenv.name)):
            doomed = self.home.boot_environments / f".{bootenv.name}.{self.owner.token}.destroyed"
            with contextlib.suppress(FileNotFoundError):
                (self.home.boot_environments / bootenv.name).rename(doomed)
            _remove(doomed)

    def reap(self) -> list[str]:
        removed = []
        with registry(self.home):
            for path in self.home.boot_environments.glob(".*"):
                removed += self._reaped(path)
            for path in self.home.clones.iterdir():
                removed += self._reaped(path)
        return removed

    def _reaped(self, path: Path) -> list[str]:
        tokens = [part for part in path.name.split(".") if TOKEN.fullmatch(part)]
        if not tokens or is_alive(self.home, tokens[-1]):
            return []
        _remove(path)
        return [str(path)]

    def _about(self, name: str) -> dict[str, Any] | None:
        if name.startswith("."):
            return None
        try:
            text = (self.home.boot_environments / name / _ABOUT).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        about: dict[str, Any] = json.loads(text)
        return about

    def _bootenv(self, about: dict[str, Any]) -> BootEnv:
        known = {key: value for key, value in about.items() if key != "build"}
        path = self.home.boot_environments / str(about["name"]) / "root"
        return BootEnv(**{**known, "path": path})


def _lock(name: str) -> str:
    return f"be.{name}"


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _size(root: Path) -> int:
    """Bytes that the tree takes, hard links counted once."""
    seen: set[int] = set()
    total = 0
    for directory, _, files in os.walk(root):
        for name in files:
            status = os.lstat(f"{directory}/{name}")
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                total += status.st_blocks * 512
    return total


def _remove(directory: Path) -> None:
    """Remove a tree of ours. Links in it are removed, never followed."""
    if directory.is_dir():
        with _disk_errors(directory):
            shutil.rmtree(directory)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostError(
            f"cannot write {error.filename or path}: {error.strerror}",
            "make room (`behunt be prune`), or move BEHUNT_HOME to a larger disk",
        ) from error
