"""Which releases a command is about, and in which order. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

from behunt.catalogue.expand import Entry, host_arch
from behunt.catalogue.load import Catalogue
from behunt.catalogue.names import built_for, resolve, single_names, split_os
from behunt.errors import UsageError
from behunt.model import Release

Order: TypeAlias = Literal["version", "date", "branch"]
Days: TypeAlias = tuple[dt.date | None, dt.date | None]


@dataclass(frozen=True, slots=True)
class Selection:
    """Releases of one OS: what the names mean, within the ends, minus what is excluded.

    A name is anything `find` knows, a range `9.3..11.1` (either end may be left out, and both
    are part of it, whichever way round), a glob `11.*`, or several of these with commas
    between. No names: all. `between` are first and last day of release, None where open.

    `from_` and `to` are the ends of a hunt, which stays on one architecture: `arch`, or the one
    in an end's name, or the first of this machine's, amd64 and the others that every release
    of the range has. With one end only it is that end's, and releases without it drop out.
    Otherwise every release has its own default, and `arch` drops those not built for it.
    """

    names: tuple[str, ...] = ()
    from_: str | None = None
    to: str | None = None
    between: Days | None = None
    order: Order = "version"
    exclude: tuple[str, ...] = ()
    arch: str | None = None
    os: str | None = None

    @property
    def ends(self) -> tuple[str, ...]:
        return tuple(end for end in (self.from_, self.to) if end is not None)


def select(catalogue: Catalogue, selection: Selection) -> tuple[Release, ...]:
    """The selected releases, in the selected order.

    A range is what lies between its ends in that order: by date, 9.3..11.1 has no FreeBSD 10.0.
    One release is returned where both ends are the same. Raises UsageError for an unknown name
    and where nothing is left.
    """
    scope = _scope(catalogue, selection)
    excluded = scope.meant(selection.exclude)
    named = scope.meant(selection.names)
    chosen = {
        index: named.get(index)
        for index in scope.span(selection.from_ or "", selection.to or "")
        if (index in named or not selection.names)
        and index not in excluded
        and _released_between(scope.entries[index], selection.between)
    }
    builds = (_hunted if selection.ends else _listed)(scope, selection, chosen)
    if not builds:
        raise UsageError(
            f"no release of {scope.os} is left of {_said(selection)}",
            f"Widen it; `behunt releases --os {scope.os}` lists all {len(scope.entries)}.",
        )
    return builds


def parse_days(text: str) -> Days:
    """`2014-01-01..2017-12-31`; either day may be left out. Raises UsageError."""
    first, dots, last = text.partition("..")
    try:
        days = (_day(first), _day(last))
    except ValueError:
        days = (None, None)
    if not dots or days == (None, None):
        raise UsageError(
            f"{text!r} is no span of days", "Write 2014-01-01..2017-12-31, or leave one day out."
        )
    if days[0] and days[1] and days[0] > days[1]:
        raise UsageError(f"the last day of {text!r} is before the first", "Turn them round.")
    return days


def _day(text: str) -> dt.date | None:
    return dt.date.fromisoformat(text.strip()) if text.strip() else None


def _by_date(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """What moves has no date: it is as new as today, and stays last."""
    return tuple(sorted(entries, key=lambda entry: entry.builds[0].date or dt.date.max))


def _by_branch(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Branch after branch, in the order of their first releases; each by date."""
    branches: dict[str, list[Entry]] = {}
    for entry in _by_date(entries):
        branches.setdefault(entry.builds[0].branch, []).append(entry)
    return tuple(entry for branch in branches.values() for entry in branch)


ORDERS: Mapping[Order, Callable[[Sequence[Entry]], tuple[Entry, ...]]] = {
    "version": tuple,
    "date": _by_date,
    "branch": _by_branch,
}


