"""Homes of behunt that need not install what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from behunt.storage.home import Home

_NETWORK = {"interface": "lab0", "address": "10.77.0.1/24"}


def sharing(path: Path, kept: Path) -> Home:
    """An empty home at `path`, whose archives, kernels and machines are the kept ones."""
    (path / "cache").mkdir(parents=True)
    for name in ("installed", "uml", "machines"):
        (kept / name).mkdir(exist_ok=True)
        (path / "cache" / name).symlink_to(kept / name)
    return Home(path).make()


def netbooting(path: Path, kept: Path, releases: Sequence[str]) -> Home:
    """One where these are installed, and ready for the machines of a lab, which has no Internet."""
    # Not for all tests: what is emulated takes seconds to import it.
    from behunt import catalogue  # noqa: PLC0415
    from behunt.drive.installing import ensure  # noqa: PLC0415
    from behunt.drive.lab import opened  # noqa: PLC0415
    from behunt.netboot.lab import lab_of  # noqa: PLC0415
    from behunt.runners.metal import MetalRunner, nobody  # noqa: PLC0415

    home = sharing(path, kept)
    known = catalogue.load("debian")
    metal = MetalRunner(home, lab_of({"lab": _NETWORK}), "", nobody)
    with opened(home.path, "namespace") as here:
        for name in releases:
            release = catalogue.find(known, name)
            with here.store.clone(ensure(here, release)) as clone:
                metal.prepare(release, clone)
    return home
