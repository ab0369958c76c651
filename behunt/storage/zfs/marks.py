"""The user properties that say what a dataset of ours is.

Children inherit them, also children that somebody else makes: only what is set on a dataset
itself counts (Dataset.local).

| property | on | value |
|---|---|---|
| behunt:owner | every dataset of ours | `<home>:<token>` of the behunt that made it |
| behunt:state | boot environments and clones | State |
| behunt:release | boot environments | Release.id, or nothing |
| behunt:layout | boot environments | a name in layouts.LAYOUTS |
| behunt:build, behunt:build.<n> | installed boot environments | what was installed (builds.py) |
"""

from __future__ import annotations

from enum import StrEnum

from behunt.storage.zfs.door import Dataset

OWNER = "behunt:owner"
STATE = "behunt:state"
RELEASE = "behunt:release"
LAYOUT = "behunt:layout"
BUILD = "behunt:build"

# Its snapshots would be in the way of whoever destroys what they were taken of.
NO_AUTO_SNAPSHOT = {"com.sun:auto-snapshot": "false"}


class State(StrEnum):
    NEW = "new"  # being made, or filled
    EMPTY = "empty"  # made for the user to fill
    INSTALLED = "installed"  # sealed, with its Build
    KEPT = "kept"  # a lasting clone of something that was not sealed
    RUN = "run"  # a run's clone


def is_ours(dataset: Dataset) -> bool:
    return bool(dataset.local(OWNER))


def state_of(dataset: Dataset) -> State | None:
    try:
        return State(dataset.local(STATE))
    except ValueError:
        return None
