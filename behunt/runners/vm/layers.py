"""What a clone of a boot environment shows: its layers, read and joined on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from behunt.storage.protocol import Clone

# $1 layers, the topmost first, $2 an empty directory to see them through. For sh(1), and for a
# mount namespace of its own.
JOINED = """\
mount -t overlay -o "lowerdir=$1" overlay "$2" || exit
"""


def trees(clone: Clone) -> list[Path]:
    """What the boot environment is made of, the topmost first."""
    return [Path(tree) for tree in clone.lower or (clone.root,)]


def found(trees: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """These files of the boot environment, the topmost of each; nothing unless all are there."""
    paths = [next((tree / name for tree in trees if _has(tree, name)), None) for name in names]
    there = [path for path in paths if path is not None]
    return there if len(there) == len(names) else []


def text(trees: Sequence[Path], name: str) -> str:
    """This file of the boot environment, empty if there is none."""
    return "".join(path.read_text("latin-1") for path in found(trees, [name]))


def laid(files: Mapping[str, str], place: Path) -> Path:
    """A layer of these files, in the new directory `place`.

    They are in Latin-1, so that bytes stay what they are.
    """
    place.mkdir()
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="latin-1", newline="")
    for path in (place, *place.rglob("*")):  # whatever the umask is
        path.chmod(0o755 if path.is_dir() else 0o644)
    return place


def _has(tree: Path, name: str) -> bool:
    """A link may lead out of the tree."""
    path = tree / name
    return path.is_file() and path.resolve().is_relative_to(tree.resolve())
