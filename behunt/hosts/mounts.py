"""Mounts of trees, in the namespace of who calls: a keeper, while a server runs there."""

from __future__ import annotations

import os
import re

from behunt.hosts.syscalls import move_mount, umount


def attach(tree: int, target: str) -> None:
    """Mount at `target` what open_tree(2) gave, in whatever namespace. Raises OSError."""
    os.makedirs(target, exist_ok=True)  # noqa: PTH103 - pathlib is not loaded here
    move_mount(tree, target)


def detach(target: str) -> None:
    """Unmount `target` and all below it. OSError with EBUSY where something has it open yet."""
    for point in reversed(mounted()):
        if point == target or point.startswith(f"{target}/"):
            umount(point, 0)


def mounted() -> list[str]:
    """Where something is mounted, in the order in which it was."""
    with open("/proc/self/mountinfo", errors="surrogateescape") as table:  # noqa: PTH123
        return [unescaped(row.split(" ")[4]) for row in table]


def unescaped(text: str) -> str:
    """As proc(5) writes blanks and backslashes: three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
