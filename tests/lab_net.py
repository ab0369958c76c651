"""A lab in a network namespace: its network, and machines that boot from it, in QEMU.

with lab(tmp_path) as lab, Switch(lab.metal(1)) as switch:
    lab.write({"name": "node1", "mac": lab.mac(1), "power": …})
    behunt = replace(behunt, prefix=lab.enter)
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MACHINES = 2
ADDRESS = "10.77.0.1"
ELSEWHERE = "10.78.0.1"  # of the same machine, on a network that is not the lab's
_FIRMWARE = Path("/usr/share/OVMF")
_NET = f"""
set -e
# What is advertised in there is for the machines: it would be a way out that leads nowhere.
echo 0 >/proc/sys/net/ipv6/conf/default/accept_ra
echo 0 >/proc/sys/net/ipv6/conf/all/accept_ra
ip link set lo up
ip link add lab0 type bridge
ip address add {ADDRESS}/24 dev lab0
ip address add fd77::1/64 dev lab0 nodad
ip link set lab0 up
for number in 1 {MACHINES}; do
    # the switch's port, a cable to its plug, and a card whose tap has a carrier only while it is on
    ip link add port$number type veth peer name plug$number
    ip link add card$number type bridge
    ip tuntap add dev metal$number mode tap
    ip link set port$number master lab0 up
    ip link set plug$number master card$number up
    ip link set metal$number master card$number up
    ip link set card$number up
done
ip link add other0 type bridge # another network of this machine
ip address add {ELSEWHERE}/24 dev other0
ip link set other0 up
for port in port1 plug1 port2 plug2; do # they forward some moments after they are up
    until ip -details link show $port | grep -q 'state forwarding'; do sleep 0.02; done
done
"""
# cat ends when our end of its input is gone, whatever becomes of us.
_HOLD = "\necho ready; exec cat"


@dataclass(frozen=True)
class LabNet:
    """`enter` goes before a command that is to run in the lab; lab.toml is in `directory`."""

    directory: Path
    holder: int
    enter: tuple[str, ...]

    @property
    def file(self) -> Path:
        return self.directory / "lab.toml"

    def mac(self, number: int) -> str:
        return f"52:54:00:77:00:{number:02x}"

    def console(self, number: int) -> str:
        """What a machine has shown on its serial port."""
        file = self.directory / f"serial{number}"
        return file.read_text(errors="replace") if file.exists() else ""

    def run(self, *argv: str) -> str:
        done = subprocess.run([*self.enter, *argv], check=True, capture_output=True, text=True)
        return done.stdout

    def write(self, *machines: Mapping[str, Any], **more: Any) -> Path:
        """A lab.toml of these; TOML takes the strings, numbers and lists of JSON."""
        lab = {"interface": "lab0", "address": f"{ADDRESS}/24", "ipv6": "fd77::1/64", **more}
        lab.setdefault("range", ["10.77.0.50", "10.77.0.99"])
        tables = [("[lab]", lab), *(("[[machine]]", one) for one in machines)]
        lines = []
        for heading, table in tables:
            lines += [heading, *(f"{key} = {_toml(value)}" for key, value in table.items())]
        self.file.write_text("\n".join(lines) + "\n")
        return self.file

    def metal(self, number: int, *, uefi: bool = False) -> list[str]:
        """QEMU with an empty machine, whose firmware boots from the network."""
        card = f"virtio-net-pci,netdev=net,mac={self.mac(number)}"
        variables = self.directory / f"variables{number}"
        if uefi:
            shutil.copy(_FIRMWARE / "OVMF_VARS_4M.fd", variables)
        flash = "if=pflash,format=raw"
        firmware = [
            *("-drive", f"{flash},readonly=on,file={_FIRMWARE / 'OVMF_CODE_4M.fd'}"),
            *("-drive", f"{flash},file={variables}"),
            *("-device", "virtio-rng-pci"),
        ]
        tap = f"tap,id=net,ifname=metal{number},script=no,downscript=no"
        return [
            *(*self.enter, "setpriv", "--pdeathsig=KILL", "qemu-system-x86_64"),
            *("-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-boot", "n"),
            *("-nodefaults", "-nographic", "-no-reboot"),
            *("-serial", f"file:{self.directory}/serial{number}"),
            *("-netdev", tap, "-device", f"{card},romfile=" if uefi else card),
            *(firmware if uefi else ()),
        ]

    def processes(self) -> set[int]:
        """Those in the lab, but for what holds it."""
        own = Path(f"/proc/{self.holder}/ns/net").readlink()
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "ns/net").readlink() == own:
                    found.add(int(process.name))
        return found - {self.holder}


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


@contextlib.contextmanager
def namespace(script: str = "") -> Iterator[tuple[int, tuple[str, ...]]]:
    """A network namespace, in which `script` was run: who holds it, and words to enter it.

    It ends, with all its interfaces, with the block, and with the process that had it made.
    """
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", script + _HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        yield holder.pid, ("nsenter", f"--net=/proc/{holder.pid}/ns/net")


@contextlib.contextmanager
def lab(directory: Path) -> Iterator[LabNet]:
    directory.mkdir()
    with namespace(_NET) as (holder, enter):
        yield LabNet(directory, holder, enter)


@contextlib.contextmanager
def neighbour(net: LabNet, address: str, bridge: str = "lab0") -> Iterator[tuple[str, ...]]:
    """Another machine of the lab's network, as words to run a command there; its card is eth0.

    Or of the other network, other0.
    """
    with namespace() as (holder, enter):
        port = f"{bridge}-port"
        wire = ["type", "veth", "peer", "name", "eth0", "netns", str(holder)]
        net.run("ip", "link", "add", port, *wire)
        net.run("ip", "link", "set", port, "master", bridge, "up")
        for words in (["address", "add", address, "dev", "eth0"], ["link", "set", "eth0", "up"]):
            subprocess.run([*enter, "ip", *words], check=True)
        yield enter


# What each of the ports by UDP is asked for. All of it goes to all of them: it costs nothing.
_SCAN = """
import select, socket, struct, sys, time

