"""Lend the user's terminal to a boot environment that is booted as a machine of its own."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from behunt.drive.datasets import entered
from behunt.drive.lab import Lab
from behunt.drive.netboot import made_for
from behunt.errors import ConsoleError, HostError
from behunt.hosts.alone import alone
from behunt.hosts.console_attach import attach, watch
from behunt.model import BootEnv, Release
from behunt.netboot.servers import serving
from behunt.runners.lab import in_qemu, seat
from behunt.runners.lab.families import FAMILIES
from behunt.runners.lab.tree import Tree
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
        return _left(bootenv, running, typing=typing)


def boot_by_nfs(
    lab: Lab, bootenv: BootEnv, release: Release, order: Order, *, typing: bool
) -> bool:
    """The same, where the clone is the machine's root by NFS. Only of what is FOREIGN nowhere."""
    made = made_for(lab, bootenv, release)
    with contextlib.ExitStack() as stack:
        stack.enter_context(alone())
        prefix = f"{lab.owner.token}."
        place = Path(
            stack.enter_context(tempfile.TemporaryDirectory(dir=lab.home.serving, prefix=prefix))
        )
        server = stack.enter_context(serving(in_qemu.HERE, in_qemu.CLIENTS, place / "nfs"))
        clone = stack.enter_context(entered(lab, bootenv))
        machine = in_qemu.like(order.hostname)
        layered = FAMILIES[release.os].layered(clone, made, machine)
        share = stack.enter_context(server.shared(layered, order.hostname))
        with Tree(share.host) as tree:
            tree.lay({seat.SEAT.lstrip("/"): seat.script(machine)}, 0o755)
        scratch = place / "machine"
        scratch.mkdir()
        running = stack.enter_context(
            in_qemu.started(
                release,
                order,
                share.path,
                made=made,
                machines=lab.home.machines,
                scratch=scratch,
            )
        )
        running.monitor.go_on()
        return _left(bootenv, running, typing=typing)


def _left(bootenv: BootEnv, running: Running, *, typing: bool) -> bool:
    """Show its console until it ends, or the user has left it: whether that."""
    end = attach(running.console) if typing else watch(running.console)
    if end is None:
        return True
    if why := panic(end, running.console.transcript.path):
        raise ConsoleError(
            f"{bootenv.name} went down: {why}",
            "what it said before is above; `behunt be shell` looks at it without booting",
        )
    why = running.monitor.ended(_PATIENCE) or "it does not say why"
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
