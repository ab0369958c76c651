"""Runners by name."""

from __future__ import annotations

from behunt.runners.namespace import CHROOT, NAMESPACE
from behunt.runners.none import NONE
from behunt.runners.protocol import Runner
from behunt.runners.uml import Uml
from behunt.storage.home import Home

# lightest first
NAMES = ("none", "chroot", "namespace", "uml")


def runners(home: Home) -> dict[str, Runner]:
    found: tuple[Runner, ...] = (NONE, CHROOT, NAMESPACE, Uml(home.kernels))
    return {runner.name: runner for runner in found}
