"""A machine to sit at, whose console is a terminal.

The root of a Linux is the clone itself, by 9p; that of a BSD is on a disk made of it.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from behunt.families import KERNELS
from behunt.hosts.console import Reached
from behunt.hosts.dialogue import Row
from behunt.hosts.sandbox import Sandbox, overlay_options
from behunt.hosts.transcript import Transcript
from behunt.model import Release
from behunt.runners.vm import accel, eras, firmware, freebsd, linux, made, netbsd, seat
from behunt.runners.vm.families import FAMILIES
from behunt.runners.vm.initrd import initrd, needed
from behunt.runners.vm.layers import trees
from behunt.runners.vm.machine import (
    Disk,
    Firmware,
    From,
    Hardware,
    Kernel,
    Machine,
    Nic,
    Share,
)
from behunt.runners.vm.qemu_args import qemu_args
from behunt.runners.vm.running import MONITOR, SERIAL, Running
from behunt.storage.protocol import Clone

_FROM_DISK = {"freebsd": freebsd, "netbsd": netbsd}
_NEEDED = ("virtio_pci", "9pnet_virtio", "9p")
# The last line of a panic, in every kernel since 2.2 (kernel/panic.c).
LOST = Row(regex=r"Rebooting in \d+ seconds?\.\.", reached="panicked")
_PANIC = re.compile(r"Kernel panic.*?: (.*)")
# $1 an empty directory, $2 options of the overlay; then what to run where the clone is merged.
_MERGED = """
set -e
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$1"
mkdir "$1/u" "$1/w" "$1/m"
mount -t overlay -o "nodev,$2" overlay "$1/m"
shift 2
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Order:
    """What a machine shall be; `memory` in bytes. Without numbers: as its era has it."""

    hostname: str
    terminal: seat.Terminal
    memory: int | None = None
    cpus: int | None = None
    network: bool = False


def unfit(release: Release, *, in_place: bool = False) -> str:
    """Why `release` cannot be booted to sit at; empty if it can."""
    if KERNELS.get(release.os) == "Linux":
        return eras.unfit(release)
    if release.os not in _FROM_DISK:
        disk = "gets a disk for runs alone" if release.os in FAMILIES else "gets no disk"
        return f"only Linux mounts its root by 9p, and {release.os} {disk}"
    if in_place:
        return "it boots from a copy, so what is changed there cannot stay: leave out --in-place"
    return eras.unfit(release) or _FROM_DISK[release.os].unfit(release)


@contextlib.contextmanager
def started(
    release: Release, clone: Clone, order: Order, machines: Path, scratch: Path
) -> Iterator[Running]:
    """A machine that waits for its power, with `clone` as its root. It has ended on leaving.

    `machines` is where fetched kernels are kept, `scratch` an empty directory. Raises HostError,
    and InstallError where there is no kernel.
    """
    foreign = release.os in _FROM_DISK
    if foreign:
        machine = _from_disk(release, clone, order, scratch)
    else:
        machine = _shared(release, clone, order, machines, scratch)
    qemu = accel.installed()
    emulator = accel.emulator(qemu, accel.acceleration(qemu, machines / "accelerator.json"))
    sockets = {"serial": PurePosixPath(SERIAL), "qmp": PurePosixPath(MONITOR)}
    argv = qemu_args(machine, emulator, **sockets)
    with Running(
        argv if foreign else merged(clone, argv),
        scratch,
        Transcript(scratch / "console"),
        deaths=() if foreign else [LOST],  # who sits there may look into a panic by ddb(4)
        network=order.network,
    ) as running:
        yield running


def _from_disk(release: Release, clone: Clone, order: Order, scratch: Path) -> Machine:
    place = scratch / "machine"
    place.mkdir()
    era = ordered(eras.hardware_of(release), order)
    _FROM_DISK[release.os].make_seat(release, clone, era, place)
    hardware = made.read(place).hardware
    return Machine(
        name=order.hostname,
        hardware=hardware,
        boot=From.DISK,
        disks=(Disk(PurePosixPath(place / made.ROOT), hardware.disk),),
        nic=_nic(hardware, order),
        uefi=firmware.uefi() if hardware.firmware is Firmware.UEFI else None,
        reboots=True,
    )


