"""The QEMU that is here, and the accelerator with which it runs a real kernel: found by trying.

A /dev/kvm that is there proves nothing: in a machine that is itself emulated a boot sector may run
in it, while a kernel hangs or stops with "KVM internal error". So a Linux kernel is booted once,
without a root, and has to come as far as missing it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from behunt.errors import HostError
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Completed
from behunt.model import sha256_of
from behunt.runners.vm.machine import Hardware
from behunt.runners.vm.qemu_args import PROGRAMS, Emulator

KVM = Path("/dev/kvm")
DEADLINE = 30.0  # seconds; with KVM a second is usual
_PROGRAM = PROGRAMS["amd64"]
_VERSION = re.compile(r"QEMU emulator version (\d+(?:\.\d+)*)")
_CAME_FAR = "VFS: Unable to mount root fs"
_STUCK = "KVM internal error"
_KEPT = 1 << 20  # bytes of what a kernel says
_INSTALL = "install QEMU (Debian: qemu-system-x86)"


@dataclass(frozen=True, slots=True)
class Acceleration:
    """`name` is what QEMU's -accel takes; `why` a sentence for people."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Qemu:
    """The installed QEMU, as it says itself."""

    text: str  # with the distribution's own version
    sandbox: bool  # built with seccomp

    @property
    def version(self) -> tuple[int, ...]:
        found = _VERSION.search(self.text)
        return tuple(int(part) for part in found[1].split(".")) if found else ()


@cache
def installed() -> Qemu:
    """As it was when it was first asked for. Raises HostError where there is none."""
    host = LocalHost()
    said = host.run([_PROGRAM, "--version"])
    if not _VERSION.search(said.out):
        raise HostError(f"there is no {_PROGRAM} that runs here ({said.how})", _INSTALL)
    usage = host.run([_PROGRAM, "-help"], check=True).out
    return Qemu(said.out.splitlines()[0], "\n-sandbox " in usage)


def too_old(qemu: Qemu, acceleration: Acceleration, hardware: Hardware) -> str:
    """Why this QEMU cannot be trusted with that guest; empty if it can.

    Only what is emulated depends on it: KVM runs the processor itself.
    """
    if acceleration.name != "tcg" or qemu.version >= (hardware.qemu,):
        return ""
    number = ".".join(map(str, qemu.version))
    return f"QEMU {number} crashes its kernel at random: {hardware.qemu} or later is needed"


def emulator(qemu: Qemu, acceleration: Acceleration) -> Emulator:
    return Emulator(acceleration.name, qemu.sandbox)


def acceleration(
    qemu: Qemu,
    memory: Path,
    kernel: Path | None = None,
    *,
    device: Path = KVM,
    deadline: float = DEADLINE,
) -> Acceleration:
    """What runs machines fastest here, of what does run them.

    `kernel` is a Linux kernel to try with, by default the host's own. The answer is kept in the
    file `memory`, until the host boots again, or its kernel or QEMU changes.
    """
    if why := _unusable(device):
        return Acceleration("tcg", f"machines are emulated: {why}")
    key = sha256_of([qemu.text, *os.uname(), _boot()])
    if known := _recalled(memory, key):
        return known
    kernel = kernel or host_kernel()
    if kernel is None:
        return Acceleration("tcg", f"machines are emulated: no Linux kernel to try {device} with")
    found = tried("kvm", kernel, deadline=deadline)
    _remember(memory, key, found)
    return found


def tried(accelerator: str, kernel: Path, *, deadline: float = DEADLINE) -> Acceleration:
    """`accelerator` if `kernel` boots in it, else emulation. All is over by the deadline."""
    console = _Console()
    try:
        done = LocalHost().run(probe_args(accelerator, kernel), timeout=deadline, sink=console.take)
    except _SettledError:
        done = None
    if _CAME_FAR in console.text():
        return Acceleration(accelerator, f"machines run in {accelerator}: a kernel booted in it")
    how = _how(console.text(), done)
    return Acceleration("tcg", f"machines are emulated: a kernel in {accelerator} {how}")


def probe_args(accelerator: str, kernel: Path) -> list[str]:
    """The command line of a machine that ends by itself, unless it hangs."""
    return [
        *(_PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35", "-accel", accelerator, "-cpu", "max", "-smp", "1", "-m", "256M"),
        *("-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"),
        *("-serial", "stdio", "-monitor", "none"),
    ]


def host_kernel() -> Path | None:
    """The Linux kernel that this host was booted from, if it is one that a file holds."""
    release = os.uname().release
    places = (f"/boot/vmlinuz-{release}", f"/usr/lib/modules/{release}/vmlinuz", "/boot/vmlinuz")
    return next((path for path in map(Path, places) if os.access(path, os.R_OK)), None)


class _SettledError(Exception):
    """Nothing more that the kernel says matters."""


class _Console:
    """What a kernel says, until it has said enough."""

    def __init__(self) -> None:
        self._said = bytearray()

    def take(self, data: bytes) -> None:
        self._said += data
        if len(self._said) > _KEPT or any(word in self.text() for word in (_CAME_FAR, _STUCK)):
            raise _SettledError

    def text(self) -> str:
        return self._said.decode(errors="replace")


def _how(said: str, done: Completed | None) -> str:
    """How it failed, as the end of a sentence."""
    if _STUCK in said:
        return f'stopped with "{_STUCK}"'
    if done is None:
        return "said no end of things"
    if done.timed_out:
        return f"had not booted after {done.seconds:.0f} s"
    last = (said.strip().splitlines() or [done.how])[-1].strip()
    return f"did not boot: {last}"


def _unusable(device: Path) -> str:
    if not device.exists():
        return f"there is no {device}"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} may not be used: join the group that owns it"
    return ""


def _boot() -> str:
    """What tells this boot of the host from others; nothing where it does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        return ""


def _recalled(memory: Path, key: str) -> Acceleration | None:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        return Acceleration(known["name"], known["why"]) if known["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):  # whatever lies there is no answer
        return None


def _remember(memory: Path, key: str, found: Acceleration) -> None:
    """Whole or not at all, so that behunts at once do not garble it."""
    try:
        with _replaced(memory) as file:
            file.write_text(json.dumps({"key": key, **asdict(found)}), encoding="utf-8")
    except OSError as error:
        raise HostError(f"cannot write {memory}: {error.strerror}") from error


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        yield Path(scratch) / path.name
        (Path(scratch) / path.name).replace(path)
