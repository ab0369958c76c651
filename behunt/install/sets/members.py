"""What an archive would write, read from `bsdtar --numeric-owner -tvvf`, and what is refused.

libarchive escapes control characters and backslashes in that listing, so that a member is a line
and a name cannot pretend to be two. Owners are numbers. What is left of ambiguity, an arrow in a
name, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from behunt.errors import InstallError

RESERVED = ".behunt"  # below the root: where pieces wait while a root is filled

_LINE = re.compile(
    r"(?P<type>.)(?P<mode>[r-][w-][xsS-][r-][w-][xsS-][r-][w-][xtT-])[ +]? +"
    r"\d+ +\d+ +\d+ +(?P<size>\d+|\d+,\d+) "
    r"[A-Z][a-z]{2} [ \d]\d (?: \d{4}|\d\d:\d\d) (?P<name>.*)"
)
_FORMAT = re.compile(r"Archive Format: (?P<format>.*),  Compression: (?P<filter>.*)")
_FORMATS = {
    "GNU tar format",
    "POSIX pax interchange format",
    "POSIX ustar format",
    "tar (non-POSIX)",
}
_FILTERS = {"none", "gzip", "bzip2", "compress (.Z)", "lzma", "xz", "zstd"}
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_LETTERS = {
    letter.to_bytes(): meant.to_bytes()
    for letter, meant in zip(b"abfnrtvs", b"\a\b\f\n\r\t\v ", strict=True)
}
_HINT = "nothing was unpacked; take the set from a source you trust"
_LINK, _HARD_LINK = " -> ", " link to "
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_KINDS = {"b": "device", "c": "device", "p": "fifo", "s": "socket"}
_NAMES = {"-": "file", "h": "file", "d": "directory", "l": "link"}


@dataclass(frozen=True, slots=True)
class Member:
    """`type` as ls(1) shows it; `h` for a hard link. `name` has no leading or inner `.`."""

    name: str
    type: str
    mode: int = 0o644
    size: int = 0
    link: str = ""


def parse(listing: str) -> list[Member]:
    """The members of an archive in their order. Raises InstallError."""
    *lines, last = listing.rstrip("\n").split("\n")
    found = _FORMAT.fullmatch(last)
    if not found or found["format"] not in _FORMATS or found["filter"] not in _FILTERS:
        raise InstallError(f"an archive is refused, being no tar of a known kind: {last}", _HINT)
    return [_member(line) for line in lines if line]


def _member(line: str) -> Member:
    match = _LINE.fullmatch(line)
    if match is None:
        raise _refusal(line, "its line in the listing cannot be read")
    kind, name, link = match["type"], match["name"], ""
    separator = _LINK if kind == "l" else _HARD_LINK
    if kind == "l" or separator in name:
        kind = "l" if kind == "l" else "h"
        name, found, link = name.partition(separator)
        if not found or separator in link:
            raise _refusal(line, "an arrow in its name hides what it links to")
    size = 0 if "," in match["size"] else int(match["size"])
    return Member(unescaped(name), kind, _mode(match["mode"]), size, unescaped(link))


def unescaped(text: str) -> str:
    r"""Undo the escapes of libarchive's listings and of vis(3): `\040`, `\s`, `\n`, `\\`."""
    raw = text.encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(_character, raw).decode("utf-8", "surrogateescape")


def _character(escape: re.Match[bytes]) -> bytes:
    if len(escape[1]) > 1:
        return bytes([int(escape[1], 8) & 0xFF])
    return _LETTERS.get(escape[1], escape[1])


def _mode(text: str) -> int:
    """Permission bits of `rwsr-xr-t`."""
    bits = sum(1 << (8 - place) for place, sign in enumerate(text) if sign in "rwxst")
    special = (0o4000, 2), (0o2000, 5), (0o1000, 8)
    return bits | sum(bit for bit, place in special if text[place] in "sStT")


def placed(members: Iterable[Member], target: str) -> list[Member]:
    """The same as they will lie below the root, when they are unpacked in `target`.

    Raises InstallError for names and hard links that leave it.
    """
    return [
        replace(
            member,
            name=_inside(member, member.name, target),
            link=_inside(member, member.link, target) if member.type == "h" else member.link,
        )
        for member in members
    ]


def _inside(member: Member, name: str, target: str) -> str:
    if _CONTROL.search(name):
        raise _refusal(member.name, "it has control characters in a name")
    if name.startswith("/"):
        raise _refusal(
            member.name,
            "it has an absolute name"
            if name == member.name
            else f"it is a hard link to {name}, an absolute name",
        )
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise _refusal(member.name, "it leaves the root through `..`")
    return "/".join([*target.split("/"), *parts] if target else parts)


def below(members: Iterable[Member], directory: str) -> list[Member]:
    """Those in `directory`, `.` for all, with names relative to it."""
    prefix = "" if directory == "." else f"{directory}/"
    return [
        replace(member, name=member.name.removeprefix(prefix))
        for member in members
        if member.name.startswith(prefix)
    ]


@dataclass
class Vetting:
    """The root as the archives so far would leave it: the type of each name."""

    types: dict[str, str]

    def take(self, members: Iterable[Member], devices: str = "") -> None:
        """Add what one archive writes. Raises InstallError naming the member that is refused."""
        for member in members:
            if is_left_out(member, devices):
                continue
            if why := self._objection(member):
                raise _refusal(member.name, why)
            self.types[member.name] = member.type
            for parent in _parents(member.name):
                self.types.setdefault(parent, "d")

    def _objection(self, member: Member) -> str:
        if member.type not in "-dhl":
            return f"it is a {_KINDS.get(member.type, 'thing of unknown type')}"
        if member.name.split("/")[0] == RESERVED:
            return "its name is behunt's own"
        if member.type == "h" and self.types.get(member.link) not in {"-", "h"}:
            return f"it is a hard link to {member.link}, which is no file before it"
        return self._collision(member) or _identity_objection(member)

    def _collision(self, member: Member) -> str:
        for parent in _parents(member.name):
            if self.types.get(parent, "d") != "d":
                return f"it is written through {parent}, which is no directory"
        root = "" if member.name else "d"
        before = root or self.types.get(member.name, member.type)
        if _plain(before) != _plain(member.type):
            return f"it replaces a {_NAMES[before]} by a {_NAMES[member.type]}"
        return ""


def _identity_objection(member: Member) -> str:
    """Why its set-uid and set-gid bits are refused.

    On a program that others may write to they hand its owner's rights to whoever likes. On a
    directory set-uid means that rights are given away (suiddir), set-gid only inheritance.
    """
    if not member.mode & 0o6000:
        return ""
    if member.mode & 0o002:
        return "it is set-uid or set-gid and everyone may write to it"
    fine = member.type in "-h" or (member.type == "d" and not member.mode & 0o4000)
    return "" if fine else "it is set-uid or set-gid and no file"


def is_left_out(member: Member, devices: str) -> bool:
    """Whether it is a device node where this set has them; MAKEDEV or devfs makes those."""
    return bool(devices) and member.type in "bc" and member.name.startswith(f"{devices}/")


def _plain(kind: str) -> str:
    return "-" if kind == "h" else kind


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def _refusal(name: str, why: str) -> InstallError:
    return InstallError(
        f"an archive is refused for its member {name or '.'!r}: {why}",
        _HINT,
    )
