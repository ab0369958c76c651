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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MACHINES = 2
ADDRESS = "10.77.0.1"
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
ip link add other0 type veth peer name other1 # another network of this machine
ip address add 10.78.0.1/24 dev other0
ip link set other0 up
ip link set other1 up
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
def neighbour(net: LabNet, address: str) -> Iterator[tuple[str, ...]]:
    """Another machine of the lab's network, as words to run a command there; its card is eth0."""
    with namespace() as (holder, enter):
        wire = ["type", "veth", "peer", "name", "eth0", "netns", str(holder)]
        net.run("ip", "link", "add", "port9", *wire)
        net.run("ip", "link", "set", "port9", "master", "lab0", "up")
        for words in (["address", "add", address, "dev", "eth0"], ["link", "set", "eth0", "up"]):
            subprocess.run([*enter, "ip", *words], check=True)
        yield enter
