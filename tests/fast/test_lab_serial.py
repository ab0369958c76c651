"""What lab.toml may say of a console, and what of it means that a machine is dead."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt.netboot.lab import Serial, lab_of, serial_of
from behunt.runners.lab.watching import deaths

LAB = {"interface": "lab0", "address": "10.77.0.1/24", "range": ["10.77.0.50", "10.77.0.99"]}
NODE = {"name": "node1", "mac": "02:00:00:00:00:01"}
BMC = {"method": "ipmi", "address": "10.0.9.2"}


@pytest.mark.parametrize(
    ("console", "serial"),
    [
        ("none", None),
        ("sol", Serial()),
        ("sol,57600", Serial(rate=57600)),
        ("/dev/ttyUSB0", Serial(device=Path("/dev/ttyUSB0"))),
        ("/dev/ttyUSB0,9600", Serial(device=Path("/dev/ttyUSB0"), rate=9600)),
        ("tcp:127.0.0.1:4001", Serial(server=("127.0.0.1", 4001))),
        ("tcp:rack3-console:4001,9600", Serial(server=("rack3-console", 4001), rate=9600)),
        ("tcp:[fd77::9]:4001", Serial(server=("fd77::9", 4001))),
    ],
)
def test_consoles(console: str, serial: Serial | None) -> None:
    assert serial_of(console) == serial


@pytest.mark.parametrize(
    ("console", "why"),
    [
        ("", "console = '' must be like none, sol, tcp:127.0.0.1:4001 or /dev/ttyUSB0,9600"),
        ("ttyUSB0", "console = 'ttyUSB0' must be like"),
        ("tcp:4001", "console = 'tcp:4001' must be like"),
        ("tcp:127.0.0.1:telnet", "must be like"),
        ("tcp:127.0.0.1:65536", "must be like"),
        ("tcp:a..b:4001", "must be like"),
        ("tcp:fd77::9:4001", "must be like"),
        ("/dev/tty\0", "must be like"),
        ("none,9600", "must be like"),
        ("/dev/ttyUSB0,9601", "'9601' is no rate of a serial port: 1200, 2400,"),
        ("/dev/ttyUSB0,", "'' is no rate of a serial port"),
        ("/dev/ttyUSB0,9600,8n1", "'9600,8n1' is no rate"),
        ("sol", 'is of a BMC: it needs power.method = "ipmi"'),
    ],
)
def test_a_console_that_is_none(console: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^machine node1: console = ") as error:
        lab_of({"lab": LAB, "machine": [{**NODE, "console": console}]})
    assert why in str(error.value)


@given(st.text())
def test_any_text_is_a_console_or_is_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert serial_of(text) is None or text.startswith(("sol", "tcp:", "/"))


def test_serial_over_lan_is_by_the_bmc_of_its_power() -> None:
    machines = lab_of({"lab": LAB, "machine": [{**NODE, "console": "sol", "power": BMC}]}).machines
    assert machines[0].console == "sol"


@pytest.mark.parametrize("os", ["debian", "freebsd", "netbsd", "openbsd"])
def test_what_firmware_shows_is_no_death(os: str) -> None:
    names = " ".join(row.name for row in deaths(os))
    assert "panic" in names
    for word in ("SeaBIOS", "grub", "No bootable", "login", "Revision"):
        assert word not in names
