"""IPMI over the LAN (lanplus: RMCP+ of IPMI 2.0), through pyghmi."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from behunt.errors import HostError
from behunt.netboot.power.libraries import library
from behunt.netboot.power.protocol import DEADLINE, State, wait_for
from behunt.netboot.power.secret import Secret

PORT = 623
_NO_SECRET = Secret()
_SILENCE = {"", "None", "timeout", "Session no longer connected"}


@dataclass(frozen=True, slots=True)
class Ipmi:
    """A BMC at `address`. One session per call, and one logout: they are few on most BMCs.

    With `pxe` the machine is told at each `on` to boot from the network, this once; by UEFI where
    that is its firmware. `deadline` is in seconds, for the machine to follow; a BMC that does not
    answer is given up after about six, which is pyghmi's patience.
    """

    address: str
    port: int = PORT
    user: str = ""
    secret: Secret = _NO_SECRET
    pxe: bool = True
    uefi: bool = False
    deadline: float = DEADLINE

    def on(self) -> None:
        with self._session() as bmc:
            if _state(bmc) is State.ON:
                return
            if self.pxe:
                self._boot_from_network(bmc)
            self._switch(bmc, State.ON)

    def off(self) -> None:
        with self._session() as bmc:
            self._switch(bmc, State.OFF)

    def cycle(self) -> None:
        self.off()
        self.on()

    def state(self) -> State:
        with self._session() as bmc:
            return _state(bmc)

    @property
    def where(self) -> str:
        return f"the BMC at {self.address}, port {self.port}"

    def _switch(self, bmc: Any, wanted: State) -> None:
        bmc.set_power(str(wanted))
        wait_for(wanted, lambda: _state(bmc), self.deadline, self.where)

    def _boot_from_network(self, bmc: Any) -> None:
        try:
            bmc.set_bootdev("network", uefiboot=self.uefi)
        except library("pyghmi.exceptions").PyghmiException as error:
            raise HostError(
                f"{self.where} does not take the network as what to boot from: {error}",
                "say `pxe = false` in lab.toml, and put the network first in the machine's setup",
            ) from error

    @contextlib.contextmanager
    def _session(self) -> Iterator[Any]:
        failures = (library("pyghmi.exceptions").PyghmiException, OSError)
        # Bytes: pyghmi keeps sessions by these, and does not find one that ended by strings.
        user, password = self.user.encode(), self.secret.read().encode()
        try:
            bmc = library("pyghmi.ipmi.command").Command(self.address, user, password, self.port)
        except failures as error:
            raise self._not_in(error) from error
        try:
            yield bmc
        except failures as error:
            said = _said(error)
            raise HostError(
                f"{self.where} refused: {said}" if said else f"{self.where} stopped answering",
                f"ask it by hand: `ipmitool -I lanplus -H {self.address} -p {self.port}"
                f" -U {self.user or 'USER'} -a chassis status`",
            ) from error
        finally:
            with contextlib.suppress(*failures):
                bmc.ipmi_session.logout()

    def _not_in(self, error: Exception) -> HostError:
        if isinstance(error, OSError) or not _said(error):
            why = error.strerror if isinstance(error, OSError) else None
            return HostError(
                f"{self.where} (UDP) does not answer" + (f": {why}" if why else ""),
                "check the address, that IPMI over LAN is enabled there, and that no firewall"
                f" keeps UDP port {self.port} away",
            )
        return HostError(
            f"{self.where} does not let the user {self.user!r} in: {_said(error)}",
            f"look at `user` in lab.toml and at the password in {self.secret}; the user must be"
            " an operator or an administrator there",
        )


def _state(bmc: Any) -> State:
    return State(bmc.get_power()["powerstate"])


def _said(error: Exception) -> str:
    """What the BMC said, in pyghmi's words, which has some for a BMC that says nothing, too."""
    text = str(error)
    return "" if text in _SILENCE else text
