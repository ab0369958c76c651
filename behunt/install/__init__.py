"""Installers by name, and which of them a release calls for."""

from __future__ import annotations

from behunt.errors import InstallError
from behunt.install.mmdebstrap import Mmdebstrap
from behunt.install.protocol import Installer
from behunt.install.tree import Tree
from behunt.model import Release

INSTALLERS: dict[str, Installer] = {"mmdebstrap": Mmdebstrap(), "tree": Tree()}


def installer_for(release: Release) -> Installer:
    """Raises InstallError where behunt has none for the release's set format."""
    name = release.trait("installer")
    if name in INSTALLERS:
        return INSTALLERS[name]
    if not release.sources:
        raise InstallError(
            f"{release.id} has no source to install",
            "give it a `source` in your catalogue, or use --runner none",
        )
    raise InstallError(
        f"behunt cannot install {release.id} yet: it has no installer `{name or 'unknown'}`",
        f"installers here: {', '.join(sorted(INSTALLERS))}",
    )
