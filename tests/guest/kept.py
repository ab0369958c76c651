"""Directories that take long to make, under a name that says what they are made of."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_UNUSED = 7 * 24 * 3600  # seconds after which the guests of other versions are removed


def cache() -> Path:
    """Where all tests keep what may be made again (tests/conftest.py), a directory of our own."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "behunt-tests"
    directory = Path(os.environ.get("BEHUNT_TEST_CACHE", default)) / "guest"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def kept(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The directory `kind`-`key`, made if it is not there.

    It appears whole or not at all. Of several processes that want it one makes it, and the others
    wait; what an interrupted one left is removed by the next.
    """
    place = cache()
    final = place / f"{kind}-{key}"
    with _locked(place / f".{kind}.lock"):
        if not final.is_dir():
            for left in place.glob(f".{kind}.partial.*"):
                shutil.rmtree(left)
            partial = Path(tempfile.mkdtemp(prefix=f".{kind}.partial.", dir=place))
            make(partial)
            partial.rename(final)
        os.utime(final)
        _forget(place.glob(f"{kind}-*"))
    return final


def _forget(directories: Iterator[Path]) -> None:
    for directory in directories:
        if time.time() - directory.stat().st_mtime > _UNUSED:
            shutil.rmtree(directory)


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Until the process ends, however it does."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
