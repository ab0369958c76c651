"""A root file system in a few milliseconds: one static busybox under all its names."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

BUSYBOX = Path("/bin/busybox")


def tiny_root(path: Path) -> Path:
    """Make `path` a root. Its /dev/null is a plain empty file: enough for a shell's `&`."""
    assert BUSYBOX.exists(), "busybox is missing: make setup"
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
        (path / name).mkdir(parents=True, exist_ok=True)
    (path / "tmp").chmod(0o1777)
    (path / "dev/null").touch()
    shutil.copy(BUSYBOX, path / "bin/busybox")
    names = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True)
    for name in set(names.stdout.split()) - {"busybox"}:
        (path / "bin" / name).symlink_to("busybox")
    return path


def alive(marker: str) -> list[int]:
    """Processes, anywhere on this machine, that have `marker` in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if marker.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found
