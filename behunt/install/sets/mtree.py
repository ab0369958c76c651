"""Read mtree(5) descriptions, which came beside the sets of FreeBSD up to 8.4."""

from __future__ import annotations

from dataclasses import dataclass

from behunt.errors import InstallError
from behunt.install.sets.members import Member, unescaped

# release/Makefile describes the tree, and tars it without these.
_NOT_ARCHIVED = {"CVS", ".svn", "obj", "BOOTMFS"}
_TYPES = {"file": "-", "link": "l", "dir": "d"}


@dataclass(frozen=True, slots=True)
class Described:
    """What one entry must be. `type` as ls(1) shows it; empty what it does not say."""

    name: str  # below the directory that is described; the directory itself is not listed
    type: str
    size: int | None = None
    link: str = ""
    md5: str = ""


def parse(text: str) -> list[Described]:
    """Files, links and directories in the order of `text`, which is as `mtree -c` writes it."""
    entries: list[Described] = []
    defaults: dict[str, str] = {}
    above: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        keys = dict(word.partition("=")[::2] for word in words[1:])
        if words[0] == "/set":
            defaults |= keys
        elif words[0] == "..":
            above = above[:-1]
        elif words[0] != "/unset":
            name = unescaped(words[0])
            entry = _entry("/".join([*above[1:], name]), defaults | keys)
            if above and entry.type in _TYPES.values():
                entries.append(entry)
            if entry.type == "d":
                above.append(name)
    return entries


def _entry(name: str, keys: dict[str, str]) -> Described:
    kind = _TYPES.get(keys.get("type", "file"), "other")
    size = int(keys["size"]) if kind == "-" and keys.get("size", "").isdigit() else None
    md5 = keys.get("md5digest", keys.get("md5", ""))
    return Described(name, kind, size, unescaped(keys.get("link", "")), md5 if kind == "-" else "")


def check(described: list[Described], members: list[Member], what: str) -> None:
    """Compare types, sizes and targets with what an archive holds. Raises InstallError.

    `members` are named as they are in `described`. Directories only have to be directories:
    empty ones are not archived.
    """
    there = {member.name: member for member in members}
    for entry in described:
        if _NOT_ARCHIVED & set(entry.name.split("/")):
            continue
        if why := _difference(entry, there.get(entry.name)):
            raise InstallError(
                f"{what} is not what its .mtree describes: {entry.name} {why}",
                "take the set from another mirror with --mirror",
            )


def _difference(entry: Described, member: Member | None) -> str:
    if member is None:
        return "" if entry.type == "d" else "is missing"
    kind = "-" if member.type == "h" else member.type
    if kind != entry.type:
        return f"is of type {kind}, not {entry.type}"
    if entry.type == "l" and member.link != entry.link:
        return f"points to {member.link}, not to {entry.link}"
    if member.type == "-" and entry.size is not None and member.size != entry.size:
        return f"has {member.size} bytes, not {entry.size}"
    return ""
