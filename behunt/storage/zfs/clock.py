"""Now, as boot environments note it."""

from __future__ import annotations

import datetime as dt


def now() -> str:
    """ISO 8601, UTC."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
