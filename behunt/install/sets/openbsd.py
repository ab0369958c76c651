"""OpenBSD's sets: `base77.tgz` and its siblings, and kernels that are plain files.

From 5.5 the list of digests is signed with the key of that very release, which the release
before it carries in /etc/signify. Older ones have a list that nobody signed: MD5 up to 4.4,
SHA256 some time after (etc/Makefile; distrib/miniroot/install.sub for the order of the sets).
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from behunt.errors import InstallError, UsageError
from behunt.hosts.facts import facts
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import CLEAN_ENV
from behunt.install.protocol import Order
from behunt.install.sets import members, sums
from behunt.install.sets.protocol import DistSet, Oracle
from behunt.install.sets.tools import tools_of
from behunt.install.sets.unpacking import Unpacker
from behunt.model import Release

KEYS = (Path("/etc/signify"), Path("/usr/share/signify-openbsd-keys"))
# Debian has another program of the name signify: its own name for this one goes first.
SIGNIFY = ("signify-openbsd", "signify")
_KERNELS = ("bsd", "bsd.rd", "bsd.mp", "bsd.sp")
# As install.sub takes them: what a site made of its own comes last, over all others.
_UNPACKED = (*_KERNELS, "base", "etc", "misc", "comp", "man", "game")
_X = ("xbase", "xetc", "xshare", "xfont", "xserv")
_NAME = re.compile(r"[a-z][a-z0-9.-]*")


class OpenBSD:
    """`Family` of every OpenBSD release."""

    def missing(self, order: Order) -> str:
        if not order.release.trait("signify_key"):
            return ""
        if _signify() is None:
            return "signify is not installed: apt install signify-openbsd"
        key = _key(order)
        if key.is_file():
            return ""
        if order.keyring:
            return f"there is no key {key}"
        looked = " and ".join(str(directory) for directory in KEYS)
        return (
            f"the key {key.name} of {order.release.id} is not in {looked}: apt install "
            "signify-openbsd-keys, or take it from /etc/signify of that OpenBSD or of the one "
            f"before it; put it into {KEYS[0]}, or name the directory that has it with --keyring"
        )

    def directories(self, release: Release) -> Sequence[str]:
        tree = f"{release.version}/{release.arch}"
        return (f"pub/OpenBSD/{tree}", f"OpenBSD/{tree}", tree, release.arch, "")

    def sets(self, order: Order) -> tuple[str, ...]:
        names = order.sets or tuple(order.release.trait("usual_sets").split())
        if strange := [name for name in names if not _NAME.fullmatch(name)]:
            raise UsageError(
                f"{order.release.id} cannot have a set `{strange[0]}`",
                f"give its name without version and suffix: {' '.join(_UNPACKED)}",
            )
        return tuple(dict.fromkeys(names))

    def vouchers(self, release: Release, sets: Sequence[str]) -> Sequence[str]:
        del sets
        lists = release.trait("checksum_file").split()
        # Which of two it has is not known, what every release has is its INSTALL.
        return lists if len(lists) == 1 else [f"INSTALL.{release.arch}", *lists]

    def read(
        self, release: Release, sets: Sequence[str], texts: Mapping[str, bytes]
    ) -> tuple[DistSet, ...]:
        lists = [
            sums.parse(_signed(texts[name]) if name.endswith(".sig") else texts[name], name)
            for name in release.trait("checksum_file").split()
            if name in texts
        ]
        if not lists:
            raise InstallError(
                f"nothing says what the files of {release.id} must be: "
                f"there is no {release.trait('checksum_file').replace(' ', ' and no ')}",
                "name another mirror",
            )
        return tuple(_set(release, name, lists) for name in sorted(sets, key=_rank))

    def vouch(
        self, order: Order, sets: Sequence[DistSet], texts: Mapping[str, bytes]
    ) -> tuple[str, ...]:
        if order.release.trait("signify_key"):
            verify(_key(order), texts["SHA256.sig"], order.release)
            return ()
        if sums.pinned(order.release, sets):
            return ()
        return (
            f"{order.release.label} was never signed: what was fetched is whole, but nobody "
            "vouches that it is OpenBSD's",
        )

    def oracles(self, release: Release) -> tuple[Oracle, ...]:
        version = re.escape(release.version)
        return (
            Oracle("bsd", r"OpenBSD [0-9.]+ \(GENERIC", rf"OpenBSD {version} \(GENERIC"),
            Oracle(
                "usr/include/sys/param.h",
                "^#define[[:space:]]+OpenBSD[0-9]+_[0-9]+",
                rf"#define\s+OpenBSD{release.version.replace('.', '_')}",
            ),
        )

    def finish(self, order: Order, root: PurePosixPath) -> None:
        """Unpack what the installer would: from 5.7 the content of /etc lies inside base."""
        inside = order.release.trait("etc_inside")
        for name in ("etc.tgz", "xetc.tgz") if inside else ():
            archive = root / inside / name
            if order.host.run(["test", "-f", str(archive)]).code == 0:
                _unpack(order, archive, root)


def _unpack(order: Order, archive: PurePosixPath, root: PurePosixPath) -> None:
    tools = tools_of(facts(order.host).system)
    unpacker = Unpacker(order.host, tools, root, order.timeout)
    item = DistSet(archive.stem, ())
    members.Vetting({}).take(unpacker.look(item, [archive]))
    unpacker.unpack(item, [archive], ())


def verify(key: Path, signed: bytes, release: Release) -> None:
    """Raises InstallError unless `signed`, a SHA256.sig, is signed by `key`, all of it."""
    program = _signify() or SIGNIFY[0]
    with tempfile.TemporaryDirectory(prefix="behunt-signify-") as directory:
        signature, message = Path(directory, "SHA256.sig"), Path(directory, "SHA256")
        signature.write_bytes(signed)
        argv = [program, "-V", "-e", "-p", str(key), "-x", str(signature), "-m", str(message)]
        done = LocalHost().run(argv)
        # What it vouches for is what it writes: an exit status alone could be any program's.
        if done.code == 0 and message.is_file() and message.read_bytes() == _signed(signed):
            return
    said = (done.err.strip().splitlines() or [done.how])[-1]
    raise InstallError(
        f"SHA256.sig of {release.id} is not signed by {key}: {said}",
        "this mirror's files are not what OpenBSD released: name another, or the right key",
    )


def _signify() -> str | None:
    return next((name for name in SIGNIFY if shutil.which(name, path=CLEAN_ENV["PATH"])), None)


def _key(order: Order) -> Path:
    """The key that must have signed the release."""
    return order.key_file(order.release.trait("signify_key"), KEYS)


def _signed(text: bytes) -> bytes:
    """The message inside a SHA256.sig: all that follows its comment and its signature."""
    return b"".join(text.split(b"\n", 2)[2:])


def _set(release: Release, name: str, lists: Sequence[sums.Sums]) -> DistSet:
    nodot = release.version.replace(".", "")
    kernel = name in _KERNELS
    piece = sums.piece(release, name if kernel else f"{name}{nodot}.tgz", lists)
    if piece is None:
        suffix = f"{nodot}.tgz"
        there = {file.removesuffix(suffix) for file in lists[0] if file.endswith(suffix)}
        there |= set(_KERNELS) & set(lists[0])
        raise UsageError(
            f"{release.id} has no set `{name}`", f"it has: {', '.join(sorted(there)) or 'none'}"
        )
    return DistSet(name, (piece,), file=name if kernel else "")


def _rank(name: str) -> int:
    known = (*_UNPACKED, *_X)
    return known.index(name) if name in known else len(known)
