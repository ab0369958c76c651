"""How a dataset is mounted wherever one likes, whatever its mountpoint property says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import PurePosixPath

from behunt.errors import HostError
from behunt.storage.zfs.door import Mount
from behunt.storage.zfs.scripts import Step


class Flavour(Enum):
    """Which ZFS a host has: each mounts in a way of its own, and zfs-fuse is of 2011."""

    FREEBSD = "FreeBSD"
    LINUX = "Linux"
    FUSE = "zfs-fuse"


def steps(
    mounts: Sequence[Mount], flavour: Flavour, elevate: Sequence[str] = (), *, read_only: bool
) -> Iterator[Step]:
    """Directories and mounts, in order; `elevate` goes before what only root may do."""
    for number, mount in enumerate(mounts):
        for path in directories(mount.directory, [above.directory for above in mounts[:number]]):
            yield Step(["directory", path, *elevate, "mkdir", "-p"])
        options = _options(flavour, read_only=read_only)
        if flavour is Flavour.FUSE:
            do = ["fuse_mount", options, mount.dataset, mount.directory]
        else:
            flags = ["-o", options] if options else []
            do = [*elevate, "mount", "-t", "zfs", *flags, mount.dataset, mount.directory]
        yield Step(do, ["patiently", *elevate, "umount", mount.directory])
        if not read_only and flavour is not Flavour.FUSE:
            yield Step(["writable", mount.dataset])


def directories(directory: str, above: Sequence[str]) -> list[str]:
    """What has to be a directory, and no link, before something is mounted on `directory`.

    The tree mounted `above` may hold anything: each step from there on is looked at. The way to
    it is the host's, where /home may well be a link.

    >>> directories("/be/a/usr/home", ["/be/a"])
    ['/be/a/usr', '/be/a/usr/home']
    """
    path = PurePosixPath(directory)
    if not path.is_absolute() or ".." in path.parts:
        raise HostError(f"cannot mount on {directory}", "give an absolute path without `..`")
    tops = [top for top in map(PurePosixPath, above) if path.is_relative_to(top)]
    inside = [step for step in reversed(path.parents) if any(_within(step, top) for top in tops)]
    return [str(step) for step in (*inside, path)]


def _within(step: PurePosixPath, top: PurePosixPath) -> bool:
    return step != top and step.is_relative_to(top)


def _options(flavour: Flavour, *, read_only: bool) -> str:
    """`zfsutil` has Linux mount what is not `legacy`. On FreeBSD nodes work in a devfs only."""
    always = {Flavour.LINUX: ("zfsutil", "nodev"), Flavour.FUSE: ("nodev",), Flavour.FREEBSD: ()}
    return ",".join((*always[flavour], *(("ro",) if read_only else ())))