address, mac, *ports = sys.argv[1:]
call = lambda *program: struct.pack(">10I", 7, 0, 2, *program, 0, 0, 0, 0, 0)
asked = [call(100000, 2), call(100003, 3), call(100005, 3), bytes([0, 1]) + b"file\\0octet\\0"]
card = bytes.fromhex(mac.replace(":", ""))
discover = struct.pack(">4BIHH16x16s192x", 1, 1, 6, 0, 7, 0, 1 << 15, card)
asked.append(discover + bytes([99, 130, 83, 99, 53, 1, 1, 255]))

streams = {}
for port in ports:
    stream = socket.socket()
    stream.setblocking(False)
    stream.connect_ex((address, int(port)))
    streams[stream] = port
datagrams = socket.socket(type=socket.SOCK_DGRAM)
datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
datagrams.bind(("", 68))
for data in asked:
    for port in ports:
        datagrams.sendto(data, (address, int(port)))
datagrams.sendto(asked[-1], ("255.255.255.255", 67))

until = time.monotonic() + 4
while (left := until - time.monotonic()) > 0:
    heard, connected, _ = select.select([datagrams], list(streams), [], left)
    for _ in heard:
        _, (_, port) = datagrams.recvfrom(4096)
        print("udp", port if str(port) in ports else 69)  # TFTP answers from a port of its own
    for stream in connected:
        port = streams.pop(stream)
        if stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            print("tcp", port)
"""


def answering(enter: tuple[str, ...], address: str, ports: Iterable[str], mac: str) -> set[str]:
    """Which ports of the address answer a machine, as "udp 67"; by DHCP, to the card `mac`."""
    argv = [*enter, sys.executable, "-c", _SCAN, address, mac, *ports]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    return set(done.stdout.splitlines())
