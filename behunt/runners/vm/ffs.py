"""The root of a BSD as a file system in a file, made by makefs(8) on Linux.

It is UFS1, which NetBSD calls FFSv1, of less than 2 GB: what Debian's makefs of 2019 writes as
UFS2 no FreeBSD mounts, and beyond 2 GB it overflows. UFS1 is also what there was before UFS2, and
this one has the fields that kernels of that time divide by.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from behunt.errors import InstallError
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import checked
from behunt.hosts.sandbox import Sandbox
from behunt.model import Release
from behunt.runners.vm.layers import JOINED, laid, trees
from behunt.storage.protocol import Clone

_SIZE = 1900  # MiB
_FILES = 100_000  # that a run can make
_MAKE_TIME = 900.0  # seconds

# $1 layers, $2 an empty directory to see them through, $3 the image, $4 MiB, $5 free files,
# $6 a specification of more files, if any
_IMAGE = f"""
{JOINED}\
exec makefs -t ffs -B little -o version=1 -s "$4m" -f "$5" ${{6:+-F "$6"}} "$3" "$2"
"""
RECIPE = [_IMAGE, str(_SIZE), str(_FILES)]


def unfit() -> str:
    """Why no file system can be made here; empty if one can."""
    if shutil.which("makefs") is None:
        return "its disk is made by makefs, which is not installed: apt install makefs"
    return ""


@contextmanager
def made(
    release: Release, clone: Clone, place: Path, files: Mapping[str, str], nodes: str = ""
) -> Iterator[Path]:
    """A root of what the clone shows, with `files` on top, below `place` until it is left.

    `files` are in Latin-1, so that bytes stay what they are. `nodes` is a specification of what
    no tree on Linux can have, in the words of mtree(5). Raises InstallError and HostError.
    """
    with tempfile.TemporaryDirectory(dir=place) as name:
        scratch = Path(name)
        image = scratch / "root.ufs"
        shown = [laid(files, scratch / "configured"), *trees(clone)]
        words = [":".join(map(str, shown)), clone.stage, str(image), str(_SIZE), str(_FILES)]
        if nodes:
            (scratch / "nodes").write_text(nodes, encoding="ascii")
            words.append(str(scratch / "nodes"))
        _write(release, words)
        yield image


def _write(release: Release, words: Sequence[str]) -> None:
    host = LocalHost(Sandbox(namespaces=("mount",)), "image")
    done = host.run(["sh", "-c", _IMAGE, "sh", *words], timeout=_MAKE_TIME)
    if "larger than the maxsize" in done.err:  # it looks before it writes
        raise InstallError(
            f"{release.id} does not fit on a disk of {_SIZE} MiB, the largest that makefs(8) makes",
            "install fewer sets with --set: base and kernel do (docs/vm.md)",
        )
    checked(done)
