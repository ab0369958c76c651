"""`behunt machines` over machines that can be switched, and runs that have them."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from behunt_cli import COMMAND, Behunt
from lab_file import lab_file, machine, switch, switched_by

from behunt.netboot.lab import read
from behunt.netboot.leases import leased
from behunt.storage.home import Home

pytestmark = pytest.mark.real
BAD = '{ method = "command", on = ["gone"], off = ["gone"], status = ["gone"] }'


@pytest.fixture
def lab(behunt: Behunt) -> Path:
    program = switch(behunt.place / "switch")
    rows = [machine(number, switched_by(program, f"node{number}")) for number in (1, 2)]
    return lab_file(behunt.place / "lab.toml", rows)


@pytest.fixture
def in_use(behunt: Behunt, lab: Path) -> Iterator[str]:
    """The name of a machine that somebody has."""
    node1 = read(lab).machine("node1")
    with leased(Home(behunt.home).make().locks, [node1]):
        yield node1.name


def asked(behunt: Behunt) -> list[str]:
    return (behunt.place / "asked").read_text().splitlines()


def test_power_is_switched_and_told(behunt: Behunt, lab: Path) -> None:
    assert lab.exists()
    assert behunt("machines", "power", "on", "node2").out == "node2 is on\n"
    assert behunt("machines", "status").out == (
        "name    power    use    method\n"
        "node1   off      free   command\n"
        "node2   on       free   command\n"
    )
    assert behunt("machines", "power", "cycle", "node2").out == "node2 is on\n"
    assert behunt("machines", "power", "off", "node2").out == "node2 is off\n"
    switched = [line for line in asked(behunt) if not line.startswith("status")]
    assert switched == ["on node2", "off node2", "on node2", "off node2"]


def test_only_who_is_named_is_asked(behunt: Behunt, lab: Path) -> None:
    assert lab.exists()
    done = behunt("machines", "status", "node2", "--json")
    assert [(row["name"], row["power"], row["in_use"]) for row in done.json] == [
        ("node2", "off", False)
    ]
    assert asked(behunt) == ["status node2"]


def test_one_that_cannot_be_asked_is_a_cell(behunt: Behunt) -> None:
    program = switch(behunt.place / "switch")
    rows = [machine(1, BAD), machine(2, switched_by(program, "node2")), machine(3)]
    lab_file(behunt.place / "lab.toml", [*rows, machine(4, '{ method = "magic" }')])
    done = behunt("machines", "status", "--json")
    told = {row["name"]: (row["power"], row["error"]) for row in done.json}
    assert done.code == 1
    assert told["node2"] == ("off", "")
    assert told["node3"] == ("unknown", ""), "a person is not asked"
    assert [told[name][0] for name in ("node1", "node4")] == [None, None]
    assert "cannot execute gone" in told["node1"][1]
    table = behunt("machines", "status")
    assert "there is no method 'magic'" in table.out.splitlines()[4]
    assert "node4: methods: wol" in table.err
    assert behunt("machines", "status", "node2", "node3").code == 0


def test_one_that_a_run_has_is_not_switched(behunt: Behunt, in_use: str) -> None:
    rows = behunt("machines", "status", "--json").json
    assert [row["in_use"] for row in rows] == [True, False]
    said = behunt.fails(1, "machines", "power", "on", in_use, says=f"a run uses {in_use}")
    assert "--force" in said
    assert behunt("machines", "status", in_use, "--json").json[0]["power"] == "off"
    assert behunt("machines", "power", "on", "--force", in_use).out == f"{in_use} is on\n"
    assert behunt("machines", "status", in_use, "--json").json[0]["in_use"]


def test_one_that_is_switched_is_free_again(behunt: Behunt, lab: Path) -> None:
    assert lab.exists()
    behunt("machines", "power", "on", "node1")
    with leased(Home(behunt.home).locks, [read(lab).machine("node1")]) as (_, abandoned):
        assert not abandoned


def test_somebody_is_asked_at_the_terminal(behunt: Behunt) -> None:
    lab_file(behunt.place / "lab.toml", [machine(1)])
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "machines", "power", "cycle", "node1"],
        cwd=behunt.place,
        env=behunt.environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as asking:
        os.write(ours, b"\n")
        out, err = asking.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert "Switch the machine 02:00:00:00:00:01 off, and on again. Then press Enter" in err
    assert (asking.returncode, out) == (
        0,
        "node1 was switched (cycle); nothing tells its power\n",
    )
