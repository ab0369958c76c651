"""Homes of behunt that need not install what is kept."""

from __future__ import annotations

from pathlib import Path

from behunt.storage.home import Home


def sharing(path: Path, kept: Path) -> Home:
    """An empty home at `path`, whose archives, kernels and machines are the kept ones."""
    (path / "cache").mkdir(parents=True)
    for name in ("installed", "uml", "machines"):
        (kept / name).mkdir(exist_ok=True)
        (path / "cache" / name).symlink_to(kept / name)
    return Home(path).make()
