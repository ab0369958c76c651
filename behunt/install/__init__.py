"""Installers by name, and which of them a release calls for."""

from __future__ import annotations

from behunt.errors import InstallError
from behunt.install.mmdebstrap import Mmdebstrap
from behunt.install.protocol import Installer
from behunt.install.sets.freebsd import Manifest
from behunt.install.sets.freebsd_split import Split
from behunt.install.sets.installer import Sets
from behunt.install.sets.netbsd import NetBSD
from behunt.install.sets.openbsd import OpenBSD
from behunt.install.sets.pkgbase import Pkgbase, SetsOrPackages
from behunt.install.tree import Tree
from behunt.model import Release

SETS = Sets(
    {
        ("freebsd", "split-bin"): Split(),
        ("freebsd", "split-base"): Split(),
        ("freebsd", "txz-manifest"): Manifest(),
        ("freebsd", "pkgbase+txz"): Manifest(),
        ("netbsd", "tgz"): NetBSD(),
        ("netbsd", "tar.xz"): NetBSD(),
        ("openbsd", "tgz"): OpenBSD(),
    }
)
SETS_OR_PACKAGES = SetsOrPackages(SETS, Pkgbase())
INSTALLERS: dict[str, Installer] = {"mmdebstrap": Mmdebstrap(), "tree": Tree()}


def installer_for(release: Release) -> Installer:
    """Raises InstallError where behunt has none for the release's set format."""
    name = release.trait("installer")
    if name in INSTALLERS:
        return INSTALLERS[name]
    if SETS.serves(release):  # `name` is the system's own, which reads the same sets
        return SETS_OR_PACKAGES if release.trait("pkgbase_repo") else SETS
    if not release.sources:
        raise InstallError(
            f"{release.id} has no source to install",
            "give it a `source` in your catalogue, or use --runner none",
        )
    raise InstallError(
        f"behunt cannot install {release.id} yet: it has no installer `{name or 'unknown'}`",
        f"installers here: {', '.join(sorted(INSTALLERS))}",
    )
