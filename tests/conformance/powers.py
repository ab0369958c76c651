"""Every way of switching a machine, each with a real counterpart that it switches."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from lab_power import (
    HERE,
    SYSTEM,
    USER,
    Switch,
    free_port,
    ipmi_simulator,
    network,
    password_file,
    redfish_emulator,
    wake_listener,
)

from behunt.netboot.power.command import Command
from behunt.netboot.power.hand import Hand
from behunt.netboot.power.ipmi import Ipmi
from behunt.netboot.power.protocol import Power
from behunt.netboot.power.redfish import Redfish
from behunt.netboot.power.secret import Secret
from behunt.netboot.power.wol import Wol

MAC = "02:01:02:03:04:05"
WRONG = "not the pa$$word"
PATIENT = 20.0  # seconds, for a machine that follows
SHORT = 0.5  # for one that does not


@dataclass(frozen=True)
class Powered:
    """`switch` is what `power` switches, in truth.

    `deaf` is the same where nobody answers, `where` how its errors call that place. `refused` has
    the wrong password. `boots` is what the machine was told to boot from.
    """

    power: Power
    switch: Switch
    deaf: Power | None = None
    where: str = ""
    refused: Power | None = None
    boots: Callable[[], str] | None = None
    tells: bool = True
    switches_off: bool = True


@contextlib.contextmanager
def _command(_: Path) -> Iterator[Powered]:
    with Switch() as switch:
        words = [tuple(switch.words(verb)) for verb in ("on", "off", "status")]
        never = ("sleep", "infinity")
        yield Powered(
            Command(*words, deadline=PATIENT),
            switch,
            deaf=Command(never, never, never, deadline=SHORT),
            where="sleep infinity",
        )


@contextlib.contextmanager
def _hand(_: Path) -> Iterator[Powered]:
    with Switch() as switch:

        def somebody(asked: str) -> None:
            """Does what is asked, in the order of the words."""
            for word in asked.replace(",", "").rstrip(".").split():
                if word == "on":
                    switch.on()
                if word == "off":
                    switch.off()

        yield Powered(Hand(MAC, somebody), switch, tells=False)


@contextlib.contextmanager
def _wol(_: Path) -> Iterator[Powered]:
    with (
        Switch() as switch,
        network() as wire,
        wake_listener("lab0", MAC, switch.on, enter=wire.enter),
    ):
        yield Powered(
            Wol(MAC, wire.outside),
            switch,
            deaf=Wol(MAC, "nosuch0"),
            where="nosuch0",
            tells=False,
            switches_off=False,
        )


@contextlib.contextmanager
def _ipmi(place: Path) -> Iterator[Powered]:
    with Switch() as switch, ipmi_simulator(place, switch) as bmc:
        right, wrong = Secret(bmc.password_file), _wrong(place)
        port = free_port(socket.SOCK_DGRAM)
        yield Powered(
            Ipmi(HERE, bmc.port, USER, right, deadline=PATIENT),
            switch,
            deaf=Ipmi(HERE, port, USER, right),
            where=f"{HERE}, port {port}",
            refused=Ipmi(HERE, bmc.port, USER, wrong),
            boots=bmc.boots,
        )


@contextlib.contextmanager
def _redfish(place: Path) -> Iterator[Powered]:
    with Switch() as switch, redfish_emulator(place, switch) as bmc:
        right, wrong = Secret(bmc.password_file), _wrong(place)
        deaf = f"http://{HERE}:{free_port(socket.SOCK_STREAM)}"
        yield Powered(
            Redfish(bmc.url, SYSTEM, USER, right, deadline=PATIENT),
            switch,
            deaf=Redfish(deaf, SYSTEM, USER, right),
            where=deaf,
            refused=Redfish(bmc.url, SYSTEM, USER, wrong),
            boots=bmc.boots,
        )


POWERS: dict[str, Callable[[Path], AbstractContextManager[Powered]]] = {
    "command": _command,
    "hand": _hand,
    "ipmi": _ipmi,
    "redfish": _redfish,
    "wol": _wol,
}
UNPRIVILEGED = {"command", "hand"}


def _wrong(place: Path) -> Secret:
    (place / "wrong").mkdir()
    return Secret(password_file(place / "wrong", WRONG))
