"""Consoles of a lab's machines, opened: who has them, who else may, and sitting at one."""

from __future__ import annotations

import re
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pexpect
import pytest
from behunt_cli import COMMAND, Behunt
from lab_console import Port, serial_port
from lab_file import lab_file, machine
from lab_power import PASSWORD, USER, Switch, ipmi_simulator

from behunt.errors import HostError
from behunt.hosts.console import Console
from behunt.hosts.dialogue import Row
from behunt.hosts.transcript import Transcript
from behunt.netboot.consoles import opened
from behunt.netboot.lab import Machine, read
from behunt.netboot.leases import leased
from behunt.storage.home import Home

pytestmark = pytest.mark.real


def node(console: str, **power: object) -> Machine:
    return Machine("node1", "02:00:00:00:00:01", console=console, power=power)


def test_serial_over_lan_is_one_persons(tmp_path: Path) -> None:
    """Of two at once. Whoever leaves makes room; no command line has the password."""
    refused = threading.Event()

    def sit(machine: Machine, port: Port) -> str:
        try:
            with opened(machine) as stream, Transcript(tmp_path / "heard") as transcript:
                assert refused.wait(60)
                commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
                assert any(line.startswith(b"ipmitool\0") for line in commands)
                assert not any(PASSWORD.encode() in line for line in commands)
                return _talked(Console(stream, transcript), port)
        except HostError as error:
            refused.set()
            return error.message

    with (
        serial_port((), "tcp") as port,
        Switch() as switch,
        ipmi_simulator(tmp_path, switch, sol=port.at) as bmc,
        ThreadPoolExecutor() as people,
    ):
        said = people.map(sit, 2 * [node("sol", **bmc.power)], 2 * [port])
        full = "SOL cannot be had of the BMC: Info: SOL payload already active on another session"
        assert sorted(said) == [full, "welcome"]
        argv = ["ipmitool", "-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-p", str(bmc.port)]
        argv += ["-U", USER, "-f", str(bmc.password_file), "sol", "activate"]
        next_one = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        assert b"SOL Session operational" in next_one.stdout


def _talked(console: Console, port: Port) -> str:
    with port.machine() as machine:
        machine.sendall(b"login: ")
        console.play([Row(text="login: ", send="root\r", reached="login")], time.monotonic() + 60)
        machine.settimeout(30)
        assert machine.recv(5, socket.MSG_WAITALL) == b"root\r"
        machine.sendall(b"welcome\r\n")
        return console.play([Row(text="welcome", reached="welcome")], time.monotonic() + 60).state


def test_a_serial_port_is_one_programs() -> None:
    with serial_port((), "pty") as port:
        machine = node(f"{port.at},9600")
        with opened(machine) as stream:
            assert termios.tcgetattr(stream.fileno())[4:6] == [termios.B9600, termios.B9600]
            with pytest.raises(HostError, match=f"another program has the console {port.at}"):
                opened(machine).__enter__()
        with opened(machine):
            pass


@pytest.mark.parametrize(
    ("console", "why"),
    [
        ("/dev/null", "/dev/null is no serial port of 115200 baud: Inappropriate ioctl for device"),
        ("/dev/gone", "cannot open the console /dev/gone: No such file or directory"),
        ("tcp:gone.invalid:4001", "cannot connect to the console gone.invalid:4001: "),
    ],
)
def test_a_console_that_is_not_there(console: str, why: str) -> None:
    with pytest.raises(HostError, match=re.escape(why)):
        opened(node(console)).__enter__()


# -- at the command line


@pytest.fixture
def port() -> Iterator[Port]:
    with serial_port((), "tcp") as port:
        yield port


@pytest.fixture
def lab(behunt: Behunt, port: Port) -> Path:
    return lab_file(
        behunt.place / "lab.toml",
        [machine(1, console=port.at), machine(2, console="/dev/gone"), machine(3)],
    )


def test_status_tells_which_consoles_open(behunt: Behunt, lab: Path) -> None:
    rows = behunt("machines", "status", "--json").json
    assert [row["console"] for row in rows] == [True, False, None]
    why = "cannot open the console /dev/gone: No such file or directory"
    assert [row["console_error"] for row in rows] == ["", why, ""]
    done = behunt("machines", "status")
    heading, *lines = [line.split() for line in done.out.splitlines()]
    assert (done.code, heading[-1]) == (0, "console")
    assert [line[-1] for line in lines] == ["opens", "directory", "hand"]
    with leased(Home(behunt.home).make().locks, [read(lab).machine("node1")]):
        in_use = behunt("machines", "status", "node1", "--json").json
    assert [row["console"] for row in in_use] == [None]


def test_somebody_sits_at_a_console(behunt: Behunt, lab: Path, port: Port) -> None:
    assert lab.exists()
    with port.machine() as metal:
        typed = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], "machines", "console", "node1"],
            cwd=behunt.place,
            env=behunt.environment({"TERM": "xterm"}),
            timeout=60,
        )
        try:
            typed.expect_exact("the console of node1; Ctrl-] leaves")
            typed.send("root\r")
            metal.settimeout(60)
            assert metal.recv(5, socket.MSG_WAITALL) == b"root\r"
            metal.sendall(b"welcome\r\n")
            typed.expect_exact("welcome")
            typed.send("\x1d")
            typed.expect_exact("left the console of node1")
            typed.expect(pexpect.EOF)
        finally:
            typed.close(force=True)
    assert typed.exitstatus == 0


def test_a_console_that_a_run_reads_is_left_alone(behunt: Behunt, lab: Path) -> None:
    with leased(Home(behunt.home).make().locks, [read(lab).machine("node1")]):
        said = behunt.fails(1, "machines", "console", "node1", says="a run uses node1")
    assert "--force" in said
    behunt.fails(2, "machines", "console", "node3", says="node3 has no console")
