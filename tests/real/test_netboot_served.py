"""What a lab's machines fetch and are told, while others come and go and what serves them fails."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest
from lab_net import ADDRESS, LabNet, neighbour

pytestmark = pytest.mark.real

CONTENT = bytes(range(256)) * 40

# A behunt in which machines come and go, as it reads.
SERVING = """
import contextlib, sys
from pathlib import Path

from behunt.errors import HostError
from behunt.netboot.dnsmasq import Booting
from behunt.netboot.lab import read
from behunt.netboot.serving import Boots

lab, place = read(Path(sys.argv[1])), Path(sys.argv[2])
answered = {}

def come(name):
    booting = Booting(lab.machine(name), "freebsd", {"root-path": "/there"})
    stack = contextlib.ExitStack()
    stack.enter_context(boots.answered(booting, {}, {"pxeboot": bytes(range(256)) * 40}))
    answered[name] = stack

def go(name):
    answered.pop(name).close()

with Boots(lab, place) as boots:
    print("serving", flush=True)
    for line in sys.stdin:
        verb, name = line.split()
        try:
            {"come": come, "go": go}[verb](name)
            print("done", flush=True)
        except HostError as error:
            print(error.message, flush=True)
"""
# A loader that takes the first block of its file, and the others when it is told so.
LOADER = f"""
import hashlib, socket, struct, sys
with socket.socket(type=socket.SOCK_DGRAM) as own:
    own.settimeout(20)
    own.sendto(b"\\0\\1pxeboot\\0octet\\0", ("{ADDRESS}", 69))
    data, peer = own.recvfrom(600)
    print("begun", flush=True)
    sys.stdin.readline()
    content, last = b"", 0
    while True:
        operation, block = struct.unpack_from(">2H", data)
        assert operation == 3, data
        if block == last + 1:
            content, last = content + data[4:], block
        own.sendto(struct.pack(">2H", 4, block), peer)
        if len(data) < 516:
            break
        data, _ = own.recvfrom(600)
print(hashlib.sha256(content).hexdigest(), flush=True)
"""


class Program:
    """One of these, which says a line for each that it is told."""

    def __init__(self, enter: Sequence[str], text: str, *words: str | Path) -> None:
        self.process = subprocess.Popen(
            [*enter, sys.executable, "-c", text, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=30)

    def said(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().rstrip("\n")

    def tell(self, line: str) -> str:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.said()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@contextlib.contextmanager
def serving(net: LabNet, place: Path, *macs: str) -> Iterator[Program]:
    """For the machines node1 and so on, with these cards."""
    rows = [
        {"name": f"node{number}", "mac": mac, "power": {"method": "wol"}}
        for number, mac in enumerate(macs, 1)
    ]
    with Program(net.enter, SERVING, net.write(*rows), place) as behunt:
        assert behunt.said() == "serving"
        yield behunt


def test_what_a_machine_fetches_goes_on_while_others_come_and_go(net: LabNet, place: Path) -> None:
    with neighbour(net, "10.77.0.60/24") as enter:
        shown = [*enter, "ip", "-json", "link", "show", "eth0"]
        mac = json.loads(subprocess.run(shown, check=True, capture_output=True).stdout)[0]
        with serving(net, place, mac["address"], net.mac(2)) as behunt:
            assert behunt.tell("come node1") == "done"
            with Program(enter, LOADER) as loader:
                assert loader.said() == "begun"
                assert behunt.tell("come node2") == "done"
                assert behunt.tell("go node2") == "done"
                assert loader.tell("go on") == hashlib.sha256(CONTENT).hexdigest()


def test_nothing_is_left_of_a_machine_whose_dhcp_does_not_come_back(
    net: LabNet, place: Path
) -> None:
    conf, away = place / "dhcp.conf", place / "away"

    def left() -> list[str]:
        told = [(place / name).read_text() for name in ("hosts", "options")]
        return [*filter(None, told), *(path.name for path in (place / "tftp").iterdir())]

    with serving(net, place, net.mac(1), net.mac(2)) as behunt:
        conf.rename(away)
        assert "dnsmasq does not start" in behunt.tell("come node1")
        assert left() == []
        away.rename(conf)
        assert behunt.tell("come node1") == "done"
        conf.rename(away)
        assert "dnsmasq does not start" in behunt.tell("go node1")
        assert left() == []
        away.rename(conf)
        assert behunt.tell("come node1") == behunt.tell("come node2") == "done"
        assert len(left()) == 4  # two lists, two directories
