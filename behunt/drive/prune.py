"""Make room: find what nothing needs any more, and remove it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from behunt.drive.lab import Lab
from behunt.install import archive
from behunt.storage.disk import remove, size
from behunt.storage.home import InUseError, exclusive, is_alive, token_in

_DAY = 86400.0  # seconds
# What has no owner in its name may be in the making for that long.
_SETTLED = _DAY
_KERNEL_NAME = 24  # characters of a build's identity that name its kernel's directory


@dataclass(frozen=True, slots=True)
class Doomed:
    """One thing that can go. `paths` are all that it lies in."""

    kind: str  # "bootenv", "kernel", "archive", "session", "run", "state"
    name: str
    paths: tuple[Path, ...]
    bytes: int
    why: str


def plan(lab: Lab, *, older_than_days: int | None = None, everything: bool = False) -> list[Doomed]:
    """What can be removed, in the order in which it should be. Nothing is touched.

    Always: archives that a newer one of the same recipe replaces and that nothing installed is
    made from, kernels of what is not installed any more, kept tests that no session refers to.
    With `older_than_days`: logs and outputs of runs that ended before that; their answers stay,
    but reports will lack what the tests printed; and states of machines that were not resumed
    since, which boot then. With `everything`: the boot environments that
    no running behunt uses. The newest archive of each recipe stays in any case.
    """
    # before boot environments, which come first
    kernels = sorted((*lab.home.kernels.iterdir(), *lab.home.machines.iterdir()))
    going = list(_bootenvs(lab)) if everything else []
    gone = {doomed.name for doomed in going}
    needed = {be.identity for be in lab.store.bootenvs() if be.name not in gone}
    return [
        *going,
        *_kernels(kernels, needed),
        *_replaced(lab.home.machines, needed),
        *_archives(lab, needed),
        *_sessions(lab),
        *(_old(lab, older_than_days) if older_than_days is not None else ()),
    ]


def prune(lab: Lab, doomed: list[Doomed]) -> int:
    """Remove what `plan` found; the bytes that this freed.

    What another behunt took into use, or removed, meanwhile is left out.
    """
    freed = 0
    for one in doomed:
        with contextlib.suppress(InUseError):
            freed += _removed(lab, one)
    return freed


def _removed(lab: Lab, doomed: Doomed) -> int:
    if doomed.kind == "bootenv":
        found = lab.store.find(doomed.name)
        if found is None:
            return 0
        lab.store.destroy(found)
    for path in doomed.paths:
        remove(path)
    return doomed.bytes


def _bootenvs(lab: Lab) -> Iterator[Doomed]:
    for bootenv in lab.store.bootenvs():
        with contextlib.suppress(InUseError), exclusive(lab.home, f"be.{bootenv.name}"):
            why = f"installed {bootenv.created[:10]}, not in use"
            yield Doomed("bootenv", bootenv.name, (), bootenv.bytes, why)


def _kernels(kernels: list[Path], needed: set[str]) -> Iterator[Doomed]:
    """What uml and qemu boot, by what it was made from. A name with a dot is being made."""
    names = {identity[:_KERNEL_NAME] for identity in needed}
    for path in kernels:
        if path.is_dir() and path.name[:_KERNEL_NAME] not in names and path.name[0] != ".":
            yield _doomed("kernel", path, "no boot environment that it belongs to")


def _replaced(machines: Path, needed: set[str]) -> Iterator[Doomed]:
    """What qemu or metal boots, where this or another behunt has made it anew since."""
    newest: set[str] = set()
    names = {identity[:_KERNEL_NAME] for identity in needed}
    for made in sorted(machines.glob("*/made.json"), key=_changed, reverse=True):
        name = made.parent.name.rpartition("-")[0]  # what is behind it tells how it was made
        if name in newest and name[:_KERNEL_NAME] in names:
            yield _doomed(
                "kernel", made.parent, "a newer one of the same boot environment is there"
            )
        newest.add(name)


def _archives(lab: Lab, needed: set[str]) -> Iterator[Doomed]:
    directory = lab.home.archives
    newest: set[str] = set()  # recipes
    for about in sorted(directory.glob("*.json"), key=_changed, reverse=True):
        build = archive.find(directory, about.stem)
        if build is None:
            yield _archive(about, "cannot be read")
        elif build.recipe not in newest:
            newest.add(build.recipe)
        elif build.identity() not in needed:
            yield _archive(about, "a newer one of the same recipe replaces it")
    for content in _settled(directory):
        if content.name.endswith(".tar.zst") and not _about(content).exists():
            yield _doomed("archive", content, "half written by a behunt that was killed")


def _archive(about: Path, why: str) -> Doomed:
    content = about.with_name(f"{about.stem}.tar.zst")
    # In this order: without its .json it is no archive any more.
    return Doomed("archive", about.stem[:24], (about, content), _taken(about, content), why)


def _about(content: Path) -> Path:
    return content.with_name(content.name.removesuffix(".tar.zst") + ".json")


def _sessions(lab: Lab) -> Iterator[Doomed]:
    """Kept tests. A session knows its own by a path that the home may have been moved from."""
    needed = {
        part
        for session in lab.results.sessions()
        for _, path in session.params.get("test", {}).get("files", ())
        for part in Path(path).parts
    }
    for path in _settled(lab.home.sessions):
        if path.name not in needed:
            yield _doomed("session", path, "a kept test that no session refers to")


def _old(lab: Lab, days: int) -> Iterator[Doomed]:
    yield from _runs(lab, days)
    for state in sorted(lab.home.machines.glob("*/state-*")):
        age = time.time() - _changed(state)
        if age >= days * _DAY:
            yield _doomed("state", state, f"last resumed {age / _DAY:.0f} days ago")


def _runs(lab: Lab, days: int) -> Iterator[Doomed]:
    now = time.time()
    for path in sorted(lab.home.runs.iterdir()):
        age = now - _changed(path)
        token = token_in(path.name)
        if age >= days * _DAY and not (token and is_alive(lab.home, token)):
            yield _doomed("run", path, f"ended {age / _DAY:.0f} days ago")


def _settled(directory: Path) -> list[Path]:
    """What lies in `directory` and was not changed lately."""
    now = time.time()
    return sorted(path for path in directory.iterdir() if now - _changed(path) > _SETTLED)


def _changed(path: Path) -> float:
    """Seconds since the epoch. What another behunt removed meanwhile counts as new."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return time.time()


def _doomed(kind: str, path: Path, why: str) -> Doomed:
    return Doomed(kind, path.name, (path,), _taken(path), why)


def _taken(*paths: Path) -> int:
    """Bytes that files and trees take."""
    total = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            total += size(path) if path.is_dir() else path.lstat().st_blocks * 512
    return total
