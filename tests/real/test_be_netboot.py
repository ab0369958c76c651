"""`behunt be bootpxe` and `sharepxe`: machines of a lab, in QEMU, that somebody sits at."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from behunt_cli import Behunt
from homes import netbooting
from lab_net import LabNet
from lab_power import Switch

from behunt.storage.home import Home

pytestmark = pytest.mark.real
PATIENCE = 120.0  # seconds, for a machine to boot
ALONE = "No /sbin/init here: a shell of root's."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Home:
    return netbooting(tmp_path_factory.mktemp("pxe") / "home", kept, ["debian-12-amd64"])


@pytest.fixture
def switches(net: LabNet) -> Iterator[list[Switch]]:
    with Switch(net.metal(1)) as one, Switch(net.metal(2)) as two:
        rows = [
            {**_machine(net, number), "power": _power(switch)}
            for number, switch in enumerate([one, two], 1)
        ]
        net.write(*rows)
        yield [one, two]


@pytest.fixture
def behunt(tmp_path: Path, home: Home, net: LabNet) -> Behunt:
    (tmp_path / "place").mkdir()
    return Behunt(tmp_path / "place", home.path, prefix=net.enter)


def _machine(net: LabNet, number: int) -> dict[str, object]:
    console = {"console": "/dev/ttyUSB0,115200", "patience": PATIENCE}
    return {"name": f"node{number}", "mac": net.mac(number), **console}


def _power(switch: Switch) -> dict[str, object]:
    return {"method": "command", **{verb: switch.words(verb) for verb in ("on", "off", "status")}}


def _until(what: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < until
        time.sleep(0.1)


def _nothing_is_left(behunt: Behunt, net: LabNet, pid: int) -> None:
    """Of that behunt; others use what is kept, too."""
    _until(lambda: not net.processes())
    assert list(Home(behunt.home).machines.glob(f".serving.{pid}x*")) == []
    assert list(behunt.home.glob("clones/*")) == []
    rows = behunt("machines", "status", "--lab", net.file, "--json").json
    assert {(row["power"], row["in_use"]) for row in rows} == {("off", False)}


def test_a_machine_is_booted_until_ctrl_c_cuts_its_power(
    behunt: Behunt, net: LabNet, switches: list[Switch]
) -> None:
    words = ("be", "bootpxe", "debian-12", "--machine", "node1", "--lab", net.file)
    with behunt.start(*words) as running:
        _until(lambda: ALONE in net.console(1))
        said = behunt("machines", "power", "off", "node1", "--lab", net.file)
        assert "a run uses node1" in said.err
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (0, ""), err
    assert not switches[0].is_on
    told = [line for line in err.splitlines() if "node1" in line]
    assert told[0] == "behunt: node1 boots debian-12-amd64; Ctrl-C cuts its power"
    assert "node1 has fetched initrd" in err
    assert "node1 has its root" in err
    assert told[-1] == "behunt: node1 was left"
    _nothing_is_left(behunt, net, running.pid)


def test_a_machine_that_powers_off_ends_it(
    behunt: Behunt, net: LabNet, switches: list[Switch]
) -> None:
    words = ("be", "bootpxe", "debian-12", "--machine", "node1", "--lab", net.file)
    with behunt.start(*words) as running:
        _until(lambda: "iPXE" in net.console(1))
        switches[0].off()
        _, err = running.communicate(timeout=60)
    assert (running.returncode, err.splitlines()[-1]) == (0, "behunt: node1 powered off")
    _nothing_is_left(behunt, net, running.pid)


def test_machines_boot_when_somebody_switches_them_on(
    behunt: Behunt, net: LabNet, switches: list[Switch]
) -> None:
    with behunt.start("be", "sharepxe", "debian-12", "--lab", net.file) as running:
        assert running.stderr is not None
        said = _read(running, "node2 (")
        for switch in switches:
            switch.on()
        _until(lambda: ALONE in net.console(1) and ALONE in net.console(2))
        for switch in switches:
            switch.off()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    for name in ("node1", "node2"):
        assert f"{name} has its root" in said + err
    _nothing_is_left(behunt, net, running.pid)


def _read(running: subprocess.Popen[str], words: str) -> str:
    """What it tells, up to the line that has these words."""
    assert running.stderr is not None
    said = ""
    for line in running.stderr:
        said += line
        if words in line:
            return said
    raise AssertionError(said)


def test_what_cannot_be_booted(behunt: Behunt, net: LabNet, switches: list[Switch]) -> None:
    assert switches
    at = ("--lab", net.file)
    behunt.fails(2, "be", "bootpxe", "debian-12", *at, says="Missing option '--machine'")
    said = behunt.fails(
        2, "be", "bootpxe", "debian-12", "--machine", "node3", *at, says="no machine node3"
    )
    assert "machines: node1, node2" in said
    why = "dragonfly 6.4.2 over the network yet"
    behunt.fails(1, "be", "sharepxe", "dragonfly-6.4.2", *at, says=why)
    why = "the kernel of OpenBSD 5.4 speaks NFS version 2"
    behunt.fails(1, "be", "sharepxe", "openbsd-5.4", *at, says=why)
