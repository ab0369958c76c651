"""What differs between two installed package lists."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from behunt.model import Build

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")


class Change(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class PackageChange:
    name: str
    arch: str
    change: Change
    before: str = ""  # version, "" if it was not there
    after: str = ""
    named: bool = False  # its name stands in the test or in a log


def package_changes(before: Build, after: Build, texts: str = "") -> tuple[PackageChange, ...]:
    """Packages that only one of the two has, or that differ in version.

    Those whose names occur in `texts` (the test, the logs) come first: there the reader looks.
    """
    import pandas as pd  # noqa: PLC0415  takes half a second; only reports need it

    columns = ["name", "version", "arch"]
    frames = [
        pd.DataFrame([(p.name, p.version, p.arch) for p in build.packages], columns=columns)
        for build in (before, after)
    ]
    both = frames[0].merge(
        frames[1], how="outer", on=["name", "arch"], suffixes=("_before", "_after")
    )
    both = both.fillna("")
    both = both[both.version_before != both.version_after]
    words = set(_NAME.findall(texts))
    changes = [
        PackageChange(str(name), str(arch), _change(old, new), old, new, name in words)
        for name, arch, old, new in zip(
            both["name"], both["arch"], both.version_before, both.version_after, strict=True
        )
    ]
    return tuple(sorted(changes, key=lambda c: (not c.named, c.name, c.arch)))


def _change(before: str, after: str) -> Change:
    if not before:
        return Change.ADDED
    return Change.CHANGED if after else Change.REMOVED
