"""A lab as its lab.toml describes it: one network, and the machines on it. Pure but for `read`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any, TypeVar

from behunt.errors import UsageError

ARCHES = ("amd64", "i386")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MULTICAST = 0x01  # of the first octet
_LABEL = r"[0-9A-Za-z_-]{1,63}"
_SERVER = re.compile(rf"tcp:(?:({_LABEL}(?:\.{_LABEL})*)|\[([0-9a-fA-F:.]+)\]):([0-9]{{1,5}})")
NO_CONSOLE = "none"
_SOL = "sol"
_RATES = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)  # termios(3)
_RATE = 115200  # baud, if it is not said
_CONSOLES = "none, sol, tcp:127.0.0.1:4001 or /dev/ttyUSB0,9600"
_T = TypeVar("_T")


class Firmware(StrEnum):
    BIOS = "bios"
    UEFI = "uefi"


class Dhcp(StrEnum):
    """`FULL` gives addresses; `PROXY` adds what to boot to the answers of another server."""

    FULL = "full"
    PROXY = "proxy"


@dataclass(frozen=True, slots=True)
class Serial:
    """What the first serial port of a machine is connected to, at `rate` baud.

    That is a `device` of this machine, or a console `server`, a host and a port; without both its
    BMC has it (SOL).
    """

    device: Path | None = None
    server: tuple[str, int] | None = None
    rate: int = _RATE


@dataclass(frozen=True, slots=True)
class Machine:
    """One that boots from the network.

    `patience` is how many seconds it may take to come up. `console` and `power` are what lab.toml
    says of them (`serial_of`, netboot/power).
    """

    name: str
    mac: str
    ip: IPv4Address | None = None
    firmware: Firmware = Firmware.BIOS
    arch: str = "amd64"
    console: str = NO_CONSOLE
    patience: float = 600.0
    power: Mapping[str, Any] = field(default_factory=lambda: {"method": "hand"})

    def boots(self, arch: str) -> bool:
        """Whether it can boot a release for `arch`: UEFI starts its own processor's only."""
        return self.arch == arch or (arch == "i386" and self.firmware is Firmware.BIOS)


@dataclass(frozen=True, slots=True)
class LabNetwork:
    """A network of ours on `interface`, where this machine is `address`.

    `first` to `last` are given to machines that have no address of their own in here. `ipv6` is
    advertised: iPXE waits 13 s for an advertisement where none comes.
    """

    interface: str
    address: IPv4Interface
    machines: tuple[Machine, ...]
    dhcp: Dhcp = Dhcp.FULL
    first: IPv4Address | None = None
    last: IPv4Address | None = None
    ipv6: IPv6Interface | None = None

    def machine(self, name: str) -> Machine:
        """Raises UsageError."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        known = ", ".join(machine.name for machine in self.machines)
        raise UsageError(f"there is no machine {name} in this lab", f"machines: {known}")


def read(file: Path) -> LabNetwork:
    """Raises UsageError, which names file and key."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot read {file}: {error.strerror}", "docs/netboot.md shows one"
        ) from (error)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from error
    try:
        return lab_of(data)
    except ValueError as error:
        raise UsageError(f"{file}: {error}", "docs/netboot.md says what it holds") from error


def lab_of(data: Mapping[str, Any]) -> LabNetwork:
    """Raises ValueError, which names table and key."""
    _known(data, {"lab", "machine"}, "at the top")
    rows = _of(data, "machine", list, "at the top", [])
    lab = _lab(_of(data, "lab", dict, "at the top"), tuple(_machine(row) for row in rows))
    for what in ("name", "mac", "ip"):
        values = [getattr(machine, what) for machine in lab.machines]
        for value in values:
            if value is not None and values.count(value) > 1:
                raise ValueError(f"two machines have the {what} {value}")
    for machine in lab.machines:
        _in_network(lab, machine)
    return lab


def _lab(row: Mapping[str, Any], machines: tuple[Machine, ...]) -> LabNetwork:
    at = "[lab]"
    _known(row, {"interface", "address", "dhcp", "range", "ipv6"}, at)
    first, last = _range(_of(row, "range", list, at, []), at)
    address = _parsed(IPv4Interface, _of(row, "address", str, at), f"{at}: address", "10.77.0.1/24")
    ipv6 = _of(row, "ipv6", str, at, "")
    lab = LabNetwork(
        interface=_of(row, "interface", str, at),
        address=address,
        machines=machines,
        dhcp=_parsed(Dhcp, _of(row, "dhcp", str, at, "full"), f"{at}: dhcp", "full or proxy"),
        first=first,
        last=last,
        ipv6=_parsed(IPv6Interface, ipv6, f"{at}: ipv6", "fd77::1/64") if ipv6 else None,
    )
    for end in (lab.first, lab.last):
        if end is not None and (end not in address.network or end == address.ip):
            raise ValueError(f"{at}: {end} of range is no free address of {address.network}")
    if lab.dhcp is Dhcp.FULL and first is None and any(one.ip is None for one in machines):
        raise ValueError(f"{at}: range is missing, and a machine has no ip")
    return lab


