"""The runner that boots a boot environment as a machine of its own, in QEMU.

What a machine boots from is made once per boot environment (runners/vm/families.py). Once it has
booted under one configuration, its state in that moment is kept, and the runs of that
configuration go on from there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from behunt.errors import ConsoleError, HostError
from behunt.hosts.confined import Confined
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host, Sink
from behunt.hosts.transcript import Transcript
from behunt.model import BootEnv, Release, sha256_of
from behunt.runners.namespace import sandbox_of
from behunt.runners.protocol import Inside, Setup
from behunt.runners.vm import accel, eras, firmware, made
from behunt.runners.vm.consoles import deaths
from behunt.runners.vm.course import BOOT, BOOTS, EMULATED, boot
from behunt.runners.vm.families import FAMILIES, Family
from behunt.runners.vm.guest import Guest
from behunt.runners.vm.job import READY, WAITS
from behunt.runners.vm.machine import Disk, Firmware, Hardware, Machine, Nic
from behunt.runners.vm.qemu_args import Emulator, qemu_args
from behunt.runners.vm.running import MONITOR, OUTPUT, SERIAL, Running
from behunt.runners.vm.started import CONSOLE
from behunt.storage.protocol import Clone

_ROOM = 1 << 30  # bytes of the exchange disk; sparse
_MEMORY, _DISK = "memory", "root.qcow2"  # of a kept state
_ANSWER = 30.0  # seconds until a machine that is resumed says that it is there


@dataclass(frozen=True)
class QemuRunner:
    """`machines` is where what machines boot from is kept, a directory per boot environment."""

    machines: Path
    boots: int = BOOTS  # of a run whose test may reboot its machine
    name: str = "qemu"
    capabilities: frozenset[str] = frozenset(
        {"root", "isolation", "own_kernel", "modules", "network", "loopback", "limits", "reboot"}
    )
    needs_root_tree: bool = True

    def missing(self) -> str:
        if os.geteuid() != 0:
            return "the runner qemu needs root, to see a boot environment as it is: use sudo"
        try:
            accel.installed()
        except HostError as error:
            return f"{error.message}: {error.hint}"
        if shutil.which("qemu-img") is None:
            return "the runner qemu needs qemu-img: apt install qemu-utils"
        return ""

    def unfit(self, release: Release) -> str:
        family = FAMILIES.get(release.os)
        if family is None:
            return f"behunt cannot make a disk that {release.label} boots from yet"
        if why := eras.unfit(release) or family.unfit(release):
            return why
        with contextlib.suppress(HostError):  # `missing` tells
            return accel.too_old(accel.installed(), self._fast(), eras.hardware_of(release))
        return ""

    def prepared(self, bootenv: BootEnv | None) -> str | None:
        if bootenv is None:
            return None
        try:
            return _part(made.read(self._place(bootenv)))
        except FileNotFoundError:
            return None

    def prepare(self, release: Release, clone: Clone) -> str:
        final = self._place(clone.bootenv)
        if not final.is_dir():
            with _alone(self.machines / f".lock.{final.name}"):
                if not final.is_dir():
                    self._make(release, clone, final)
        return _part(made.read(final))

    @contextlib.contextmanager
    def enter(self, clone: Clone | None, setup: Setup) -> Iterator[Inside]:
        if clone is None:
            raise ValueError("the runner qemu needs a clone")
        place = self._place(clone.bootenv)
        machine = _Booting(place, made.read(place), self._emulated(), setup)
        guest = Guest(
            machine.family.system(machine.made.version),
            machine.started,
            setup.exchange,
            setup.hostname,
            _ROOM,
            setup.limits,
            self.name,
            self.boots if setup.reboots else 1,
            machine.patience,
        )
        with contextlib.ExitStack() as stack:
            files: Host = guest
            if not machine.family.FOREIGN:
                files = stack.enter_context(Confined(sandbox_of(clone, setup), self.name))
            yield Inside(
                guest,
                files,
                kernel=lambda: guest.kernel,
                exhausted=lambda: _exhausted(guest, machine.hardware),
                exceeded=lambda: _exceeded(guest),
            )

    def _make(self, release: Release, clone: Clone, final: Path) -> None:
        prefix = f".make.{clone.name}."
        with tempfile.TemporaryDirectory(dir=self.machines, prefix=prefix) as scratch:
            place = Path(scratch) / "machine"
            place.mkdir()
            hardware = eras.hardware_of(release)
            FAMILIES[release.os].make(release, clone, hardware, place, self._emulated())
            place.rename(final)

    def _place(self, bootenv: BootEnv) -> Path:
        recipe = sha256_of([family.recipe() for family in FAMILIES.values()])
        return self.machines / f"{bootenv.identity[:24]}-{recipe[:8]}"

    def _fast(self) -> accel.Acceleration:
        return accel.acceleration(accel.installed(), self.machines / "accelerator.json")

    def _emulated(self) -> Emulator:
        return accel.emulator(accel.installed(), self._fast())


@dataclass(frozen=True, slots=True)
class _Booting:
    """The machine of one boot environment under one configuration."""

    place: Path
    made: made.Made
    emulator: Emulator
    setup: Setup

    def started(self, directory: Path, exchange: Path, sink: Sink | None) -> Running:
        """One that waits for its job, or is about to boot. ConsoleError if it does not come up."""
        state = self.state(directory / CONSOLE, exchange)
        if state is not None:
            with contextlib.suppress(HostError, ConsoleError):
                return self._resumed(state, directory, exchange, sink)
            shutil.rmtree(state, ignore_errors=True)
        machine = self._machine(self._root(), exchange)
        return self._running(machine, directory, directory / CONSOLE, sink)

    def state(self, console: Path, exchange: Path) -> Path | None:
        """The directory with the kept state, made now if it is not there; None if it cannot be."""
        final = self.place / f"state-{self._key()}"
        with _alone(self.place / "lock"):
            if not final.is_dir():
                with tempfile.TemporaryDirectory(
                    dir=self.place, prefix=f".state.{self.setup.owner}."
                ) as scratch:
                    place = Path(scratch) / "state"
                    place.mkdir()
                    try:
                        self._save(place, console, exchange)
                    except HostError:
                        return None
                    place.rename(final)
            os.utime(final)  # for `behunt be prune`, which removes what is not used
        return final

    def _save(self, place: Path, console: Path, exchange: Path) -> None:
        disk = place / _DISK
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"]
        LocalHost().run([*create, "-b", str(self.place / made.ROOT), str(disk)], check=True)
        root = Disk(PurePosixPath(disk), self.hardware.disk, "qcow2")
        with self._running(self._machine(root, exchange), place, console, None) as running:
            boot(running, self.family.system(self.made.version), self.patience)
            running.save(str(place / _MEMORY))

    def _resumed(self, state: Path, directory: Path, exchange: Path, sink: Sink | None) -> Running:
        root = Disk(PurePosixPath(state / _DISK), self.hardware.disk, "qcow2", scratch=True)
        machine = replace(self._machine(root, exchange), resumed=True)
        running = self._running(machine, directory, directory / CONSOLE, sink)
        try:
            running.load(str(state / _MEMORY))
            _asked(running)
        except BaseException:
            running.close()
            raise
        return running

    def _running(
        self, machine: Machine, directory: Path, console: Path, sink: Sink | None
    ) -> Running:
        return Running(
            self._argv(machine),
            directory,
            Transcript(console),
            deaths=deaths(self.made.os, up=machine.resumed, reboots=machine.reboots),
            network=self.setup.network,
            sink=sink,
        )

    @property
    def patience(self) -> float:
        """Seconds that it has to boot."""
        return EMULATED if self.emulator.accelerator == "tcg" else BOOT

    @property
    def family(self) -> Family:
        return FAMILIES[self.made.os]

    @property
    def hardware(self) -> Hardware:
        """A limit of memory is the test's: the system's own need is on top of it."""
        hardware = self.made.hardware
        limits = self.setup.limits
        return replace(
            hardware,
            memory=limits.memory + self.family.MEMORY if limits.memory else hardware.memory,
            cpus=max(1, round(limits.cpus)) if limits.cpus else hardware.cpus,
        )

    def _root(self) -> Disk:
        return Disk(PurePosixPath(self.place / made.ROOT), self.hardware.disk, scratch=True)

    def _machine(self, root: Disk, exchange: Path) -> Machine:
        hardware = self.hardware
        return Machine(
            name=self.place.name,
            hardware=hardware,
            boot=self.family.boot(self.place),
            disks=(root, Disk(PurePosixPath(exchange), hardware.disk)),
            nic=Nic(hardware.nic, closed=False) if self.setup.network else None,
            uefi=firmware.uefi() if hardware.firmware is Firmware.UEFI else None,
            reboots=self.setup.reboots,
        )

    def _key(self) -> str:
        machine = self._machine(self._root(), Path("exchange"))
        return sha256_of([accel.installed().text, *self._argv(machine)])[:16]

    def _argv(self, machine: Machine) -> list[str]:
        sockets = {"serial": PurePosixPath(SERIAL), "qmp": PurePosixPath(MONITOR)}
        return [*qemu_args(machine, self.emulator, **sockets), *OUTPUT]


def _asked(running: Running) -> None:
    """Let it go on. Raises HostError, or ConsoleError, if it does not answer: it is no good."""
    deadline = time.monotonic() + _ANSWER
    running.monitor.go_on()
    running.console.send(b"\n", deadline)
    if (end := running.console.play([WAITS], deadline)).state != READY:
        raise ConsoleError(f"what was kept is no good: {end.reason}")


def _exhausted(guest: Guest, hardware: Hardware) -> str:
    if guest.lost:
        return guest.lost
    if guest.full:
        return "the clone's disk is full"
    if guest.short and guest.limits.memory is None:
        return f"the machine's {hardware.memory >> 20} MiB of memory ran out: set a larger limit"
    return ""


def _exceeded(guest: Guest) -> str:
    if guest.short and guest.limits.memory is not None:
        return f"out of memory: the limit is {guest.limits.memory} bytes"
    if guest.endless:
        return f"it booted the machine more than {guest.boots} times"
    return ""


def _part(what: made.Made) -> str:
    return f"{what.version} on {what.hardware}"


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
