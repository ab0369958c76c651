"""Which datasets a boot environment has: the tables of releases/layouts/zfs.toml. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from behunt.datafiles import data_dir
from behunt.errors import UsageError

FLAT = "flat"
_LATEST = (1 << 30,)


@dataclass(frozen=True, slots=True)
class Part:
    """A dataset below a boot environment, and the directory of the same name that it holds.

    One that is not `mountable` only holds others. `mode` is the directory's, 0 for the usual.
    """

    name: str
    properties: Mapping[str, str] = field(default_factory=dict)
    mountable: bool = True
    mode: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """The datasets of one release, parents first. `fstab`: its rc mounts none of them itself."""

    name: str
    parts: tuple[Part, ...] = ()
    fstab: bool = False

    @property
    def deepest(self) -> int:
        """Characters that its children add to the name of a boot environment."""
        return max((len(part.name) + 1 for part in self.parts), default=0)

    def part(self, name: str) -> Part | None:
        return next((part for part in self.parts if part.name == name), None)


def layouts() -> tuple[str, ...]:
    return tuple(_tables())


def check_layout(name: str) -> str:
    """`name`, if there is such a layout. Raises UsageError."""
    if name not in _tables():
        raise UsageError(f"there is no layout {name}", f"layouts: {', '.join(layouts())}")
    return name


def layout_of(name: str, release: str = "") -> Layout:
    """The layout `name` as the release with the id `release` has it; the latest without one.

    Of a release of another system too: `-l freebsd` for a Debian has the latest FreeBSD's.
    """
    version = _version(name, release)
    tables = _tables()[name]
    table = next(t for t in tables if "before" not in t or version < _numbers(t["before"]))
    parts = tuple(_part(row) for row in table["datasets"])
    return Layout(name, parts, table.get("fstab", False))


def properties_of(part: Part) -> dict[str, str]:
    """What is set on a part's own dataset. Its mount point is inherited."""
    return {**part.properties, "canmount": "noauto" if part.mountable else "off"}


def fstab(dataset: str, layout: Layout) -> tuple[str, ...]:
    """Lines of /etc/fstab that mount the parts of the boot environment in `dataset`.

    `late`, because ZFS is not there before (rc.d/mountlate). Empty where rc does it itself.
    """
    if not layout.fstab:
        return ()
    return tuple(
        f"{dataset}/{part.name}\t/{part.name}\tzfs\trw,late\t0\t0"
        for part in layout.parts
        if part.mountable
    )


_BEGIN = "# behunt: the datasets of this boot environment"
_END = "# behunt: end"


def with_fstab(text: str, lines: tuple[str, ...]) -> str:
    """An fstab with `lines` at its end, instead of those that an earlier call has put there.

    >>> with_fstab("", ("a", "b")).count("behunt")
    2
    """
    kept: list[str] = []
    ours = False
    for line in text.splitlines():
        ours = ours or line == _BEGIN
        if not ours:
            kept.append(line)
        ours = ours and line != _END
    added = [_BEGIN, *lines, _END] if lines else []
    return "".join(f"{line}\n" for line in (*kept, *added))


@cache
def _tables() -> dict[str, list[dict[str, Any]]]:
    file = data_dir("releases") / "layouts" / "zfs.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _part(row: Mapping[str, Any]) -> Part:
    own = {key: value for key, value in row.items() if key not in {"name", "off", "mode"}}
    return Part(row["name"], own, not row.get("off", False), int(row.get("mode", "0"), 8))


def _version(layout: str, release: str) -> tuple[int, ...]:
    """Of `freebsd-11.1-amd64` in the layout freebsd: (11, 1)."""
    system, _, rest = release.partition("-")
    return _numbers(rest.split("-")[0] if system == layout else "")


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else _LATEST