@dataclass(frozen=True, slots=True)
class _Scope:
    """One OS's releases in one order; names mean positions among them."""

    catalogue: Catalogue
    os: str
    entries: tuple[Entry, ...]

    def position(self, name: str) -> tuple[int, str | None]:
        """And the architecture, if the name has one."""
        entry, arch = resolve(self.catalogue, name, os=self.os)
        return self.entries.index(entry), arch

    def span(self, first: str, last: str) -> range:
        """From first to last, whichever way round; "" is the oldest or the newest."""
        start = self.position(first)[0] if first else 0
        end = self.position(last)[0] if last else len(self.entries) - 1
        return range(min(start, end), max(start, end) + 1)

    def meant(self, names: Iterable[str]) -> dict[int, str | None]:
        found: dict[int, str | None] = {}
        for name in (part.strip() for text in names for part in text.split(",")):
            first, dots, last = name.partition("..")
            if dots:
                found |= dict.fromkeys(self.span(first.strip(), last.strip()))
            elif set(name) & set("*?["):
                found |= dict.fromkeys(self.matching(name))
            elif name:
                found |= [self.position(name)]
        return found

    def matching(self, pattern: str) -> list[int]:
        _, rest = split_os(pattern, self.catalogue.systems, self.os)
        found = [
            index
            for index, entry in enumerate(self.entries)
            if any(fnmatchcase(name, rest) for name in entry.names)
        ]
        if not found:
            raise UsageError(
                f"no release of {self.os} matches {pattern!r}",
                f"`behunt releases --os {self.os}` lists all.",
            )
        return found


def _scope(catalogue: Catalogue, selection: Selection) -> _Scope:
    said = single_names((*selection.names, *selection.ends, *selection.exclude)) or [""]
    systems = sorted({split_os(name, catalogue.systems, selection.os)[0] for name in said})
    if len(systems) > 1:
        raise UsageError(
            f"a selection is of one operating system, not of {' and '.join(systems)}",
            "Run the command once for each; bare names need --os.",
        )
    return _Scope(catalogue, systems[0], ORDERS[selection.order](catalogue.of(systems[0])))


def _released_between(entry: Entry, days: Days | None) -> bool:
    """What moves counts as released today or later, what has no date as never."""
    if days is None:
        return True
    first, last = days
    release = entry.builds[0]
    date = dt.date.max if release.moving else release.date
    return date is not None and (first or dt.date.min) <= date <= (last or dt.date.max)


def _listed(
    scope: _Scope, selection: Selection, chosen: Mapping[int, str | None]
) -> tuple[Release, ...]:
    builds = []
    for index, named in chosen.items():
        entry = scope.entries[index]
        builds.append(entry.build(named or selection.arch or entry.default.arch))
    return tuple(build for build in builds if build)


def _hunted(
    scope: _Scope, selection: Selection, chosen: Mapping[int, str | None]
) -> tuple[Release, ...]:
    ends = [scope.position(end) for end in selection.ends]
    named = {arch for _, arch in ends if arch} | ({selection.arch} if selection.arch else set())
    if len(named) > 1:
        raise UsageError(
            f"a hunt stays on one architecture, not on {' and '.join(sorted(named))}",
            "Name one, with --arch.",
        )
    entries = [scope.entries[index] for index in chosen]
    bound = [scope.entries[index] for index, _ in ends]
    arch = named.pop() if named else _common_arch(entries if len(ends) > 1 else bound)
    for end in bound:
        built_for(end, arch)
    return tuple(build for entry in entries if (build := entry.build(arch)))


def _common_arch(entries: Sequence[Entry]) -> str:
    if not entries:
        return host_arch()
    everywhere = set.intersection(*({b.arch for b in entry.builds} for entry in entries))
    wanted = (host_arch(), "amd64", *(build.arch for build in entries[0].builds))
    for arch in wanted:
        if arch in everywhere:
            return arch
    first, last = entries[0].builds[0], entries[-1].builds[0]
    raise UsageError(
        f"no architecture is common to all of {first.os} {first.version} to {last.version}",
        "Narrow the range, or name one with --arch: releases without it are left out.",
    )


def _said(selection: Selection) -> str:
    first, last = selection.between or (None, None)
    words = [
        *selection.names,
        f"{selection.from_ or ''}..{selection.to or ''}" if selection.ends else "",
        f"--between {first or ''}..{last or ''}" if selection.between else "",
        *(f"--exclude {name}" for name in selection.exclude),
        f"--arch {selection.arch}" if selection.arch else "",
    ]
    return " ".join(word for word in words if word) or "it"
