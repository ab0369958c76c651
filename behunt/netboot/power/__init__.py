"""How machines are switched on and off, by the `method` of their `power` in lab.toml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from behunt.errors import UsageError
from behunt.netboot.power.command import Command
from behunt.netboot.power.hand import Ask, Hand
from behunt.netboot.power.ipmi import PORT, Ipmi
from behunt.netboot.power.protocol import DEADLINE, Power
from behunt.netboot.power.redfish import Redfish
from behunt.netboot.power.secret import Secret
from behunt.netboot.power.wol import Wol


@dataclass(frozen=True, slots=True)
class _Asked:
    """One `power` table, whose keys are known and of their kinds, and whose machine it is."""

    row: Mapping[str, Any]
    mac: str
    interface: str
    ask: Ask
    uefi: bool

    @property
    def secret(self) -> Secret:
        file = self.row.get("password_file")
        return Secret(Path(file) if file else None, self.row.get("password_env", ""))

    @property
    def deadline(self) -> float:
        return float(self.row.get("deadline", DEADLINE))

    def words(self, key: str) -> tuple[str, ...]:
        return tuple(self.row.get(key, ()))


def _wol(asked: _Asked) -> Power:
    return Wol(asked.mac, asked.interface, asked.secret)


def _ipmi(asked: _Asked) -> Power:
    return Ipmi(
        asked.row["address"],
        port=asked.row.get("port", PORT),
        user=asked.row.get("user", ""),
        secret=asked.secret,
        pxe=asked.row.get("pxe", True),
        uefi=asked.uefi,
        deadline=asked.deadline,
    )


def _redfish(asked: _Asked) -> Power:
    return Redfish(
        asked.row["url"].rstrip("/"),
        system=asked.row.get("system", ""),
        user=asked.row.get("user", ""),
        secret=asked.secret,
        verify=asked.row.get("verify", True),
        pxe=asked.row.get("pxe", True),
        uefi=asked.uefi,
        deadline=asked.deadline,
    )


def _command(asked: _Asked) -> Power:
    return Command(
        asked.words("on"), asked.words("off"), asked.words("status"), deadline=asked.deadline
    )


def _hand(asked: _Asked) -> Power:
    return Hand(asked.mac, asked.ask)


@dataclass(frozen=True, slots=True)
class _Method:
    make: Callable[[_Asked], Power]
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


_SECRET = ("password_env", "password_file")
METHODS: dict[str, _Method] = {
    "wol": _Method(_wol, takes=_SECRET),
    "ipmi": _Method(_ipmi, ("address",), ("deadline", "port", "pxe", "user", *_SECRET)),
    "redfish": _Method(
        _redfish, ("url",), ("deadline", "pxe", "system", "user", "verify", *_SECRET)
    ),
    "command": _Method(_command, ("on", "off"), ("deadline", "status")),
    "hand": _Method(_hand),
}


def of(
    power: Mapping[str, Any], mac: str, interface: str, ask: Ask, *, uefi: bool = False
) -> Power:
    """The switch that a `power` table of lab.toml means. Nothing is asked or read yet.

    `interface` is the lab's; `ask` tells a person what to do and returns when it is done. Raises
    UsageError, with the key that is wrong.
    """
    method = METHODS.get(str(power.get("method")))
    if method is None:
        known = ", ".join(METHODS)
        raise UsageError(f"power: there is no method {power.get('method')!r}", f"methods: {known}")
    _checked(power, method)
    return method.make(_Asked(power, mac, interface, ask, uefi))


def _checked(power: Mapping[str, Any], method: _Method) -> None:
    name = power["method"]
    if "password" in power:
        raise UsageError(
            "power: a password does not belong in lab.toml",
            "put it into a file of mode 600, and name that with password_file",
        )
    for key in method.needs:
        if key not in power:
            raise UsageError(f"power: the method {name} needs {key}")
    for key, value in power.items():
        if key not in {"method", *method.needs, *method.takes}:
            known = ", ".join(sorted((*method.needs, *method.takes))) or "none"
            raise UsageError(f"power: the method {name} has no {key}", f"its keys: {known}")
        kind, fits = _KINDS[key]
        if not fits(value):
            raise UsageError(f"power: {key} must be {kind}")  # what it is may be a password
    if set(_SECRET) <= power.keys():
        raise UsageError("power: password_file and password_env exclude each other")


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _seconds(value: object) -> bool:
    return type(value) in {int, float} and value > 0  # type: ignore[operator]


def _port(value: object) -> bool:
    return type(value) is int and 0 < value < 1 << 16


def _words(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_text, value))


def _url(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc


_STRING = ("a string", _text)
_ARGV = ('a list of words: ["program", "argument"]', _words)
_KINDS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "method": _STRING,
    "address": _STRING,
    "deadline": ("a number of seconds", _seconds),
    "off": _ARGV,
    "on": _ARGV,
    "password_env": ("the name of a variable of the environment", _text),
    "password_file": ("the name of a file", _text),
    "port": ("a port: 1 to 65535", _port),
    "pxe": ("true or false", _flag),
    "status": _ARGV,
    "system": _STRING,
    "url": ("like https://10.0.9.2, without user and password", _url),
    "user": _STRING,
    "verify": ("true, false or the name of a file", lambda v: _flag(v) or _text(v)),
}
