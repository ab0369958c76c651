"""A boot environment as a tar archive, for a system that makes its own file system of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from behunt.hosts.local import LocalHost
from behunt.hosts.sandbox import Sandbox
from behunt.runners.vm.layers import JOINED, laid, trees
from behunt.storage.protocol import Clone

_TIME = 3600.0  # seconds, for the largest of roots
# $1 layers, $2 an empty directory to see them through, $3 the archive
_PACK = f"""\
{JOINED}\
exec tar -C "$2" --numeric-owner --format=ustar -cf "$3" .
"""


def pack(clone: Clone, files: Mapping[str, str], scratch: Path, archive: Path) -> None:
    """What `clone` shows, with `files` (in Latin-1) on top; `scratch` is a directory of the caller.

    It is ustar in whole records, as any tar reads it, also off a raw disk. Raises HostError.
    """
    shown = [laid(files, scratch / "configured"), *trees(clone)]
    host = LocalHost(Sandbox(namespaces=("mount",)), "archive")
    words = [":".join(map(str, shown)), clone.stage, str(archive)]
    host.run(["sh", "-c", _PACK, "sh", *words], timeout=_TIME, check=True)
