"""What a user may do with datasets, as zfs-allow(8) tells it."""

from __future__ import annotations

from behunt.storage.zfs.privileges import NEEDED, allowed, grant, missing

TOLD = """\
---- Permissions on tank/behunt --------------------------------------
Local permissions:
\tuser ci destroy
Local+Descendent permissions:
\tuser alice create,mount,snapshot
\tgroup staff clone,hold
\teveryone send
---- Permissions on tank ---------------------------------------------
Descendent permissions:
\tuser ci create
"""


def test_what_holds_here_and_below_counts() -> None:
    assert allowed(TOLD, "alice") == {"create", "mount", "snapshot", "send"}
    assert allowed(TOLD, "bob", ["staff"]) == {"clone", "hold", "send"}


def test_what_holds_only_here_or_only_below_does_not() -> None:
    assert allowed(TOLD, "ci") == {"send"}


def test_nobody_is_allowed_anything_at_first() -> None:
    assert missing("", "ci") == list(NEEDED)


def test_what_is_granted_is_what_is_missing() -> None:
    lacking = missing(TOLD, "alice")
    assert {"create", "mount", "snapshot"}.isdisjoint(lacking)
    assert grant("tank/behunt", "alice", ["clone", "hold"]) == (
        "zfs allow -u alice clone,hold tank/behunt"
    )
    everything = "Local+Descendent permissions:\n\tuser alice " + ",".join(NEEDED)
    assert missing(everything, "alice") == []
