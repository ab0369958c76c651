"""Machines of a lab that boot clones of a boot environment over the network, to be sat at."""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from behunt.drive.datasets import entered
from behunt.drive.lab import Lab
from behunt.drive.machines import switch_of
from behunt.errors import HostError
from behunt.events import Note
from behunt.model import BootEnv, Release
from behunt.netboot.lab import LabNetwork, Machine
from behunt.netboot.leases import in_use, leased
from behunt.netboot.power.hand import Ask
from behunt.netboot.power.protocol import Power, State
from behunt.netboot.serving import Servers
from behunt.netboot.stages import Stage, of_log
from behunt.runners.lab import seat
from behunt.runners.lab.families import FAMILIES
from behunt.runners.lab.offering import offered
from behunt.runners.metal import MetalRunner, nobody

_PAUSE = 0.5  # seconds until the servers' logs are looked at again
_ASK = 5.0  # seconds until the power of a machine is asked for again
_ADDRESS = re.compile(r"DHCPACK\([^)]*\) ([0-9.]+)")


@dataclass
class _Seat:
    """A machine that is answered since then (seconds since 1970); `last` is what it fetches last.

    `reached` is how far it has come, `late` whether it was told that it is.
    """

    machine: Machine
    last: str
    since: float = field(default_factory=time.time)
    reached: Stage = Stage.NO_DHCP
    late: bool = False


def boot(
    lab: Lab,
    bootenv: BootEnv,
    release: Release,
    network: LabNetwork,
    machine: Machine,
    *,
    ask: Ask,
) -> bool:
    """Switch `machine` on, to boot a clone of `bootenv`, until it powers off or Ctrl-C.

    Whether it has powered off itself; else its power is cut. Raises HostError, InstallError.
    """
    with (
        _served(lab, bootenv, release, network, [machine]) as (servers, seats),
        _powered(lab, network, machine, ask) as power,
    ):
        return _followed(lab, servers, seats, _off(power))


def share(
    lab: Lab,
    bootenv: BootEnv,
    release: Release,
    network: LabNetwork,
    machines: Sequence[Machine],
) -> None:
    """Let `machines` boot clones of `bootenv`, whoever switches them on, until Ctrl-C.

    Raises HostError, InstallError.
    """
    with _served(lab, bootenv, release, network, machines) as (servers, seats):
        _followed(lab, servers, seats, lambda: False)


def free(lab: Lab, network: LabNetwork, release: Release) -> list[Machine]:
    """Those that boot `release` and that no run has. Raises HostError without any.

    Of the others it is told.
    """
    found = []
    for machine in network.machines:
        if not machine.boots(release.arch):
            lab.emit(Note(f"{machine.name} is left out: it cannot boot {release.arch}"))
        elif in_use(lab.home.locks, machine):
            lab.emit(Note(f"{machine.name} is left out: a run uses it"))
        else:
            found.append(machine)
    if not found:
        raise HostError(
            "no machine of this lab is free", "`behunt machines status` tells which are in use"
        )
    return found


@contextlib.contextmanager
def _served(
    lab: Lab, bootenv: BootEnv, release: Release, network: LabNetwork, machines: Sequence[Machine]
) -> Iterator[tuple[Servers, list[_Seat]]]:
    """The servers of a lab, and clones that these machines may boot."""
    prefix = f"{lab.owner.token}."
    with contextlib.ExitStack() as stack:
        for machine in machines:
            stack.enter_context(leased(lab.home.locks, [machine]))
        made = made_for(lab, bootenv, release)
        place = stack.enter_context(
            tempfile.TemporaryDirectory(dir=lab.home.serving, prefix=prefix)
        )
        servers = stack.enter_context(Servers(network, Path(place)))
        seats = [
            stack.enter_context(_seated(lab, servers, bootenv, made, machine))
            for machine in machines
        ]
        yield servers, seats


def made_for(lab: Lab, bootenv: BootEnv, release: Release) -> Path:
    """Where that is what machines boot from that boot `bootenv` over a network.

    Raises HostError, InstallError.
    """
    runner = MetalRunner(lab.home, None, "", nobody)
    place = runner.place(bootenv)
    if not place.exists():
        with entered(lab, bootenv) as clone:
            runner.make(release, clone)
    return place


@contextlib.contextmanager
def _seated(
    lab: Lab, servers: Servers, bootenv: BootEnv, made: Path, machine: Machine
) -> Iterator[_Seat]:
    with (
        entered(lab, bootenv) as clone,
        offered(servers, machine, clone, made, seat.SEAT) as offer,
    ):
        if not FAMILIES[offer.made.os].FOREIGN:
            offer.tree.lay({seat.SEAT.lstrip("/"): seat.script(machine)}, mode=0o755)
        lab.emit(Note(f"{machine.name} ({machine.mac}) boots {bootenv.name} once it is on"))
        yield _Seat(machine, offer.offer.last)


@contextlib.contextmanager
def _powered(lab: Lab, network: LabNetwork, machine: Machine, ask: Ask) -> Iterator[Power]:
    """On; whatever it was before, it boots anew. Nothing is left on."""
    power = switch_of(network, machine, ask)
    if power.state() is State.ON:
        power.off()
    try:
        power.on()
        yield power
    finally:
        try:
            power.off()
        except HostError as error:
            lab.emit(Note(f"{machine.name} may be on: {error.message}", warning=True))


def _off(power: Power) -> Callable[[], bool]:
    """Whether it tells that it is off: it is not asked all the time."""
    ask = time.monotonic()

    def off() -> bool:
        nonlocal ask
        if time.monotonic() < ask:
            return False
        ask = time.monotonic() + _ASK
        return power.state() is State.OFF

    return off


def _followed(lab: Lab, servers: Servers, seats: list[_Seat], over: Callable[[], bool]) -> bool:
    """Tell how far machines come until `over`, or until Ctrl-C: whether it was the first."""
    try:
        while not over():
            for one in seats:
                _look(lab, servers, one)
            lab.stopping.wait(_PAUSE)
    except KeyboardInterrupt:
        return False
    return True


def _look(lab: Lab, servers: Servers, one: _Seat) -> None:
    stage, why = servers.stage(one.machine, (), one.since, one.last)
    if stage is not one.reached:
        one.reached = stage
        lab.emit(Note(f"{one.machine.name} {_REACHED[stage](servers, one)}"))
    late = stage is not Stage.NO_JOB and time.time() > one.since + one.machine.patience
    if late and not one.late:
        one.late = True
        lab.emit(Note(f"{one.machine.name} comes no further: {stage}: {why}", warning=True))


def _addressed(servers: Servers, one: _Seat) -> str:
    dhcp, _ = of_log(servers.boots.log(), one.machine.mac)
    given = _ADDRESS.findall("\n".join(dhcp))
    return f"has the address {given[-1]}" if given else "was told what to boot"


_REACHED: dict[Stage, Callable[[Servers, _Seat], str]] = {
    Stage.NO_DHCP: lambda _, __: "is seen no more",
    Stage.NO_TFTP: _addressed,
    Stage.NO_MOUNT: lambda _, one: f"has fetched {one.last}",
    Stage.NO_JOB: lambda _, __: "has its root",
    Stage.RUNNING: lambda _, __: "runs",
}
