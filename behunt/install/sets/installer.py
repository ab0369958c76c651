"""Install distribution sets: find them, fetch, check all, look into all, and only then unpack."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from behunt.errors import InstallError, UsageError
from behunt.hosts.facts import facts
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.hosts.sandbox import Sandbox
from behunt.install.protocol import Order, Origin, Say
from behunt.install.sets import members, places
from behunt.install.sets.finding import Found, find
from behunt.install.sets.protocol import DistSet, Family
from behunt.install.sets.tools import tools_of
from behunt.install.sets.unpacking import Unpacker
from behunt.model import Build, Release

# No network, and what tar may start dies with it.
_SANDBOX = Sandbox(namespaces=("mount", "pid", "net", "ipc"))


class Sets:
    """`families` by operating system and set format."""

    name = "sets"
    archived = False  # what vouches is checked each time, and unpacking is all the work there is
    anywhere = True

    def __init__(self, families: Mapping[tuple[str, str], Family]) -> None:
        self._families = families

    def serves(self, release: Release) -> bool:
        return (release.os, release.set_format) in self._families

    def _family(self, order: Order) -> Family:
        return self._families[order.release.os, order.release.set_format]

    def local(self, order: Order) -> bool:
        return bool(order.mirror) and not places.is_url(order.mirror.removeprefix("file://"))

    def missing(self, order: Order) -> str:
        if order.packages:
            raise UsageError(
                f"no packages can be added to {order.release.id}: it is made of sets",
                "leave out --package, and name further sets with --set",
            )
        family = self._family(order)
        family.sets(order)
        there = facts(order.host)
        if not there.root:
            return f"unpacking sets needs root on {order.host.name}"
        tools = tools_of(there.system)
        if order.host.run(["sh", "-c", f"command -v {tools.tar}"]).code != 0:
            return f"{tools.tar} is not installed on {order.host.name}: {tools.install}"
        return family.missing(order)

    def recipe(self, order: Order) -> str:
        return f"sets {' '.join(self._family(order).sets(order))} of {order.release.id}"

    def resolve(self, order: Order) -> Origin:
        return find(order, self._family(order)).origin

    def install(self, order: Order, origin: Origin, root: Path, say: Say) -> Build:
        found = find(order, self._family(order), origin.url)
        if found.origin.digest != origin.digest:
            raise InstallError(
                f"the sets in {origin.url} have changed since they were looked up",
                "wait until whoever changes them has finished, and try again",
            )
        tools = tools_of(facts(order.host).system)
        host = LocalHost(_SANDBOX, "local") if isinstance(order.host, LocalHost) else order.host
        unpacker = Unpacker(host, tools, PurePosixPath(root), order.timeout)
        lost = _filled(order, found, unpacker, say)
        family = self._family(order)
        family.finish(order, unpacker.root)
        unpacker.check_arch(order.release)
        silent = unpacker.ask(order.release, family.oracles(order.release), say)
        return Build(self.recipe(order), found.origins, notes=(*origin.notes, *lost, *silent))


def _filled(order: Order, found: Found, unpacker: Unpacker, say: Say) -> tuple[str, ...]:
    """Unpack all sets of `found`. Returns notes on what could not be kept."""
    with _stage(order.host, unpacker.root) as stage:
        pieces = [piece for item in found.sets for piece in item.pieces]
        files = found.place.bring(pieces, stage, say)
        say(f"checking {len(files)} files")
        unpacker.verify(pieces, files)
        by_set = _dealt(found.sets, files)
        left_out, flagged = _examined(unpacker, by_set, say)
        for item, own in by_set:
            say(f"unpacking {item.name}")
            unpacker.unpack(item, own, left_out[item.name])
    return _notes(sum(map(len, left_out.values())), flagged)


def _dealt(
    sets: Sequence[DistSet], files: Sequence[PurePosixPath]
) -> list[tuple[DistSet, list[PurePosixPath]]]:
    """Each set with the files that are its pieces."""
    rest = iter(files)
    return [(item, [next(rest) for _ in item.pieces]) for item in sets]


def _examined(
    unpacker: Unpacker, by_set: Sequence[tuple[DistSet, list[PurePosixPath]]], say: Say
) -> tuple[dict[str, list[str]], int]:
    """Look into every archive before the first is unpacked. Raises InstallError.

    Returns the members that are left out of each, and how many file flags are lost.
    """
    vetting = members.Vetting({})
    left_out: dict[str, list[str]] = {}
    flagged = 0
    for item, files in by_set:
        say(f"looking into {item.name}")
        found = unpacker.look(item, files)
        vetting.take(found, item.devices)
        left_out[item.name] = [m.name for m in found if members.is_left_out(m, item.devices)]
        for line in unpacker.flagged(item, files):
            say(f"not set here: {line}")
            flagged += 1
    return left_out, flagged


def _notes(devices: int, flagged: int) -> tuple[str, ...]:
    notes = []
    if devices:
        notes.append(f"device nodes left out: {devices}")
    if flagged:
        notes.append(f"file flags such as schg are not kept here: {flagged}, named in the log")
    return tuple(notes)


@contextlib.contextmanager
def _stage(host: Host, root: PurePosixPath) -> Iterator[PurePosixPath]:
    """A directory in the root that is filled: what is left there goes with it."""
    stage = root / members.RESERVED
    host.run(["mkdir", "-m", "0700", str(stage)], check=True)
    yield stage
    host.run(["rm", "-rf", str(stage)], check=True)
