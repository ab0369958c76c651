"""Redfish, what newer BMCs speak over HTTP, through sushy."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from behunt.errors import HostError
from behunt.netboot.power.libraries import library
from behunt.netboot.power.protocol import DEADLINE, State, wait_for
from behunt.netboot.power.secret import Secret

_SYSTEMS = "/redfish/v1/Systems/"
_NO_SECRET = Secret()

# The library tells its log what it then raises; without a handler that would go to stderr.
logging.getLogger("sushy").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Redfish:
    """The `system` behind a BMC, or the only one. One session per call, which ends with it.

    `verify` is whether its certificate is checked, or the file of the authority that it is
    checked with. With `pxe` the machine is told at each `on` to boot from the network, this once;
    by UEFI where that is its firmware. `deadline` is in seconds, for each answer and for the
    machine to follow.
    """

    url: str
    system: str = ""
    user: str = ""
    secret: Secret = _NO_SECRET
    verify: bool | str = True
    pxe: bool = True
    uefi: bool = False
    deadline: float = DEADLINE

    def on(self) -> None:
        with self._system() as system:
            if _state(system) is State.ON:
                return
            if self.pxe:
                self._boot_from_network(system)
            self._switch(system, State.ON)

    def off(self) -> None:
        with self._system() as system:
            if _state(system) is not State.OFF:  # some refuse what is so already
                self._switch(system, State.OFF)

    def cycle(self) -> None:
        self.off()
        self.on()

    def state(self) -> State:
        with self._system() as system:
            return _state(system)

    @property
    def where(self) -> str:
        return f"{self.url} (system {self.system})" if self.system else self.url

    def _switch(self, system: Any, wanted: State) -> None:
        sushy = library("sushy")
        system.reset_system(sushy.RESET_ON if wanted is State.ON else sushy.RESET_FORCE_OFF)
        wait_for(wanted, lambda: _asked(system), self.deadline, self.where)

    def _boot_from_network(self, system: Any) -> None:
        sushy = library("sushy")
        try:
            system.set_system_boot_options(
                target=sushy.BOOT_SOURCE_TARGET_PXE,
                enabled=sushy.BOOT_SOURCE_ENABLED_ONCE,
                mode=sushy.BOOT_SOURCE_MODE_UEFI if self.uefi else None,
            )
        except sushy.exceptions.SushyError as error:
            raise HostError(
                f"{self.where} does not take the network as what to boot from: {error}",
                "say `pxe = false` in lab.toml, and put the network first in the machine's setup",
            ) from error

    @contextlib.contextmanager
    def _system(self) -> Iterator[Any]:
        sushy = library("sushy")
        password = self.secret.read()
        try:
            with library("sushy.auth").SessionOrBasicAuth(self.user, password) as auth:
                yield self._root(auth).get_system(self._path())
        except sushy.exceptions.SushyError as error:
            raise self._refused(error) from error
        except OSError as error:  # of requests: the file of `verify`
            raise HostError(
                f"cannot ask {self.url}: {error}", "look at `url` and `verify` in lab.toml"
            ) from error

    def _root(self, auth: Any) -> Any:
        return library("sushy").Sushy(
            self.url,
            auth=auth,
            verify=self.verify,
            read_timeout=self.deadline,
            server_side_retries=1,
            server_side_retries_delay=1,
        )

    def _path(self) -> str | None:
        if not self.system or self.system.startswith("/"):
            return self.system or None
        return _SYSTEMS + self.system

    def _refused(self, error: Exception) -> HostError:
        exceptions = library("sushy").exceptions
        match error:
            case exceptions.AccessError():
                return HostError(
                    f"{self.url} does not let the user {self.user!r} in",
                    f"look at `user` in lab.toml and at the password in {self.secret}; the user"
                    " must be an operator or an administrator there",
                )
            case exceptions.ConnectionError() if "certificate" in str(error).lower():
                return HostError(
                    f"the certificate of {self.url} is not one that is trusted here",
                    "name the file of its authority, or the certificate itself, with"
                    ' `verify = "/path/ca.pem"` in lab.toml',
                )
            case exceptions.ConnectionError():
                return HostError(
                    f"{self.url} does not answer",
                    "check the address and the port, and that Redfish is enabled there",
                )
            case exceptions.ResourceNotFoundError() if self.system:
                return HostError(
                    f"{self.url} has no system {self.system}",
                    f"`curl -k {self.url}{_SYSTEMS}` lists those that it has",
                )
        return HostError(
            f"{self.where} refused: {error}", "the BMC's own log may say more of the reason"
        )


def _state(system: Any) -> State:
    """UNKNOWN while it is on its way."""
    try:
        return State(str(system.power_state.value).lower())
    except (AttributeError, ValueError):
        return State.UNKNOWN


def _asked(system: Any) -> State:
    system.refresh(force=True)
    return _state(system)
