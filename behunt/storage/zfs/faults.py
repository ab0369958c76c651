"""What ZFS says when it cannot, and what that means for who reads it."""

from __future__ import annotations

from behunt.errors import HostError


class TakenError(HostError):
    """A dataset of that name is there already."""


class GoneError(HostError):
    """There is no such dataset."""