def _machine(row: object) -> Machine:
    if not isinstance(row, dict):
        raise ValueError("machine must be [[machine]] tables")  # noqa: TRY004 - of the file, not the program
    name = _of(row, "name", str, "[[machine]]")
    at = f"machine {name}"
    if not _NAME.fullmatch(name):
        raise ValueError(f"{at}: its name must be that of a host: letters, digits and hyphens")
    _known(row, set(Machine.__slots__), at)
    mac = mac_of(_of(row, "mac", str, at), at)
    ip = _of(row, "ip", str, at, "")
    arch = _of(row, "arch", str, at, "amd64")
    if arch not in ARCHES:
        raise ValueError(f"{at}: there is no arch {arch!r}: it must be {' or '.join(ARCHES)}")
    firmware = _of(row, "firmware", str, at, "bios")
    patience = row.get("patience", Machine(name, mac).patience)
    if type(patience) not in {int, float} or patience <= 0:
        raise ValueError(f"{at}: patience = {patience!r} must be seconds")
    power = _of(row, "power", dict, at, {"method": "hand"})
    return Machine(
        name=name,
        mac=mac,
        ip=_parsed(IPv4Address, ip, f"{at}: ip", "10.77.0.51") if ip else None,
        firmware=_parsed(Firmware, firmware, f"{at}: firmware", "bios or uefi"),
        arch=arch,
        console=_console(_of(row, "console", str, at, NO_CONSOLE), power, at),
        patience=float(patience),
        power=power,
    )


def _console(text: str, power: Mapping[str, Any], at: str) -> str:
    try:
        serial = serial_of(text)
    except ValueError as error:
        raise ValueError(f"{at}: {error}") from None
    by_bmc = serial is not None and serial.device is None and serial.server is None
    if by_bmc and power.get("method") != "ipmi":
        raise ValueError(f'{at}: console = {text!r} is of a BMC: it needs power.method = "ipmi"')
    return text


def serial_of(console: str) -> Serial | None:
    """None for "none". Raises ValueError.

    >>> serial_of("tcp:[fd77::9]:4001,9600")
    Serial(device=None, server=('fd77::9', 4001), rate=9600)
    """
    where, comma, rate = console.partition(",")
    if comma and rate not in map(str, _RATES):
        known = ", ".join(map(str, _RATES))
        raise ValueError(f"console = {console!r}: {rate!r} is no rate of a serial port: {known}")
    baud = int(rate) if comma else _RATE
    if console == NO_CONSOLE:
        return None
    if where == _SOL:
        return Serial(rate=baud)
    if where.startswith("/") and where != "/" and where.isprintable():
        return Serial(device=Path(where), rate=baud)
    if (found := _SERVER.fullmatch(where)) and 0 < int(found[3]) < 1 << 16:
        return Serial(server=(found[1] or found[2], int(found[3])), rate=baud)
    raise ValueError(f"console = {console!r} must be like {_CONSOLES}")


def mac_of(text: str, at: str) -> str:
    """In the usual form. Raises ValueError.

    >>> mac_of("02-01-02-03-04-0A", "here")
    '02:01:02:03:04:0a'
    """
    mac = text.lower().replace("-", ":")
    if not _MAC.fullmatch(mac) or int(mac[:2], 16) & _MULTICAST:
        raise ValueError(f"{at}: {text!r} is no address of a network card (02:01:02:03:04:05)")
    return mac


def _in_network(lab: LabNetwork, machine: Machine) -> None:
    if machine.ip is None:
        return
    if machine.ip not in lab.address.network or machine.ip == lab.address.ip:
        raise ValueError(
            f"machine {machine.name}: {machine.ip} is no free address of {lab.address.network}"
        )


def _range(ends: Sequence[object], at: str) -> tuple[IPv4Address | None, IPv4Address | None]:
    if not ends:
        return None, None
    example = '["10.77.0.50", "10.77.0.99"]'
    if len(ends) != len(("first", "last")):
        raise ValueError(f"{at}: range must be like {example}")
    first, last = (_parsed(IPv4Address, end, f"{at}: range", example) for end in ends)
    if first > last:
        raise ValueError(f"{at}: range ends before it begins")
    return first, last


def _known(row: Mapping[str, Any], keys: set[str], at: str) -> None:
    for key in row.keys() - keys:
        raise ValueError(f"{at}: unknown key {key!r}: it may hold {', '.join(sorted(keys))}")


_MISSING: Any = object()


def _of(row: Mapping[str, Any], key: str, kind: type[_T], at: str, default: _T = _MISSING) -> _T:
    value = row.get(key, default)
    if value is _MISSING:
        raise ValueError(f"{at}: {key} is missing")
    if not isinstance(value, kind):
        raise ValueError(f"{at}: {key} = {value!r} must be a {_CALLED[kind]}")  # noqa: TRY004 - as above
    return value


_CALLED: dict[type, str] = {str: "string", list: "list", dict: "table"}


def _parsed(kind: type[_T], text: object, at: str, example: str) -> _T:
    try:
        return kind(text)  # type: ignore[call-arg]
    except ValueError:
        raise ValueError(f"{at} = {text!r} must be like {example}") from None
