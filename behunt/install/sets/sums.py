"""The files of digests that BSD releases carry: `SHA256 (base77.tgz) = 9f86d0…`, one a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from behunt.errors import InstallError
from behunt.install.sets.protocol import DistSet, Piece
from behunt.model import Release

Sums = Mapping[str, tuple[str, str]]  # file: (algorithm, hex), as a Piece has them

_LINE = re.compile(r"(MD5|SHA1|SHA256|SHA512) \(([^()/\s]+)\) = ([0-9a-f]+)")
_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


def parse(text: bytes, name: str) -> dict[str, tuple[str, str]]:
    """What the file `name` says. Raises InstallError for anything else than whole lines.

    Mirrors answer for what they have not with a page of HTML, and copies end in the middle.
    """
    found: dict[str, tuple[str, str]] = {}
    for line in filter(None, text.decode("ascii", errors="replace").splitlines()):
        match = _LINE.fullmatch(line.strip())
        said = (match[1].lower(), match[3]) if match else ("", "")
        if match is None or len(said[1]) != _DIGITS[said[0]]:
            raise InstallError(
                f"{name} is no list of digests, it has the line `{line[:60]}`",
                "the mirror's copy is damaged, or it is a page about an error: name another",
            )
        if found.setdefault(match[2], said) != said:
            raise InstallError(f"{name} has two digests of {match[2]}", "name another mirror")
    if not found:
        raise InstallError(f"{name} is empty", "the mirror's copy is damaged: name another")
    return found


def piece(release: Release, path: str, lists: Iterable[Sums]) -> Piece | None:
    """The file at `path` with all digests of it, the best first; None if no list has it.

    Those that the catalogue pins count too, and count first.
    """
    name = path.rsplit("/", 1)[-1]
    listed = [sums[name] for sums in lists if name in sums]
    pinned = [("sha256", hex_) for file, hex_ in release.pinned if file == name]
    return Piece(path, (*pinned, *listed)) if listed else None


def pinned(release: Release, sets: Iterable[DistSet]) -> bool:
    """Whether the catalogue has a digest of its own for all of `sets`."""
    names = {name for name, _ in release.pinned}
    return {piece.path.rsplit("/", 1)[-1] for one in sets for piece in one.pieces} <= names
