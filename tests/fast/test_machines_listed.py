"""The machines of a lab.toml at the command line, where none of them is asked anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from behunt_cli import Behunt
from lab_file import lab_file, machine

WOL = '{ method = "wol" }'


@pytest.fixture
def lab(behunt: Behunt) -> Path:
    rows = [machine(1, WOL, ip="10.77.0.51"), machine(2, firmware="uefi", arch="i386")]
    return lab_file(behunt.place / "lab.toml", rows)


def test_machines_are_listed(behunt: Behunt, lab: Path) -> None:
    assert lab.exists()
    assert behunt("machines", "list").out == (
        "name    mac                address     firmware    arch    method\n"
        "node1   02:00:00:00:00:01  10.77.0.51  bios        amd64   wol\n"
        "node2   02:00:00:00:00:02  any         uefi        i386    hand\n"
    )


def test_machines_are_objects(behunt: Behunt, lab: Path) -> None:
    assert behunt("machines", "list", "--lab", lab, "--json").json == [
        {
            "name": "node1",
            "mac": "02:00:00:00:00:01",
            "address": "10.77.0.51",
            "firmware": "bios",
            "arch": "amd64",
            "method": "wol",
        },
        {
            "name": "node2",
            "mac": "02:00:00:00:00:02",
            "address": "",
            "firmware": "uefi",
            "arch": "i386",
            "method": "hand",
        },
    ]


def test_a_lab_without_machines(behunt: Behunt) -> None:
    lab_file(behunt.place / "lab.toml", [])
    assert behunt("machines", "list").out == "no machines\n"
    assert behunt("machines", "list", "--json").json == []
    behunt.fails(2, "machines", "status", says="this lab has no machines")


def test_the_first_lab_is_here_then_the_users(behunt: Behunt, lab: Path) -> None:
    users = behunt.place / ".config/behunt/lab.toml"
    users.parent.mkdir(parents=True)
    lab_file(users, [machine(7)])
    other = lab_file(behunt.place / "other.toml", [machine(9)])
    names = [["node1", "node2"], ["node7"], ["node9"]]
    found = [[row["name"] for row in behunt("machines", "list", "--json").json]]
    lab.unlink()
    found.append([row["name"] for row in behunt("machines", "list", "--json").json])
    said = behunt("machines", "list", "--json", env={"BEHUNT_LAB": str(other)}).json
    assert [*found, [row["name"] for row in said]] == names


@pytest.mark.parametrize("verb", [("list",), ("status",), ("power", "on", "node1")])
def test_without_a_lab(behunt: Behunt, verb: tuple[str, ...]) -> None:
    if Path("/etc/behunt/lab.toml").exists():
        pytest.skip("this machine has a lab")
    said = behunt.fails(2, "machines", *verb, says="there is no lab.toml here")
    assert "--lab" in said
    behunt.fails(2, "machines", *verb, "--lab", "gone.toml", says="cannot read gone.toml")


def test_a_machine_that_is_not_there(behunt: Behunt, lab: Path) -> None:
    assert lab.exists()
    for words in (("status", "node3"), ("power", "off", "node3")):
        said = behunt.fails(2, "machines", *words, says="there is no machine node3 in this lab")
        assert "machines: node1, node2" in said
    behunt.fails(2, "machines", "power", "up", "node1", says="'up' is not one of")


def test_what_a_method_cannot_do(behunt: Behunt, lab: Path) -> None:
    assert lab.exists()
    behunt.fails(1, "machines", "power", "off", "node1", says="wake-on-LAN cannot switch")
    behunt.fails(1, "machines", "power", "off", "node2", says="There is nobody to ask")


def test_a_runner_that_has_no_lab_reads_none(behunt: Behunt) -> None:
    (behunt.place / "lab.toml").write_text("[lab")
    catalogue = behunt.place / "builds.toml"
    catalogue.write_text('os = "demo"\n[[release]]\nversion = "1"\n')
    words = ("run", "--catalogue", catalogue, "--runner")
    assert behunt(*words, "none", "1", "--", "true").code == 0
    behunt.fails(2, *words, "metal", "1", "--", "true", says="lab.toml is not valid TOML")
