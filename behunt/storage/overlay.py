"""Boot environments as plain directories, clones by overlayfs: the embedded store on Linux.

A boot environment being installed lies in `be/.<name>.<owner>`; sealing renames it to
`be/<name>`. So what has a proper name is whole, and what has not is reaped with its owner.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from behunt.errors import HostError, UsageError
from behunt.model import BootEnv, Build, Package
from behunt.storage.disk import disk_errors, remove, size
from behunt.storage.home import Home, Owner, exclusive, is_alive, registry, shared, token_in
from behunt.storage.protocol import Clone

_ABOUT = "behunt.json"
# A file's name has at most 255 bytes, and ours add an owner to it.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~@-]{0,199}")
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
                "use up to 200 letters, digits and . _ + ~ @ -, and begin with a letter or digit",
            )
        if self.find(name):
            raise _exists(name)
        directory = self.home.boot_environments / f".{name}.{self.owner.token}"
        remove(directory)
        with disk_errors(directory):
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
            bytes=size(bootenv.path),
        )
        about = {**asdict(sealed), "path": "root", "build": asdict(build)}
        with disk_errors(directory):
            (directory / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
            try:
                directory.rename(final)
            except OSError as error:
                if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise _exists(bootenv.name) from error
                raise
        return sealed

    def find(self, name: str) -> BootEnv | None:
        about = self._about(name)
        return self._bootenv(name, about) if about else None

    def bootenvs(self) -> list[BootEnv]:
        names = sorted(p.name for p in self.home.boot_environments.iterdir())
        return [self._bootenv(name, about) for name in names if (about := self._about(name))]

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
            if self.find(bootenv.name) != bootenv:
                raise HostError(
                    f"the boot environment {bootenv.name} was destroyed meanwhile", "run it again"
                )
            if not self.on_disk:
                yield Clone(name, bootenv, layers, stage=stage)
                return
            directory = self.home.clones / name
            try:
                with disk_errors(directory):
                    for part in ("upper", "work"):
                        (directory / part).mkdir(parents=True)
                upper, work = str(directory / "upper"), str(directory / "work")
                yield Clone(name, bootenv, layers, upper, work, stage=stage)
            finally:
                remove(directory)

    def destroy(self, bootenv: BootEnv) -> None:
        if not bootenv.sealed:
            remove(bootenv.path.parent)
            return
        with exclusive(self.home, _lock(bootenv.name)):
            doomed = self.home.boot_environments / f".{bootenv.name}.{self.owner.token}.destroyed"
            with contextlib.suppress(FileNotFoundError):
                (self.home.boot_environments / bootenv.name).rename(doomed)
            remove(doomed)

    def reap(self) -> list[str]:
        removed = []
        with registry(self.home):
            for path in self.home.boot_environments.glob(".*"):
                removed += self._reaped(path)
            for path in self.home.clones.iterdir():
                removed += self._reaped(path)
        return removed

    def _reaped(self, path: Path) -> list[str]:
        token = token_in(path.name)
        if not token or is_alive(self.home, token):
            return []
        remove(path)
        return [str(path)]

    def _about(self, name: str) -> dict[str, Any] | None:
        if not _NAME.fullmatch(name):
            return None
        path = self.home.boot_environments / name / _ABOUT
        try:
            about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise HostError(f"{path} is damaged: {error}", f"rm -rf {path.parent}") from error
        return about

    def _bootenv(self, name: str, about: dict[str, Any]) -> BootEnv:
        known = {key: value for key, value in about.items() if key != "build"}
        return BootEnv(**{**known, "path": self.home.boot_environments / name / "root"})


def _exists(name: str) -> UsageError:
    return UsageError(f"the boot environment {name} exists", f"behunt be destroy {name} removes it")


def _lock(name: str) -> str:
    return f"be.{name}"


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
