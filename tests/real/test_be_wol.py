"""`behunt be wol`: which wire the magic packet goes over."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from behunt_cli import Behunt
from lab_file import LAB, machine
from lab_power import Network, network, wake_listener

from behunt.netboot.power.wol import magic

pytestmark = pytest.mark.real
MAC = "02:00:00:00:00:01"
SECUREON = "01:02:03:04:05:06"
# A network of its own, whose way out is one end of a cable.
ALONE = """\
ip link add out0 type veth peer name other0
ip link set out0 up
ip route add default dev out0
exec "$@"
"""


@pytest.fixture(scope="module")
def wire() -> Iterator[Network]:
    with network() as made:
        yield made


def test_a_machine_of_a_lab_is_woken_there_with_its_password(behunt: Behunt, wire: Network) -> None:
    power = '{ method = "wol", password_env = "SECUREON" }'
    lab = "\n".join([LAB.replace("lab0", wire.outside), machine(1, power)])
    (behunt.place / "lab.toml").write_text(lab)
    woken = threading.Semaphore(0)
    with wake_listener("lab0", MAC, woken.release, enter=wire.enter) as frames:
        done = behunt("be", "wol", MAC.replace(":", "-"), env={"SECUREON": SECUREON})
        assert done.out == f"sent to {MAC} out of {wire.outside} (the lab of node1)\n"
        assert woken.acquire(timeout=30)
    assert frames[0].endswith(magic(MAC, bytes.fromhex(SECUREON.replace(":", ""))))


def test_any_card_is_woken_out_of_the_interface_that_is_named(
    behunt: Behunt, wire: Network
) -> None:
    woken = threading.Semaphore(0)
    with wake_listener("lab0", MAC, woken.release, enter=wire.enter) as frames:
        done = behunt("be", "wol", MAC, "--interface", wire.outside)
        assert done.out == f"sent to {MAC} out of {wire.outside} (as asked for)\n"
        assert woken.acquire(timeout=30)
    assert frames[0].endswith(magic(MAC))


def test_else_it_goes_where_the_default_route_does(behunt: Behunt) -> None:
    alone = ("unshare", "--net", "sh", "-ec", ALONE, "sh")
    done = Behunt(behunt.place, behunt.home, alone)("be", "wol", MAC)
    assert done.out == f"sent to {MAC} out of out0 (the default route)\n"
    nowhere = Behunt(behunt.place, behunt.home, ("unshare", "--net"))
    said = nowhere.fails(1, "be", "wol", MAC, says="nothing tells which interface")
    assert "--interface" in said


def test_what_cannot_be_woken(behunt: Behunt) -> None:
    behunt.fails(2, "be", "wol", "rack3-node2", says="is no address of a network card")
    behunt.fails(1, "be", "wol", MAC, "--interface", "gone0", says="cannot send a packet out of")
