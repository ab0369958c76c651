"""Lend the user's terminal to a boot environment."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from behunt.drive.datasets import entered
from behunt.drive.lab import Lab
from behunt.errors import HostError
from behunt.hosts.confined import Confined
from behunt.hosts.terminal import Lender, attach
from behunt.model import BootEnv
from behunt.runners.protocol import Setup


def shell(
    lab: Lab,
    bootenv: BootEnv,
    argv: Sequence[str],
    *,
    network: bool = False,
    in_place: bool = False,
) -> int:
    """Run `argv` on our terminal inside a clone of `bootenv`; its exit code.

    `in_place`: inside itself, where what is changed stays.
    """
    with (
        entered(lab, bootenv, in_place=in_place) as clone,
        tempfile.TemporaryDirectory(dir=lab.home.clones, prefix=f"shell.{lab.owner.token}.") as at,
        lab.runner.enter(
            clone,
            Setup(Path(at), bootenv.name[:64], lab.owner.token, lab.home.id, network=network),
        ) as inside,
    ):
        env = {"BEHUNT_RELEASE": bootenv.release, "PS1": f"{bootenv.name}# "}
        if isinstance(inside.files, Confined):
            return attach(inside.files, argv, env=env, cwd="/root")
        if isinstance(inside.host, Lender):
            return inside.host.attach(argv, env=env, cwd="/")
        raise HostError(f"{inside.host.name} has no terminal to lend", "name a command after `--`")
