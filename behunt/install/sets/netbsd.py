"""NetBSD's sets: `base.tgz`, or `base.tar.xz` on large ports since 9, under binary/sets.

Lists of digests lie beside them, MD5 in every release and SHA512 from 4.0 (distrib/sets/makesums
1.14); none is signed there. The kernel is a set like the others: kern up to 1.5, then
kern-GENERIC. Releases up to 1.2 have their sets in pieces, whose layout we do not know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from behunt.errors import UsageError
from behunt.install.protocol import Order
from behunt.install.sets import sums
from behunt.install.sets.protocol import DistSet, Oracle
from behunt.model import Release

# Which of them a port has changed more than once; the list of digests tells.
_SUFFIXES = (".tar.xz", ".tgz")
_KERNELS = {"arm64": "kern-GENERIC64"}  # where it is not GENERIC that boots
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class NetBSD:
    """`Family` of every NetBSD release that has whole sets."""

    def missing(self, order: Order) -> str:
        del order
        return ""

    def directories(self, release: Release) -> Sequence[str]:
        tree = release.trait("tree")
        port = tree.split("/", 1)[-1]
        roots = ("pub/NetBSD/", "pub/NetBSD-archive/", "NetBSD/", "NetBSD-archive/", "")
        return (*(root + tree for root in roots), port, "binary", "")

    def sets(self, order: Order) -> tuple[str, ...]:
        release = order.release
        if strange := [name for name in order.sets if not _NAME.fullmatch(name)]:
            raise UsageError(
                f"{release.id} cannot have a set `{strange[0]}`",
                f"give its name without suffix: {release.trait('sets')}",
            )
        usual = release.trait("usual_sets").split()
        if kernel := _KERNELS.get(release.arch):
            usual = [kernel if name == "kern-GENERIC" else name for name in usual]
        return tuple(dict.fromkeys(order.sets or usual))

    def vouchers(self, release: Release, sets: Sequence[str]) -> Sequence[str]:
        del sets
        return [f"sets/{name}" for name in release.trait("checksum_file").split()]

    def read(
        self, release: Release, sets: Sequence[str], texts: Mapping[str, bytes]
    ) -> tuple[DistSet, ...]:
        names = self.vouchers(release, sets)
        lists = [sums.parse(texts[name], name) for name in names if name in texts]
        return tuple(_set(release, name, lists) for name in sorted(sets, key=_rank))

    def vouch(
        self, order: Order, sets: Sequence[DistSet], texts: Mapping[str, bytes]
    ) -> tuple[str, ...]:
        del texts
        if sums.pinned(order.release, sets):
            return ()
        return (
            f"{order.release.label} has no signature beside its sets: what was fetched is whole, "
            "but nobody vouches that it is NetBSD's",
        )

    def oracles(self, release: Release) -> tuple[Oracle, ...]:
        version = re.escape(release.version)
        return (
            Oracle("netbsd", r"NetBSD [0-9.]+ \(GENERIC", rf"NetBSD {version} \(GENERIC"),
            Oracle("etc/release", r"^NetBSD [0-9]+\.[^/]*/", rf"NetBSD {version}/"),
        )

    def finish(self, order: Order, root: PurePosixPath) -> None:
        del order, root


def _set(release: Release, name: str, lists: Sequence[sums.Sums]) -> DistSet:
    for suffix in _SUFFIXES:
        if piece := sums.piece(release, f"sets/{name}{suffix}", lists):
            return DistSet(name, (piece,))
    there = {file.split(".", 1)[0] for file in lists[0] if file.endswith(_SUFFIXES)}
    raise UsageError(
        f"{release.id} has no set `{name}`", f"it has: {', '.join(sorted(there)) or 'none'}"
    )


def _rank(name: str) -> int:
    """Kernel, base, etc and then the rest, as the installation notes have them."""
    return {"base": 1, "etc": 2}.get(name, 0 if name.startswith("kern") else 3)
