"""Lend the user's terminal to a clone."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from behunt.drive.installing import check, ensure
from behunt.drive.lab import Lab
from behunt.hosts.confined import Confined
from behunt.hosts.terminal import attach
from behunt.model import Release
from behunt.runners.protocol import Setup


def shell(lab: Lab, release: Release, argv: Sequence[str], *, network: bool = False) -> int:
    """Run `argv` on our terminal inside a clone of `release`; its exit code."""
    check(lab, [release])
    bootenv = ensure(lab, release)
    with (
        lab.store.clone(bootenv) as clone,
        tempfile.TemporaryDirectory(dir=lab.home.clones, prefix=f"shell.{lab.owner.token}.") as at,
        lab.runner.enter(
            clone, Setup(Path(at), release.id[:64], lab.owner.token, network=network)
        ) as inside,
    ):
        if not isinstance(inside.files, Confined):
            raise TypeError(f"the runner {lab.runner.name} has no terminal to lend")
        env = {"BEHUNT_RELEASE": release.id, "PS1": f"{release.id}# "}
        return attach(inside.files, argv, env=env, cwd="/root")
