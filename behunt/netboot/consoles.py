"""The consoles of a lab's machines, opened: a device of this machine, a server's port, or SOL."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import termios
import time
from collections.abc import Iterator
from pathlib import Path

from behunt.errors import HostError, UsageError
from behunt.hosts.console import Stream, connected, device, left_at_its_end
from behunt.hosts.pipes import wait_ready
from behunt.netboot import power as powers
from behunt.netboot.lab import Machine, serial_of
from behunt.netboot.power.ipmi import Ipmi

_OPERATIONAL = b"SOL Session operational"  # ipmitool's word for it
_PATIENCE = 60.0  # seconds; a BMC that does not tell its cipher suites is asked for ten of them
_SPEED, _CONTROL = slice(4, 6), 2  # of what tcgetattr(3) returns
_NEVER_TYPED = "\x1d"  # Ctrl-] leaves before it would reach ipmitool


@contextlib.contextmanager
def opened(machine: Machine) -> Iterator[Stream]:
    """The console of `machine`, ours alone. Raises HostError, and UsageError where it has none."""
    serial = serial_of(machine.console)
    if serial is None:
        raise UsageError(
            f"{machine.name} has no console", "say in lab.toml what its serial port is connected to"
        )
    if serial.server is not None:
        with contextlib.closing(connected(serial.server)) as stream:
            yield stream
    elif serial.device is not None:
        with contextlib.closing(device(serial.device)) as stream:
            _take(stream.fileno(), serial.device, serial.rate)
            yield stream
    else:
        with left_at_its_end(*_ipmitool(machine)) as stream:
            _wait_operational(stream.fileno())
            yield stream


def _take(fd: int, path: Path, rate: int) -> None:
    """Have a serial port for ourselves, at `rate`: two who read it get half of it each."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        attributes = termios.tcgetattr(fd)
        # A cable of three wires has no carrier, and no flow control but by XON and XOFF.
        attributes[_CONTROL] |= termios.CLOCAL | termios.CREAD
        attributes[_CONTROL] &= ~(termios.HUPCL | termios.CRTSCTS | termios.CSTOPB)
        attributes[_SPEED] = [getattr(termios, f"B{rate}")] * 2
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
    except BlockingIOError as error:
        raise HostError(
            f"another program has the console {path}", f"`fuser {path}` tells which"
        ) from error
    except termios.error as error:
        raise HostError(f"{path} is no serial port of {rate} baud: {error.args[-1]}") from error


def _ipmitool(machine: Machine) -> tuple[list[str], dict[str, str]]:
    """A command line, and an environment of its own: all may read the one, root the other."""
    if shutil.which("ipmitool") is None:
        raise HostError("serial over LAN needs the program ipmitool", "sudo apt install ipmitool")
    bmc = powers.of(machine.power, machine.mac, "", ask=lambda _: None)
    if not isinstance(bmc, Ipmi):
        raise UsageError(f'the console of {machine.name} needs power.method = "ipmi"')
    who = ["-I", "lanplus", "-H", bmc.address, "-p", str(bmc.port), "-U", bmc.user, "-E"]
    argv = ["ipmitool", *who, "-e", _NEVER_TYPED, "sol", "activate"]
    return argv, {"IPMI_PASSWORD": bmc.secret.read()}


def _wait_operational(fd: int) -> None:
    """Until SOL is. Byte by byte: what the machine says behind that line is to be read later."""
    said, until = b"", time.monotonic() + _PATIENCE
    with contextlib.suppress(OSError):  # it has ended
        while _OPERATIONAL not in said and wait_ready([fd], [], until - time.monotonic()):
            said += os.read(fd, 1)
        while _OPERATIONAL in said and not said.endswith(b"\n"):
            said += os.read(fd, 1)
    if _OPERATIONAL not in said:
        lines = said.decode(errors="replace").split("\n")
        why = [line.strip() for line in lines if line.strip()] or ["it does not answer"]
        raise HostError(
            f"SOL cannot be had of the BMC: {why[-1]}",
            "is it enabled there, for this user? `ipmitool … sol deactivate` ends another's",
        )