def _shared(release: Release, clone: Clone, order: Order, machines: Path, scratch: Path) -> Machine:
    kernel = linux.installed(trees(clone))
    own = kernel is not None
    kernel = kernel or _fetched(release, clone, machines, scratch)
    machine = machine_of(release, clone, kernel, order, scratch, own=own)
    (scratch / "initrd").write_bytes(_initrd(kernel, machine.hardware.nic, order, own=own))
    return machine


def panic(end: Reached, transcript: Path) -> str:
    """What the kernel said of it, if it panicked."""
    if not end.dead:
        return ""
    found = _PANIC.findall(transcript.read_text(encoding="utf-8", errors="replace"))
    return found[-1].strip() if found else end.said


def machine_of(
    release: Release, clone: Clone, kernel: linux.Kernel, order: Order, scratch: Path, *, own: bool
) -> Machine:
    hardware = ordered(eras.hardware_of(release), order)
    root = Share(seat.ROOT, PurePosixPath(clone.root or f"{clone.stage}/m"))
    modules = Share(seat.MODULES, PurePosixPath(kernel.modules), readonly=True)
    return Machine(
        name=order.hostname,
        hardware=hardware,
        boot=Kernel(PurePosixPath(kernel.image), PurePosixPath(scratch / "initrd"), seat.APPEND),
        shares=(root,) if own else (root, modules),
        nic=_nic(hardware, order),
        reboots=True,
    )


def ordered(era: Hardware, order: Order) -> Hardware:
    return replace(era, memory=order.memory or era.memory, cpus=order.cpus or era.cpus)


def _nic(hardware: Hardware, order: Order) -> Nic | None:
    return Nic(hardware.nic, closed=False) if order.network else None


def merged(clone: Clone, argv: list[str]) -> list[str]:
    """`argv`, where an overlay clone is seen below its stage, and nowhere else.

    What the host unmounts meanwhile is not held.
    """
    if clone.root:
        return argv
    overlay = Sandbox(lower=clone.lower, upper=clone.upper, work=clone.work, stage=clone.stage)
    script = ["sh", "-c", _MERGED, "sh", clone.stage, overlay_options(overlay)]
    return ["unshare", "--mount", "--propagation", "slave", *script, *argv]


def _initrd(kernel: linux.Kernel, card: str, order: Order, *, own: bool) -> bytes:
    welcome = [linux.CARDS[card]] if order.network else []
    modules = needed(kernel.modules, _NEEDED, welcome)
    there = seat.files(order.hostname, order.terminal)
    inside = {f"{seat.AT}/{name}": text.encode() for name, text in there.items()}
    script = seat.init("" if own else kernel.modules.name, network=order.network)
    return initrd(linux.BUSYBOX.read_bytes(), script, modules, inside)


def _fetched(release: Release, clone: Clone, machines: Path, scratch: Path) -> linux.Kernel:
    """The kernel that the distribution would install, kept where the next one finds it."""
    merged = (trees(clone)[0] / "lib").is_symlink()
    identity = clone.bootenv.identity[:24]
    if not identity:
        return linux.fetched(release, clone, scratch, merged=merged)
    # The runner qemu keeps its own, below the same name.
    for layer in machines.glob(f"{identity}-*/kernel"):
        if kernel := linux.installed([layer]):
            return kernel
    final = machines / f"{identity}-kernel"
    with tempfile.TemporaryDirectory(dir=machines, prefix=f".make.{clone.name}.") as place:
        layer = Path(place) / "layer"
        layer.mkdir()
        kernel = linux.fetched(release, clone, layer, merged=merged)
        with contextlib.suppress(OSError):  # another behunt was faster
            layer.rename(final)
    return replace(
        kernel,
        image=final / kernel.image.relative_to(layer),
        modules=final / kernel.modules.relative_to(layer),
    )
