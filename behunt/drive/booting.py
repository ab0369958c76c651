"""Lend the user's terminal to a boot environment that is booted as a machine of its own."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from behunt.drive.datasets import entered
from behunt.drive.lab import Lab
from behunt.errors import ConsoleError, HostError
from behunt.hosts.console_attach import attach, watch
from behunt.model import BootEnv, Release
from behunt.runners.vm.interactive import Order, panic, started
from behunt.runners.vm.running import Running

_PATIENCE = 10.0  # seconds for QEMU to tell why it ended


def boot(
    lab: Lab, bootenv: BootEnv, release: Release, order: Order, *, typing: bool, in_place: bool
) -> bool:
    """Boot a clone of `bootenv`, or itself `in_place`, until it is left or powers off.

    Its console is shown, and with `typing` it is the user's. Whether the user left it. Raises
    HostError, InstallError, and ConsoleError where its kernel panics.
    """
    with _powered(lab, bootenv, release, order, in_place=in_place) as running:
        end = attach(running.console) if typing else watch(running.console)
        if end is None:
            return True
        if why := panic(end, running.console.transcript.path):
            raise ConsoleError(
                f"{bootenv.name} went down: {why}",
                "what it said before is above; `behunt be shell` looks at it without booting",
            )
        why = running.monitor.ended(_PATIENCE) or "without a word"
        if why != "guest-shutdown":
            raise HostError(f"QEMU ended under {bootenv.name}: {why}")
        return False


@contextlib.contextmanager
def _powered(
    lab: Lab, bootenv: BootEnv, release: Release, order: Order, *, in_place: bool
) -> Iterator[Running]:
    with (
        entered(lab, bootenv, in_place=in_place) as clone,
        tempfile.TemporaryDirectory(dir=lab.home.clones, prefix=f"boot.{lab.owner.token}.") as at,
        started(release, clone, order, lab.home.machines, Path(at)) as running,
    ):
        running.monitor.go_on()
        yield running
