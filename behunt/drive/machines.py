"""The machines of a lab: who is on, who is in use, their switches, and how they are woken."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from behunt.errors import BehuntError, HostError
from behunt.hosts import spawner
from behunt.hosts.console import Console
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.hosts.transcript import Transcript
from behunt.netboot import power as powers
from behunt.netboot.consoles import opened
from behunt.netboot.lab import NO_CONSOLE, Firmware, LabNetwork, Machine
from behunt.netboot.leases import in_use, leased
from behunt.netboot.power.hand import Ask
from behunt.netboot.power.protocol import Power, State
from behunt.runners.metal import nobody
from behunt.storage.home import Home

_AT_ONCE = 32  # machines that are asked; a BMC thinks for seconds
SWITCH: dict[str, Callable[[Power], None]] = {
    "on": lambda power: power.on(),
    "off": lambda power: power.off(),
    "cycle": lambda power: power.cycle(),
}


@dataclass(frozen=True, slots=True)
class Status:
    """`power` is None where it could not be asked for, for the reason `error`.

    `console` says whether its console opens, with the reason `deaf` if not; None where it has
    none, or is in use.
    """

    machine: Machine
    in_use: bool
    power: State | None
    error: str = ""
    hint: str = ""
    console: bool | None = None
    deaf: str = ""


def switch_of(lab: LabNetwork, machine: Machine, ask: Ask) -> Power:
    """Raises UsageError for a wrong `power` in lab.toml. `ask` has a person do something."""
    uefi = machine.firmware is Firmware.UEFI
    return powers.of(machine.power, machine.mac, lab.interface, ask, uefi=uefi)


def statuses(lab: LabNetwork, machines: Sequence[Machine], home: Path) -> list[Status]:
    """Of each of `machines`, all asked at once. In use is what runs of this `home` have."""
    locks = Home(home).locks
    with ThreadPoolExecutor(_AT_ONCE) as asking:
        try:
            return list(asking.map(partial(_status, lab, locks), machines))
        finally:
            asking.shutdown(wait=False, cancel_futures=True)
            spawner.stop()


def _status(lab: LabNetwork, locks: Path, machine: Machine) -> Status:
    used = in_use(locks, machine)
    try:
        found = Status(machine, used, switch_of(lab, machine, nobody).state())
    except BehuntError as error:
        found = Status(machine, used, None, error.message, error.hint)
    if used or machine.console == NO_CONSOLE:
        return found
    try:
        with opened(machine):
            return replace(found, console=True)
    except BehuntError as error:
        return replace(found, console=False, deaf=error.message)


def switch(
    lab: LabNetwork, machine: Machine, how: str, *, home: Path, ask: Ask, force: bool = False
) -> State:
    """Do what SWITCH has for `how`; what the machine is then.

    It is nobody else's meanwhile. Raises HostError where a run has it, unless with `force`, and
    where it does not follow.
    """
    power = switch_of(lab, machine, ask)
    place = Home(home).make()
    try:
        with contextlib.nullcontext() if force else _alone(place.locks, machine):
            SWITCH[how](power)
            return power.state()
    finally:
        spawner.stop()


@contextlib.contextmanager
def console_of(machine: Machine, *, home: Path, force: bool = False) -> Iterator[Console]:
    """The console of `machine`, to sit at. It may be switched meanwhile.

    Raises HostError where it cannot be opened, and where a run has the machine, unless with
    `force`.
    """
    if in_use(Home(home).locks, machine) and not force:
        raise HostError(
            f"a run uses {machine.name}",
            "what its console shows is in the run's log if it fails; --force types into it",
        )
    try:
        with (
            opened(machine) as stream,
            tempfile.TemporaryDirectory(prefix="behunt-") as scratch,
            Console(stream, Transcript(Path(scratch) / "console")) as console,
        ):
            yield console
    finally:
        spawner.stop()


@contextlib.contextmanager
def _alone(locks: Path, machine: Machine) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(leased(locks, [machine]))
        except HostError as error:
            raise HostError(
                f"a run uses {machine.name}", "wait for its end; --force switches it all the same"
            ) from error
        yield


def wake(mac: str, interface: str, lab: LabNetwork | None) -> tuple[str, str]:
    """Send `mac` a magic packet; out of which interface, and why that.

    It is `interface` if that is given, else the lab's of a machine in there, else that of the
    default route. Raises HostError.
    """
    known = [machine for machine in lab.machines if machine.mac == mac] if lab else []
    if interface:
        out, why = interface, "as asked for"
    elif lab and known:
        out, why = lab.interface, f"the lab of {known[0].name}"
    else:
        out, why = _way_out(LocalHost()), "the default route"
    # A card may ask for a password, which is in its machine's `power`.
    row = known[0].power if known and known[0].power.get("method") == "wol" else {"method": "wol"}
    powers.of(row, mac, out, nobody).on()
    return out, why


def _way_out(host: Host) -> str:
    """The interface of the default route, which Linux's ip(8) tells."""
    done = host.run(["ip", "-json", "route", "show", "default"])
    for route in json.loads(done.out or "[]") if done.code == 0 else ():
        if dev := route.get("dev"):
            return str(dev)
    raise HostError("nothing tells which interface the machine is at", "name it with --interface")
