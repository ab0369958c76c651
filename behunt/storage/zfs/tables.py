"""What zfs(8) and the mount tables print, as values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from behunt.errors import HostError
from behunt.storage.zfs.door import Dataset

_OCTAL = re.compile(r"\\([0-7]{3})")
# `mount -p` of FreeBSD: columns padded by TABs, or by one space when they are wide.
_FREEBSD = re.compile(r"(\S+)\s+(/.*?)\s+(\S+)\s+(\S+)\s+\d+\s+\d+\s*")


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line of a mount table. They are in the order in which they were mounted."""

    source: str
    directory: str
    fstype: str

    @property
    def is_zfs(self) -> bool:
        return self.fstype in {"zfs", "fuse.zfs"}


def parse_get(text: str) -> list[Dataset]:
    """`zfs get -Hp -r -o name,property,value,source`: all but bookmarks, parents first.

    A received property is not a dataset's own: who receives a copy of ours has not made it ours.
    """
    values: dict[str, dict[str, str]] = {}
    own: dict[str, set[str]] = {}
    for line in text.splitlines():
        try:
            name, key, value, source = line.split("\t")
        except ValueError:
            raise HostError(
                f"zfs get said what is not a property: {line!r}",
                "a user property of the pool holds a TAB or a line break: find and clear it",
            ) from None
        values.setdefault(name, {})[key] = value
        own.setdefault(name, set())
        if source == "local":
            own[name].add(key)
    return [
        Dataset(name, found, frozenset(own[name]))
        for name, found in sorted(values.items(), key=lambda item: _parents_first(item[0]))
        if found.get("type") in {"filesystem", "volume", "snapshot"}
    ]


def _parents_first(name: str) -> tuple[list[str], str]:
    dataset, _, snapshot = name.partition("@")
    return dataset.split("/"), snapshot


def parse_linux_mounts(text: str) -> list[Mounted]:
    """/proc/self/mounts, whose blanks and backslashes are octal."""
    rows = (line.split(" ") for line in text.splitlines())
    return [Mounted(*(_unescaped(field) for field in row[:3])) for row in rows if len(row) >= 3]  # noqa: PLR2004


def parse_freebsd_mounts(text: str) -> list[Mounted]:
    found = (_FREEBSD.fullmatch(line) for line in text.splitlines())
    return [Mounted(*match.groups()[:3]) for match in found if match]


def _unescaped(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)


def below(mounts: list[Mounted], directory: str) -> Iterator[Mounted]:
    """What is mounted at or below `directory`, in the order to unmount it."""
    top = PurePosixPath(directory)
    for mounted in reversed(mounts):
        if PurePosixPath(mounted.directory).is_relative_to(top):
            yield mounted
