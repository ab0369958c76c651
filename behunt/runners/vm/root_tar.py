"""A boot environment as a tar archive, for a system that makes its own file system of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from behunt.hosts.local import LocalHost
from behunt.hosts.sandbox import Sandbox
from behunt.storage.protocol import Clone

_TIME = 3600.0  # seconds, for the largest of roots
# $1 layers, $2 an empty directory to see them through, $3 the archive
_PACK = """\
mount -t overlay -o "lowerdir=$1" overlay "$2" || exit
exec tar -C "$2" --numeric-owner --format=ustar -cf "$3" .
"""


def pack(clone: Clone, files: Mapping[str, str], scratch: Path, archive: Path) -> None:
    """What `clone` shows, with `files` (in Latin-1) on top; `scratch` is a directory of the caller.

    It is ustar in whole records, as any tar reads it, also off a raw disk. Raises HostError.
    """
    own = scratch / "configured"
    for name, text in files.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text, encoding="latin-1")
    for path in (own, *own.rglob("*")):  # whatever the umask is
        path.chmod(0o755 if path.is_dir() else 0o644)
    layers = ":".join(map(str, (own, *(clone.lower or (clone.root,)))))
    host = LocalHost(Sandbox(namespaces=("mount",)), "archive")
    words = [layers, clone.stage, str(archive)]
    host.run(["sh", "-c", _PACK, "sh", *words], timeout=_TIME, check=True)
