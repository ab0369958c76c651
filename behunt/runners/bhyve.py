"""The runner of FreeBSD hosts that boots a FreeBSD's own kernel, in bhyve(8).

The host needs its base system, and its boot environments in a pool (runners/vm/bhyve_disk.py).
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

from behunt.hosts.protocol import Host, Sink
from behunt.hosts.transcript import Transcript
from behunt.model import BootEnv, Release
from behunt.runners.hosted import Hosted, Starting
from behunt.runners.vm import eras
from behunt.runners.vm.away import Away, Launch, exchange_of, keys_of, place_of
from behunt.runners.vm.bhyve_args import End, ended, load_args, run_args, stop_args
from behunt.runners.vm.bhyve_disk import ONE_PORT, Disks
from behunt.runners.vm.consoles import deaths
from behunt.runners.vm.job import System
from behunt.runners.vm.machine import Disk, From, Hardware, Machine
from behunt.runners.vm.started import CONSOLE, Started
from behunt.storage.home import token_in
from behunt.storage.protocol import Clone

_OS = "freebsd"
_PROGRAMS = ("bhyve", "bhyveload", "bhyvectl", "gzip", "makefs", "mkimg", "script", "tar", "zfs")
_NOT_RUN = 4  # bhyve's exit status where it could not run the machine
_SIGNALLED = 128  # a shell's status of what signal n has killed is 128+n
_NOT_LOADED = 3
# In QEMU's words; of a triple fault QEMU makes a reset.
_ENDS = {
    End.POWERED_OFF: "guest-shutdown",
    End.HALTED: "guest-shutdown",
    End.REBOOTED: "guest-reset",
    End.TRIPLE_FAULT: "guest-reset",
}

# A machine that is made and destroyed tells whether the processor can, and may.
_TRY = f"""\
kldstat -q -n vmm.ko || kldstat -q -m vmm || exit {_NOT_LOADED}
bhyvectl --create --vm="bh_$$" && bhyvectl --destroy --vm="bh_$$"
"""
# $1 a directory, $2 the FIFO of what is typed, which never comes to an end, $3 what to run. Old
# ones write to their standard input: both programs get a terminal. script(1) does not always
# end with the status of what it ran.
_START = f"""\
cd "$1" && echo {_NOT_RUN} >ended || exit {_NOT_RUN}
script -q /dev/null sh -c "$3" <>"$2"
exit "$(cat ended)"
"""


@dataclass(frozen=True)
class BhyveRunner(Hosted):
    """The `hardware` of what was prepared is known by the identity of its boot environment."""

    name: str = "bhyve"
    hardware: dict[str, Hardware] = field(default_factory=dict, compare=False)
    system: ClassVar[System] = ONE_PORT

    @property
    def capabilities(self) -> frozenset[str]:
        return super().capabilities | {"modules"}

    def missing(self) -> str:
        if self.facts.system != "FreeBSD":
            return "the runner bhyve needs a FreeBSD host: give one with --host root@HOST"
        if not self.facts.root:
            return f"the runner bhyve needs root on {self.host.name}"
        if self.facts.machine != "amd64":
            return f"the runner bhyve knows amd64, and {self.host.name} is {self.facts.machine}"
        return self.lacking(_PROGRAMS) or self._refused()

    def _refused(self) -> str:
        done = self.host.run(["sh", "-c", _TRY])
        if done.code == _NOT_LOADED:
            return (
                f"the kernel of {self.host.name} has not loaded vmm: there, `kldload vmm`, and "
                "`sysrc kld_list+=vmm` for the next boot"
            )
        if done.code == 0:
            return ""
        said = (done.err.strip() or done.how).splitlines()[-1]
        return f"{self.host.name} makes no virtual machine ({said}): it needs VT-x or SVM"

    def unfit(self, release: Release) -> str:
        if release.os != _OS:
            return f"bhyveload boots FreeBSD only, not {release.label}"
        return eras.unfit(release, self.name)

    def prepared(self, bootenv: BootEnv | None) -> str | None:
        return f"bhyve of FreeBSD {self.facts.release}" if bootenv else None

    def prepare(self, release: Release, clone: Clone) -> str:
        self.hardware[clone.bootenv.identity] = eras.hardware_of(release, self.name)
        self._disks(clone).make(place_of(self.named(token_in(clone.name))))
        return self.prepared(clone.bootenv) or ""

    def starting(self, clone: Clone, name: str) -> Starting:
        return _Booting(self.host, self._disks(clone), name)

    def _disks(self, clone: Clone) -> Disks:
        identity = clone.bootenv.identity
        root = self._root_of(clone)
        return Disks(self.host, root, identity, self.hardware[identity], self.home.id)


@dataclass(frozen=True, slots=True)
class _Booting:
    """Starts the machine `name`, each time from a new clone of its disk."""

    host: Host
    disks: Disks
    name: str

    @contextlib.contextmanager
    def __call__(self, directory: Path, exchange: Path, sink: Sink | None) -> Iterator[Started]:
        # The banner of the loader comes twice where it takes an older guest's interpreter; a
        # machine that reboots ends.
        dead = deaths(_OS, reboots=True)
        with self.disks.cloned() as root:
            launch = launched(_machine(self.name, self.disks.hardware, root))
            transcript = Transcript(directory / CONSOLE)
            with Away(self.host, launch, exchange, transcript, deaths=dead, sink=sink) as away:
                yield away


def _machine(name: str, hardware: Hardware, root: PurePosixPath) -> Machine:
    disks = (Disk(root, hardware.disk), Disk(exchange_of(name), hardware.disk))
    return Machine(name, hardware, From.DISK, disks)


def launched(machine: Machine) -> Launch:
    """`machine` once, from its first disk: it is not started again where it reboots."""
    load = shlex.join(load_args(replace(machine, disks=machine.disks[:1]), "stdio"))
    run = shlex.join(run_args(machine, "stdio"))
    place, keys = str(place_of(machine.name)), str(keys_of(machine.name))
    command = f"{load} || exit\n{run}\necho $? >ended"
    start = ("sh", "-c", _START, "sh", place, keys, command)
    return Launch(machine.name, "bhyve", start, stop_args(machine.name), why)


def why(code: int) -> str:
    """What the exit status of a launch means, as Power.ended says it."""
    end = ended(_SIGNALLED - code if code > _SIGNALLED else code)
    return _ENDS.get(end, f"it {end}")
