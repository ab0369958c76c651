"""Boot environments in the file system of their host: mounted, unmounted, their fstab written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

from behunt.storage.home import InUseError
from behunt.storage.zfs.door import Mount
from behunt.storage.zfs.faults import ReadOnlyError
from behunt.storage.zfs.layouts import Layout, fstab, with_fstab
from behunt.storage.zfs.names import Passing
from behunt.storage.zfs.place import Place
from behunt.storage.zfs.users import named_users

_PATIENCE = 10.0  # seconds for what is busy to become free


def mount(place: Place, dataset: str, parts: Iterable[str], at: PurePosixPath) -> None:
    """Mount `dataset` at `at`. `parts`: names below it, empty for itself, parents first.

    ReadOnlyError if one of them cannot be written.
    """
    place.door.mount(_mounts(dataset, parts, at))


def mount_as_can_be(place: Place, dataset: str, parts: Sequence[str], at: PurePosixPath) -> None:
    """The same to look at: what is read-only is mounted read-only."""
    try:
        mount(place, dataset, parts, at)
    except ReadOnlyError:
        place.door.mount(_mounts(dataset, parts, at), read_only=True)


def _mounts(dataset: str, parts: Iterable[str], at: PurePosixPath) -> list[Mount]:
    return [Mount(joined(dataset, part), str(at / part)) for part in parts]


def mount_new(place: Place, dataset: str, layout: Layout, at: PurePosixPath) -> None:
    """Mount what was just made, and give its directories their modes."""
    names = ["", *(part.name for part in layout.parts if part.mountable)]
    mount(place, dataset, names, at)
    for part in layout.parts:
        if part.mode:
            place.door.host.run(["chmod", f"{part.mode:o}", str(at / part.name)], check=True)


def joined(dataset: str, part: str) -> str:
    return f"{dataset}/{part}" if part else dataset


def mounts(place: Place, dataset: str) -> list[Mount]:
    """Where `dataset` and all below it are mounted, in the order in which they were."""
    everything = place.door.mounted()
    return [m for m in everything if m.dataset == dataset or m.dataset.startswith(f"{dataset}/")]


def unmount(place: Place, dataset: str) -> None:
    """Unmount `dataset` and all below it, wherever they are, with what is mounted in them."""
    directories = [mount.directory for mount in reversed(mounts(place, dataset))]
    if directories:
        with named_users(place.door.host, dataset, directories[-1]):
            patiently(lambda: place.door.umount(directories))


def leave(place: Place, parts: Sequence[str], at: PurePosixPath) -> None:
    """Unmount what `mount` has mounted, and remove the directory."""
    directories = [str(at / part) for part in reversed(parts)]
    with named_users(place.door.host, "", str(at)):
        patiently(lambda: place.door.umount(directories))
    remove_directory(place, at)


def remove_directory(place: Place, at: PurePosixPath) -> None:
    """Of ours, empty, and not mounted on; else it stays."""
    place.door.host.run(["rmdir", str(at)])


def patiently(work: Callable[[], object]) -> None:
    """Do `work`, again while something is in use: what just ended holds files a moment longer."""
    deadline = time.monotonic() + _PATIENCE
    pause = 0.02
    while True:
        try:
            work()
        except InUseError:
            if time.monotonic() + pause > deadline:
                raise
        else:
            return
        time.sleep(pause)
        pause = min(2 * pause, 0.5)


# $1 is the root of a boot environment, whose content nobody vouches for: no link is followed.
_PLAIN = 'cd "$1" && [ -d etc ] && [ ! -L etc ] && [ ! -L etc/fstab ] || exit 0'


def write_fstab(place: Place, dataset: str, layout: Layout, at: PurePosixPath) -> None:
    """Have the fstab of what is mounted at `at` name the parts of `dataset`, where rc needs it."""
    if not layout.fstab:
        return
    host = place.door.host
    read = f"{_PLAIN}; [ ! -f etc/fstab ] || cat etc/fstab"
    old = host.run(["sh", "-c", read, "sh", str(at)], check=True).out
    new = with_fstab(old, fstab(dataset, layout))
    write = f"{_PLAIN}; cat >etc/fstab"
    host.run(["sh", "-c", write, "sh", str(at)], stdin=new.encode(), check=True)


def renew_fstab(place: Place, dataset: str, named: str, layout: Layout) -> None:
    """The same for `dataset`, which is not mounted, and is or will be called `named`."""
    if layout.fstab:
        at = place.directory(place.suffix(Passing.NEW))
        mount(place, dataset, [""], at)
        try:
            write_fstab(place, named, layout, at)
        finally:
            leave(place, [""], at)
