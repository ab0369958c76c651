"""The runner of OpenBSD hosts that boots an OpenBSD's own kernel, in vmm(4) by vmd(8).

The host needs its base system. Boot environments are on this machine (runners/vm/vmm_disk.py).
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from behunt.hosts.dialogue import Row
from behunt.hosts.protocol import Host, Sink
from behunt.hosts.transcript import Transcript
from behunt.model import BootEnv, Release
from behunt.runners.hosted import Hosted, Starting
from behunt.runners.vm import eras
from behunt.runners.vm.away import Away, Launch, exchange_of, keys_of, place_of, remove
from behunt.runners.vm.consoles import deaths
from behunt.runners.vm.job import MARK, READY, System
from behunt.runners.vm.machine import Bus, Disk, Kernel, Machine
from behunt.runners.vm.openbsd import OPENBSD
from behunt.runners.vm.started import CONSOLE, Started
from behunt.runners.vm.vmm_args import derive_args, end_args, start_args
from behunt.runners.vm.vmm_disk import Kept
from behunt.storage.home import token_in
from behunt.storage.protocol import Clone

_OS = "openbsd"
_PROGRAMS = ("disklabel", "fdisk", "gzip", "newfs", "tar", "vmctl", "vnconfig")
_NOT_RUN = 4
# vmd starts a machine again that reboots, without any banner of a loader.
_REBOOTED = Row(text=f"{MARK} {READY}", reached="rebooted", times=2)

# $1 a directory, $2 the FIFO of what is typed, $3 what starts the machine, $4 its name. Its console
# is a terminal that ends with it.
_START = f"""\
cd "$1" || exit {_NOT_RUN}
said=$(sh -c "$3" 2>&1) || {{ echo "$said"; exit {_NOT_RUN}; }}
exec 3<>"${{said##* tty }}" || exit {_NOT_RUN}
stty raw -echo <&3
cat <>"$2" >&3 &
cat <&3
kill $!
vmctl wait "$4" >/dev/null 2>&1
exit 0
"""


@dataclass(frozen=True)
class VmmRunner(Hosted):
    """What was `kept` of a boot environment that was prepared is known by its identity."""

    name: str = "vmm"
    kept: dict[str, Kept] = field(default_factory=dict, compare=False)
    system: ClassVar[System] = OPENBSD

    def missing(self) -> str:
        if self.facts.system != "OpenBSD":
            return "the runner vmm needs an OpenBSD host: give one with --host root@HOST"
        if not self.facts.root:
            return f"the runner vmm needs root on {self.host.name}"
        if self.facts.machine != "amd64":
            return f"the runner vmm knows amd64, and {self.host.name} is {self.facts.machine}"
        if os.geteuid() != 0:
            return "the runner vmm needs root here, to see a boot environment as it is: use sudo"
        return self.lacking(_PROGRAMS) or self._silent()

    def _silent(self) -> str:
        done = self.host.run(["vmctl", "status"])
        if done.code == 0:
            return ""
        said = (done.err.strip() or done.how).splitlines()[-1]
        return (
            f"vmd does not answer on {self.host.name} ({said}): there, `rcctl enable vmd` and "
            "`rcctl start vmd`; `dmesg | grep vmm` tells whether the processor can"
        )

    def unfit(self, release: Release) -> str:
        if release.os != _OS:
            return f"behunt makes disks for vmd of OpenBSD only, not of {release.label}"
        return eras.unfit(release, self.name)

    def prepared(self, bootenv: BootEnv | None) -> str | None:
        return f"vmd of OpenBSD {self.facts.release}" if bootenv else None

    def prepare(self, release: Release, clone: Clone) -> str:
        identity = clone.bootenv.identity
        hardware = eras.hardware_of(release, self.name)
        kept = Kept(self.host, identity, hardware, self.home.id)
        name = self.named(token_in(clone.name))
        try:
            kept.make(clone, self.home.machines, place_of(name))
        finally:
            remove(self.host, name, end_args(name, place_of(name)))
        self.kept[identity] = kept
        return self.prepared(clone.bootenv) or ""

    def starting(self, clone: Clone, name: str) -> Starting:
        return _Booting(self.host, self.kept[clone.bootenv.identity], name)


@dataclass(frozen=True, slots=True)
class _Booting:
    """Starts the machine `name`, each time with a new disk derived from the one that is kept."""

    host: Host
    kept: Kept
    name: str

    @contextlib.contextmanager
    def __call__(self, directory: Path, exchange: Path, sink: Sink | None) -> Iterator[Started]:
        transcript = Transcript(directory / CONSOLE)
        launch = launched(self.name, self.kept)
        dead = (*deaths(_OS, reboots=True), _REBOOTED)
        with Away(self.host, launch, exchange, transcript, deaths=dead, sink=sink) as away:
            yield away


def launched(name: str, kept: Kept) -> Launch:
    """The machine `name` once, from a disk of its own."""
    root = Disk(place_of(name) / "root.qcow2", Bus.VIRTIO, "qcow2")
    disks = (root, Disk(exchange_of(name), Bus.VIRTIO))
    machine = Machine(name, kept.hardware, Kernel(kept.kernel), disks)
    create = shlex.join(derive_args(kept.disk, root.path))
    command = f"{create} && {shlex.join(start_args(machine))}"
    words = (str(place_of(name)), str(keys_of(name)), command, name)
    start = ("sh", "-c", _START, "sh", *words)
    return Launch(name, "vmd", start, end_args(name, place_of(name)), why)


def why(code: int) -> str:
    """What the exit status of a launch means, as Power.ended says it; vmd does not tell more."""
    return "guest-shutdown" if code == 0 else "it could not be run"
