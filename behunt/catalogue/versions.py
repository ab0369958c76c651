"""The order of version numbers."""

from __future__ import annotations

import re
from typing import TypeAlias

VersionKey: TypeAlias = tuple[tuple[int, int, str], ...]

_BEFORE_THE_RELEASE = ("alpha", "beta", "pre", "rc")
_END = (1, 0, "")


def version_key(version: str) -> VersionKey:
    """Sort key: 1.1.5 < 1.1.5.1, 4.9 < 4.10, 1.0 < 1.0A, 15.1-RC1 < 15.1, and sid is last."""
    parts = re.findall(r"\d+|[a-z]+", version.lower())
    return (*(_part(part) for part in parts), _END)


def _part(text: str) -> tuple[int, int, str]:
    if text.isdigit():
        return (2, int(text), "")
    return (0 if text in _BEFORE_THE_RELEASE else 3, 0, text)
