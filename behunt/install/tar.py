"""What tar(1) says when it fails."""

from __future__ import annotations

from behunt.hosts.protocol import Completed

_ASIDE = ("Removing leading", "Exiting with failure", "Error is not recoverable")


def why(done: Completed) -> str:
    """The first of its complaints, which the others follow from; or how it ended."""
    complaints = (
        line for line in done.err.splitlines() if line and not any(word in line for word in _ASIDE)
    )
    return next(complaints, done.how)
