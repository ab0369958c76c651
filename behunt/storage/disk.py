"""Trees on the disk: how large they are, how they go, and what is said when there is no room."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from behunt.errors import HostError
from behunt.hosts.local import LocalHost

_PATIENCE = 600.0  # seconds


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Tell an OSError on the way as a HostError that names its file, or else `path`."""
    try:
        yield
    except OSError as error:
        raise HostError(
            f"cannot write {error.filename or path}: {error.strerror}",
            "make room (`behunt be prune`), or move BEHUNT_HOME to a larger disk",
        ) from error


def remove(path: Path) -> None:
    """Remove a tree or file of ours, if it is there. Links are removed, never followed."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except (RecursionError, OSError):
        # A test may nest directories deeper than Python follows; and a file is no tree.
        LocalHost().run(["rm", "-rf", "--", str(path)], timeout=_PATIENCE, check=True)


def size(root: Path) -> int:
    """Bytes that the tree takes, hard links counted once. What cannot be read is left out."""
    seen: set[int] = set()
    total = 0
    pending = [str(root)]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif status.st_ino not in seen:
                    seen.add(status.st_ino)
                    total += status.st_blocks * 512
    return total
