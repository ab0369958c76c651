"""Names of boot environments, and the names of datasets that stand for them.

A dataset's component has letters, digits and `_ . : -` (zfs(8)); other characters of a name are
written `:` and two hexadecimal digits, so that most names stay as they are and bectl(8) shows
them. What is in passing is a sibling, with its owner in its name:

    debian-12-amd64                     the boot environment
    debian-12-amd64:2bcurl              debian-12-amd64+curl
    debian-12-amd64:new.<home>.<token>.<n>     being made
    debian-12-amd64:fill.<home>.<token>.<n>    made empty by the user, being filled
    debian-12-amd64:run.<home>.<token>.<n>     a run's clone
    debian-12-amd64:old.<home>.<token>.<n>     being destroyed

None of the four begins with two hexadecimal digits, so no name is taken for another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from behunt.errors import UsageError

INSTALLED = "installed"  # the snapshot that a sealed boot environment is cloned from
EMPTY = "empty"  # the snapshot of one that is being filled, as it was before
_RESERVED = {INSTALLED, EMPTY}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~@-]{0,199}")
_PLAIN = re.compile(r"[A-Za-z0-9._-]")
_ESCAPED = re.compile(r":([0-9a-f]{2})")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")
_ROOT = re.compile(rf"[A-Za-z][A-Za-z0-9_.:-]*(/{_TAG.pattern})*")
_LONGEST = 255  # bytes of a dataset's or a snapshot's name (ZFS_MAX_DATASET_NAME_LEN, less NUL)


class Passing(StrEnum):
    """Why a dataset is there in passing."""

    NEW = "new"
    FILL = "fill"
    RUN = "run"
    OLD = "old"


@dataclass(frozen=True, slots=True)
class Suffix:
    """Whose a dataset in passing is. `number` tells it from the others of its owner."""

    kind: Passing
    home: str  # Home.id
    token: str  # Owner.token
    number: int

    def __str__(self) -> str:
        return f"{self.kind}.{self.home}.{self.token}.{self.number}"


_SUFFIX = re.compile(
    rf"(?P<kind>{'|'.join(Passing)})\.(?P<home>[0-9a-f]{{6}})"
    r"\.(?P<token>\d+x[0-9a-f]{6})\.(?P<number>\d+)"
)
_ROOM = len(f":{Passing.FILL}.000000.4194304x000000.9999@{INSTALLED}")  # beyond a name


def suffix_in(text: str) -> Suffix | None:
    """The suffix that `text` is, whole."""
    found = _SUFFIX.fullmatch(text)
    if found is None:
        return None
    return Suffix(Passing(found["kind"]), found["home"], found["token"], int(found["number"]))


def is_name(name: str) -> bool:
    """Whether `name` can be that of a boot environment."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    if not is_name(name):
        raise UsageError(
            f"`{name}` cannot name a boot environment",
            "use up to 200 letters, digits and . _ + ~ @ -, and begin with a letter or digit",
        )
    return name


def check_root(root: str) -> str:
    """`root`, if a dataset can have that name. Raises UsageError."""
    if not _ROOT.fullmatch(root) or len(root) > _LONGEST:
        raise UsageError(
            f"`{root}` cannot be the dataset of a store",
            "name a pool and a dataset in it, such as zroot/behunt",
        )
    return root


def check_tag(tag: str) -> str:
    """`tag`, if a user may give it to a snapshot. Raises UsageError."""
    if not _TAG.fullmatch(tag):
        raise UsageError(
            f"`{tag}` cannot name a snapshot", "use letters, digits and . _ : -, without a @"
        )
    if tag in _RESERVED:
        raise UsageError(f"the snapshot name {tag} is behunt's own", "choose another")
    return tag


def encoded(name: str) -> str:
    """The component that stands for `name`.

    >>> encoded("debian-12-amd64+g++")
    'debian-12-amd64:2bg:2b:2b'
    """
    return "".join(c if _PLAIN.fullmatch(c) else f":{ord(c):02x}" for c in name)


def decoded(component: str) -> str:
    """The name that `component` stands for; empty if it stands for none."""
    name = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), component)
    return name if is_name(name) and encoded(name) == component else ""


def parted(component: str) -> tuple[str, Suffix | None]:
    """Name and suffix of a component; the name is empty where it is none of ours."""
    plain, colon, tail = component.rpartition(":")
    suffix = suffix_in(tail) if colon else None
    return (decoded(plain), suffix) if suffix else (decoded(component), None)


def check_length(root: str, name: str, deepest: int) -> None:
    """Refuse a name that ZFS would, in the middle of a hunt. `deepest`: longest child's name."""
    longest = len(f"{root}/{encoded(name)}") + deepest + _ROOM
    if longest > _LONGEST:
        raise UsageError(
            f"the name {name} is {longest - _LONGEST} characters too long below {root}",
            "choose a shorter one, or a dataset with a shorter name for the store",
        )
