"""Machines as QEMU really builds them. A boot sector is all the system that most of this takes."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from guest import debian

from behunt import catalogue
from behunt.hosts.qmp import Qmp
from behunt.runners.vm import firmware
from behunt.runners.vm.accel import installed
from behunt.runners.vm.eras import ARCHES, hardware_of
from behunt.runners.vm.exchange_disk import File, read, write
from behunt.runners.vm.machine import (
    Bus,
    Chipset,
    Disk,
    Firmware,
    From,
    Hardware,
    Kernel,
    Machine,
    Nic,
)
from behunt.runners.vm.qemu_args import Emulator, qemu_args

pytestmark = pytest.mark.real

LINUX = catalogue.find(catalogue.load("debian"), "12", os="debian", arch="amd64")
OLD = catalogue.find(catalogue.load("freebsd"), "4.11", os="freebsd")
# Print what is at 0x7c40 on the first serial line, and power off: ACPI, PM1a control.
HELLO = bytes.fromhex("baf803 be407c ac 84c0 7403 ee ebf8 ba0406 b80020 ef ebfe")


@contextlib.contextmanager
def started(machine: Machine, directory: Path) -> Iterator[tuple[Qmp, socket.socket]]:
    """Its monitor and its console; it is paused."""
    for name in ("qmp", "serial"):
        (directory / name).unlink(missing_ok=True)
    argv = qemu_args(
        machine,
        Emulator("tcg", sandboxed=installed().sandbox),
        serial=Path("serial"),
        qmp=Path("qmp"),
    )
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *argv], cwd=directory, stderr=subprocess.PIPE
    )
    try:
        with (
            Qmp(directory / "qmp", gone=lambda: process.poll() is not None) as monitor,
            socket.socket(socket.AF_UNIX) as console,
        ):
            console.settimeout(60)
            console.connect(str(directory / "serial"))
            yield monitor, console
    finally:
        process.kill()
        print(process.communicate()[1].decode())


def disk(path: Path, bus: Bus, text: str = "") -> Disk:
    sector = HELLO.ljust(64, b"\0") + text.encode()
    path.write_bytes(sector.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    return Disk(path, bus)


def heard(console: socket.socket) -> str:
    said = b""
    while data := console.recv(4096):
        said += data
    return said.decode()


def different() -> list[Hardware]:
    releases = [build for entry in catalogue.load().entries for build in entry.builds]
    found = {hardware_of(release) for release in releases if release.arch in ARCHES}
    # those that differ in more than what the guest calls its disks
    return sorted({replace(one, device="", qemu=0) for one in found}, key=repr)


@pytest.mark.parametrize("hardware", different(), ids=lambda h: f"{h.arch}-{h.cpu}-{h.disk}")
def test_qemu_has_every_machine_of_the_catalogue(tmp_path: Path, hardware: Hardware) -> None:
    disks = tuple(disk(tmp_path / name, hardware.disk) for name in "ab")
    uefi = firmware.uefi() if hardware.firmware is Firmware.UEFI else None
    one = Machine("m", hardware, From.DISK, disks, nic=Nic(hardware.nic), uefi=uefi)
    with started(one, tmp_path) as (monitor, _):
        assert monitor.status() == "prelaunch"


@pytest.mark.parametrize(
    ("chipset", "bus"),
    [
        (Chipset.PC, Bus.IDE),
        (Chipset.PC, Bus.AHCI),
        (Chipset.PC, Bus.VIRTIO),
        (Chipset.Q35, Bus.AHCI),
        (Chipset.Q35, Bus.VIRTIO),
        (Chipset.Q35, Bus.NVME),
    ],
)
def test_the_first_disk_is_booted(tmp_path: Path, chipset: Chipset, bus: Bus) -> None:
    """And what it says first is heard, since nobody starts it before there are listeners."""
    hardware = replace(hardware_of(LINUX), chipset=chipset)
    disks = (disk(tmp_path / "a", bus, "the first"), disk(tmp_path / "b", bus, "the second"))
    with started(Machine("m", hardware, From.DISK, disks), tmp_path) as (monitor, console):
        monitor.go_on()
        assert monitor.ended(60) == "guest-shutdown"
        assert heard(console) == "the first"


def test_an_old_machine_boots_beside_its_cards(tmp_path: Path) -> None:
    hardware = hardware_of(OLD)
    first = disk(tmp_path / "a", hardware.disk, "old")
    one = Machine("m", hardware, From.DISK, (first,), nic=Nic(hardware.nic))
    with started(one, tmp_path) as (monitor, console):
        monitor.go_on()
        assert monitor.ended(60) == "guest-shutdown"
        assert heard(console) == "old"


def test_a_scratch_disk_is_as_before(tmp_path: Path) -> None:
    """The boot sector of this one writes itself to the second sector, and reboots."""
    sector = bytes.fromhex("b80103 b90200 ba8000 bb007c cd13 b0fe e664 ebfe")
    image = tmp_path / "a"
    image.write_bytes(sector.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    for scratch in (True, False):
        before = image.read_bytes()
        disks = (Disk(image, Bus.VIRTIO, scratch=scratch),)
        with started(Machine("m", hardware_of(LINUX), From.DISK, disks), tmp_path) as (monitor, _):
            monitor.go_on()
            assert monitor.ended(60) == "guest-reset"
        assert (image.read_bytes() == before) == scratch


def test_a_machine_is_resumed_with_another_disk(tmp_path: Path) -> None:
    """Its state is that of before; what lies on its disks is not part of it."""
    # print r; wait for a byte on the serial line; read the second sector; print it; power off
    code = "baf803 b072 ee bafd03 ec a801 74fb b80102 b90200 ba8000 bb007e cd13 be007e baf803"
    sector = bytes.fromhex(code + "ac 84c0 7403 ee ebf8 ba0406 b80020 ef ebfe")
    image = tmp_path / "a"

    def second(text: bytes) -> None:
        content = sector.ljust(510, b"\0") + b"\x55\xaa" + text.ljust(1 << 20, b"\0")
        image.write_bytes(content)

    one = Machine("m", hardware_of(LINUX), From.DISK, (Disk(image, Bus.VIRTIO),))
    assert one.savable
    second(b"before")
    with started(one, tmp_path) as (monitor, console):
        monitor.go_on()
        assert console.recv(1) == b"r"
        monitor.save(tmp_path / "state", timeout=60)
    second(b"afterwards")
    with started(replace(one, resumed=True), tmp_path) as (monitor, console):
        assert monitor.status() == "inmigrate"
        monitor.load(tmp_path / "state", timeout=60)
        monitor.go_on()
        console.sendall(b"!")
        assert monitor.ended(60) == "guest-shutdown"
        assert heard(console) == "afterwards"


def test_a_guest_may_reboot_where_its_test_says_so(tmp_path: Path) -> None:
    """It reboots as often as nobody ends it."""
    sector = bytes.fromhex("baf803 b072 ee b0fe e664 ebfe")
    image = tmp_path / "a"
    image.write_bytes(sector.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    disks = (Disk(image, Bus.VIRTIO),)
    one = Machine("m", hardware_of(LINUX), From.DISK, disks, reboots=True)
    with started(one, tmp_path) as (monitor, console):
        monitor.go_on()
        assert b"".join(console.recv(1) for _ in range(3)) == b"rrr"
        assert monitor.ended(0.01) is None


INIT = """#!/busybox sh
/busybox mkdir -p /proc /dev /work
/busybox mount -t devtmpfs none /dev
cd /work
/busybox tar -xf DEVICE && /busybox sh ./job </dev/null >output 2>&1
echo $? >status
/busybox tar -cf DEVICE output out status
/busybox poweroff -f
"""


def test_a_linux_reads_and_writes_the_exchange_disk(tmp_path: Path) -> None:
    """On NVMe, for which Debian's cloud kernels need no module."""
    place = replace(hardware_of(LINUX), device="/dev/nvme{n}n1").device_of(0)
    root, into = tmp_path / "root", tmp_path / "into"
    root.mkdir()
    into.mkdir()
    shutil.copy("/bin/busybox", root / "busybox")
    (root / "init").write_text(INIT.replace("DEVICE", place), encoding="ascii")
    (root / "init").chmod(0o755)
    initrd, exchange = tmp_path / "initrd", tmp_path / "exchange"
    archive = ["bsdtar", "--format", "newc", "-cf", str(initrd), "-C", str(root), "."]
    subprocess.run(archive, check=True)
    job = b"echo said; /busybox mkdir out; /busybox tr a-z A-Z <work/words >out/words; exit 7"
    write(exchange, [File("job", job), File("work/words", b"words\n" * 20_000)], 5 << 20)
    linux = debian.kernel(debian.root()) / "vmlinuz"
    boot = Kernel(linux, initrd, "console=ttyS0 quiet panic=-1")
    one = Machine("m", hardware_of(LINUX), boot, (Disk(exchange, Bus.NVME),))
    with started(one, tmp_path) as (monitor, console):
        monitor.go_on()
        print(heard(console))
        assert monitor.ended(120) == "guest-shutdown"
    found = read(exchange, into)
    assert (found.files, found.whole) == (("output", "out/words", "status"), True)
    assert (into / "status").read_text(encoding="ascii") == "7\n"
    assert (into / "output").read_text(encoding="ascii") == "said\n"
    assert (into / "out/words").read_text(encoding="ascii") == "WORDS\n" * 20_000
