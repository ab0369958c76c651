"""FreeBSD's distribution sets since 9.0: `X.txz`, and a MANIFEST (make-manifest.sh)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from behunt.errors import InstallError, UsageError
from behunt.install.protocol import Order
from behunt.install.sets.protocol import DistSet, NotAsPinnedError, Oracle, Piece
from behunt.model import Release

MIRROR = "take the sets from another mirror with --mirror"
_RELEASES = ("releases", "FreeBSD/releases", "pub/FreeBSD/releases")
_ARCHIVED = (
    "old-releases",
    "FreeBSD-Archive/old-releases",
    "pub/FreeBSD-Archive/old-releases",
)
_SNAPSHOTS = ("snapshots", "FreeBSD/snapshots", "pub/FreeBSD/snapshots")


def full_version(release: Release) -> str:
    """`11.1-RELEASE`; a version that names its branch keeps it: `14.3-STABLE`."""
    return release.version if "-" in release.version else f"{release.version}-RELEASE"


def directories(release: Release) -> tuple[str, ...]:
    """One or two levels of architecture (Makefile.mirrors), or none, and last the mirror itself."""
    arch, version = release.arch, full_version(release)
    tops = (*_RELEASES, *_ARCHIVED) if version.endswith("-RELEASE") else _SNAPSHOTS
    levels = (f"{arch}/{release.trait('machine', arch)}", arch)
    whole = (f"{top}/{level}/{version}" for top in tops for level in levels)
    return (*whole, *(f"{level}/{version}" for level in levels), version, "")


def oracles(release: Release) -> tuple[Oracle, ...]:
    version = re.escape(full_version(release))
    numbers = re.findall(r"\d+", release.version)
    found = [
        Oracle(
            release.trait("kernel_path", "/boot/kernel/kernel").lstrip("/"),
            r"FreeBSD [0-9]+\.[0-9.]+-[A-Z]+[0-9]*(-p[0-9]+)?",
            rf"FreeBSD {version}(-p\d+)?",
        ),
        Oracle(
            "bin/freebsd-version",
            '^USERLAND_VERSION="[^"]*"',
            rf'USERLAND_VERSION="{version}(-p\d+)?"',
        ),
        Oracle(
            "etc/motd",
            r"^FreeBSD [0-9]+\.[0-9.]+-[A-Z]+[0-9]*",
            f"FreeBSD {version}",
        ),
    ]
    if int(numbers[0]) >= 5:  # noqa: PLR2004 - before, the number did not follow the version
        number = int(numbers[0]) * 100 + int(numbers[1])
        pattern = "^#define[[:space:]]+__FreeBSD_version[[:space:]]+[0-9]+"
        wanted = rf"#define\s+__FreeBSD_version\s+{number}\d{{3}}"
        found += [
            Oracle(path, pattern, wanted)
            for path in ("usr/include/sys/param.h", "usr/include/osreldate.h")
        ]
    return tuple(found)


class FreeBSD:
    """What both eras have in common."""

    def missing(self, order: Order) -> str:
        del order
        return ""

    def directories(self, release: Release) -> tuple[str, ...]:
        return directories(release)

    def oracles(self, release: Release) -> tuple[Oracle, ...]:
        return oracles(release)

    def vouch(
        self, order: Order, sets: Sequence[DistSet], texts: Mapping[str, bytes]
    ) -> tuple[str, ...]:
        """FreeBSD signs neither: only a digest that the catalogue pins vouches for a set."""
        del texts
        pinned = dict(order.release.pinned)
        unknown = []
        for item in sets:
            for piece in item.pieces:
                if piece.path not in pinned:
                    unknown.append(item.name)
                elif dict(piece.digests)["sha256"] != pinned[piece.path]:
                    raise NotAsPinnedError(
                        f"{piece.path} is not that of {order.release.id}: the catalogue has "
                        f"another SHA-256 for it than its {order.release.trait('checksum_file')}",
                        MIRROR,
                    )
        names = ", ".join(dict.fromkeys(unknown))
        return (f"unverified source: nobody signed the digests of {names}",) if names else ()


class Manifest(FreeBSD):
    """9.0 and later: `X.txz`, and a MANIFEST with digests and numbers of members."""

    def sets(self, order: Order) -> tuple[str, ...]:
        usual = (order.release.trait("base_set"), order.release.trait("kernel_set"))
        named = (name.removesuffix(".txz") for name in order.sets or usual if name)
        return base_first(order.release.trait("base_set").removesuffix(".txz"), named)

    def vouchers(self, release: Release, sets: Sequence[str]) -> tuple[str, ...]:
        del release, sets
        return ("MANIFEST",)

    def read(
        self, release: Release, sets: Sequence[str], texts: Mapping[str, bytes]
    ) -> tuple[DistSet, ...]:
        listed = manifest(texts["MANIFEST"].decode(errors="replace"))
        if strange := [name for name in sets if name not in listed]:
            raise unknown_sets(release, strange, listed)
        return tuple(listed[name] for name in sets)

    def finish(self, order: Order, root: PurePosixPath) -> None:
        """Nothing: the kernel set has its place."""


def manifest(text: str) -> dict[str, DistSet]:
    """The sets of a MANIFEST, by name. Raises InstallError."""
    listed = {}
    for line in text.splitlines():
        match line.split("\t"):
            case [file, digest, count, *_] if (
                re.fullmatch(r"[\w.-]+", file)
                and re.fullmatch("[0-9a-f]{64}", digest)
                and count.isdecimal()
            ):
                name = file.removesuffix(".txz")
                piece = Piece(file, (("sha256", digest),))
                listed[name] = DistSet(name, (piece,), entries=int(count))
            case _:
                raise InstallError(f"its MANIFEST is damaged: `{line[:120]}`", MIRROR)
    if not listed:
        raise InstallError("its MANIFEST is empty", MIRROR)
    return listed


def base_first(base: str, names: Iterable[str]) -> tuple[str, ...]:
    """All others may replace what base has of theirs, an empty directory at most."""
    return tuple(sorted(dict.fromkeys(names), key=lambda name: name != base))


def unknown_sets(release: Release, unknown: Sequence[str], known: Iterable[str]) -> UsageError:
    return UsageError(
        f"{release.id} has no set `{unknown[0]}`",
        f"it has {', '.join(sorted(name for name in known if name))}",
    )
