"""FreeBSD's distribution sets up to 8.4: `base/base.aa`, `.ab`, …, one gzipped tar when joined.

As doTARBALL of release/Makefile makes them; where each is unpacked is usr.sbin/sysinstall/dist.c.
install.sh is never called: it asks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from behunt.errors import InstallError
from behunt.install.protocol import Order
from behunt.install.sets import sums
from behunt.install.sets.freebsd import MIRROR, FreeBSD, base_first, unknown_sets
from behunt.install.sets.protocol import DistSet, Piece
from behunt.install.sets.sums import Sums
from behunt.model import Release


class Split(FreeBSD):
    """Up to 8.4: `base/base.aa`, `.ab`, … with `.inf`, `.mtree` and a CHECKSUM file."""

    def sets(self, order: Order) -> tuple[str, ...]:
        release = order.release
        base, kernel = release.trait("base_set"), release.trait("kernel_set")
        known = {base, kernel, *release.trait("sets").split()}
        named = [_of_old(name) for name in order.sets] or [base, kernel]
        if strange := [n for n in named if n not in known and not n.startswith("kernels/")]:
            raise unknown_sets(release, strange, known)
        return base_first(base, (name for name in named if name))

    def vouchers(self, release: Release, sets: Sequence[str]) -> tuple[str, ...]:
        checksums = release.trait("checksum_file")
        return tuple(
            dict.fromkeys(
                path
                for files in map(_Files.of, sets)
                for path in (
                    *((files.inf, files.mtree) if files.split else ()),
                    f"{files.directory}/{checksums}",
                )
            )
        )

    def read(
        self, release: Release, sets: Sequence[str], texts: Mapping[str, bytes]
    ) -> tuple[DistSet, ...]:
        optional = release.trait("kernel_set")  # no release notes say when it first was apart
        return tuple(
            self._set(release, files, texts)
            for files in map(_Files.of, sets)
            if files.name != optional or files.inf in texts
        )

    def vouch(
        self, order: Order, sets: Sequence[DistSet], texts: Mapping[str, bytes]
    ) -> tuple[str, ...]:
        absent = set(self.sets(order)) - {one.name for one in sets}
        kernels = (f"there is no set {name}: what kernel there is, base has" for name in absent)
        return (*super().vouch(order, sets, texts), *kernels)

    def _set(self, release: Release, files: _Files, texts: Mapping[str, bytes]) -> DistSet:
        digests = _checksums(files, release, texts)
        if files.split:
            pieces = _pieces(files, digests, texts)
        else:
            path = f"{files.directory}/{files.stem}.tgz"
            pieces = (Piece(path, (_listed(digests, path),)),)
        return DistSet(
            files.name,
            pieces,
            files.target,
            mtree=texts.get(files.mtree, b"").decode(errors="surrogateescape"),
            described=files.described,
            devices="dev" if files.name == "bin" else "",
        )

    def finish(self, order: Order, root: PurePosixPath) -> None:
        """The loader starts /boot/kernel, and the set has it as /boot/GENERIC."""
        unpacked = order.release.trait("kernel_unpacked").lstrip("/")
        if not unpacked:
            return
        # base has an empty /boot/kernel
        script = (
            'cd "$1" && [ ! -L boot ] && [ -d "$2" ] && [ ! -L "$2" ] || exit 0; '
            'rmdir boot/kernel 2>/dev/null; [ -e boot/kernel ] || mv "$2" boot/kernel'
        )
        done = order.host.run(["sh", "-c", script, "sh", str(root), unpacked])
        if done.code != 0:
            raise InstallError(
                f"cannot move /{unpacked} to /boot/kernel: {done.err.strip() or done.how}",
                "leave out the set that has /boot/kernel already",
            )


@dataclass(frozen=True, slots=True)
class _Files:
    """Where the files of a set of old are. `described`: what its .mtree is the description of."""

    name: str
    directory: str
    stem: str
    target: str = ""
    described: str = ""
    split: bool = True

    @classmethod
    def of(cls, name: str) -> _Files:
        directory, _, stem = name.rpartition("/")
        if name == "ports":
            return cls(name, "ports", "ports", "usr", split=False)
        if directory == "kernels":
            return cls(name, directory, stem, "boot", stem.upper())
        return cls(name, directory or name, stem, "usr/src" if directory == "src" else "")

    @property
    def inf(self) -> str:
        return f"{self.directory}/{self.stem}.inf"

    @property
    def mtree(self) -> str:
        return f"{self.directory}/{self.stem}.mtree"


def inf(text: str) -> dict[str, tuple[int, int]]:
    """(CRC, size) of each piece by its suffix, `aa` and on, in order. Raises InstallError."""
    counts = re.findall(r"^\s*Pieces\s*=\s*(\d+)\s*$", text, re.MULTILINE)
    rows = re.findall(r"^\s*cksum\.([a-z]{2})\s*=\s*(\d+)\s+(\d+)\s*$", text, re.MULTILINE)
    found = {suffix: (int(crc), int(size)) for suffix, crc, size in rows}
    letters = "abcdefghijklmnopqrstuvwxyz"
    wanted = [letters[n // 26] + letters[n % 26] for n in range(len(found))]
    if counts != [str(len(found))] or sorted(found) != wanted:
        said = counts[0] if counts else "no number of"
        raise InstallError(f"its .inf says {said} pieces and lists {len(found)}", MIRROR)
    return {suffix: found[suffix] for suffix in wanted}


def _checksums(files: _Files, release: Release, texts: Mapping[str, bytes]) -> Sums:
    """By path, what vouches for a set; and what vouches for its other texts is compared."""
    name = f"{files.directory}/{release.trait('checksum_file')}"
    if name not in texts:
        raise InstallError(f"it has no {name}", MIRROR)
    listed = sums.parse(texts[name], name)
    digests = {f"{files.directory}/{file}": digest for file, digest in listed.items()}
    for path in (files.inf, files.mtree):
        if path in texts and path in digests:
            algorithm, wanted = digests[path]
            if hashlib.new(algorithm, texts[path]).hexdigest() != wanted:
                raise InstallError(f"its {path} is damaged: {name} has another digest", MIRROR)
    return digests


def _pieces(files: _Files, digests: Sums, texts: Mapping[str, bytes]) -> tuple[Piece, ...]:
    if files.inf not in texts:
        raise InstallError(f"it has no {files.inf}", MIRROR)
    try:
        rows = inf(texts[files.inf].decode(errors="replace"))
    except InstallError as error:
        raise InstallError(f"{files.inf} is damaged: {error.message}", error.hint) from error
    prefix = f"{files.directory}/{files.stem}."
    listed = [path for path in digests if re.fullmatch(re.escape(prefix) + "[a-z]{2}", path)]
    if len(listed) > len(rows):
        raise InstallError(
            f"{files.inf} says {len(rows)} pieces, but digests are listed of {len(listed)}", MIRROR
        )
    return tuple(
        Piece(path, (_listed(digests, path),), size, crc)
        for suffix, (crc, size) in rows.items()
        for path in [prefix + suffix]
    )


def _listed(digests: Sums, path: str) -> tuple[str, str]:
    if path not in digests:
        raise InstallError(f"nothing vouches for {path}: its digest is not listed", MIRROR)
    return digests[path]


def _of_old(name: str) -> str:
    """`kernels/GENERIC` as its files are called, and `sbase` where it lies."""
    return name.lower() if name.startswith("kernels/") else name
