"""The runner of FreeBSD hosts that boots a FreeBSD's own kernel, in bhyve(8).

The host needs its base system, and its boot environments in a pool. Machines boot from a disk
(runners/vm/bhyve_disk.py), or mount their root from the host where bhyve has none that they know
(bhyve_root.py). The console is the terminal that bhyve is started on: there is no device to share
with others or to clean up, and what ends the connection ends the machine.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar

from behunt.hosts.protocol import Host, Sink
from behunt.hosts.transcript import Transcript
from behunt.model import BootEnv, Release
from behunt.runners.hosted import Hosted, Starting
from behunt.runners.vm import eras
from behunt.runners.vm.away import Away, Exchange, Launch, OnDisk, exchange_of, keys_of, place_of
from behunt.runners.vm.bhyve_args import (
    End,
    NfsRoot,
    ended,
    load_args,
    nfs_environment,
    run_args,
    stop_args,
)
from behunt.runners.vm.bhyve_disk import ONE_PORT, Disks
from behunt.runners.vm.bhyve_root import InRoot, Roots
from behunt.runners.vm.consoles import deaths
from behunt.runners.vm.job import System
from behunt.runners.vm.machine import Bus, Disk, Firmware, From, Hardware, Machine, Nic, Uefi
from behunt.runners.vm.nfs_root import VERSION, Link, handle_of, lacking, linked
from behunt.runners.vm.started import CONSOLE, Started
from behunt.storage.home import token_in
from behunt.storage.protocol import Clone

_OS = "freebsd"
_PROGRAMS = ("bhyve", "bhyveload", "bhyvectl", "gzip", "makefs", "mkimg", "script", "tar", "zfs")
# Of the package bhyve-firmware; what it remembers is gone with the machine.
_FIRMWARE = Uefi(PurePosixPath("/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"))
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
        if why := eras.unfit(release, self.name):
            return why
        by_nfs = eras.hardware_of(release, self.name).disk is Bus.NFS
        return self._no_nfs if by_nfs else ""

    @cached_property
    def _no_nfs(self) -> str:
        return lacking(self.host)

    def prepared(self, bootenv: BootEnv | None) -> str | None:
        uefi = ", UEFI" if self._has_firmware else ""
        return f"bhyve of FreeBSD {self.facts.release}{uefi}" if bootenv else None

    def prepare(self, release: Release, clone: Clone) -> str:
        hardware = eras.hardware_of(release, self.name)
        if hardware.firmware is Firmware.UEFI and not self._has_firmware:
            hardware = replace(hardware, firmware=Firmware.LOADER)
        self.hardware[clone.bootenv.identity] = hardware
        self._disks(clone).make(place_of(self.named(token_in(clone.name))))
        return self.prepared(clone.bootenv) or ""

    @cached_property
    def _has_firmware(self) -> bool:
        return self.host.run(["test", "-f", str(_FIRMWARE.code)]).code == 0

    def starting(self, clone: Clone, name: str) -> Starting:
        disks = self._disks(clone)
        if isinstance(disks, Roots):
            return _Booting(self.host, lambda: _with_root(disks, name))
        return _Booting(self.host, lambda: _with_disk(disks, name))

    def _disks(self, clone: Clone) -> Disks:
        identity = clone.bootenv.identity
        hardware = self.hardware[identity]
        kind = Roots if hardware.disk is Bus.NFS else Disks
        return kind(self.host, self._root_of(clone), identity, hardware, self.home.id)


@dataclass(frozen=True, slots=True)
class _Booting:
    """Starts a machine that is made for it, and gone afterwards."""

    host: Host
    made: Callable[[], AbstractContextManager[tuple[Launch, Exchange]]]

    @contextlib.contextmanager
    def __call__(self, directory: Path, disk: Path, sink: Sink | None) -> Iterator[Started]:
        # The banner of the loader comes twice where it takes an older guest's interpreter; a
        # machine that reboots ends.
        dead = deaths(_OS, reboots=True)
        with self.made() as (launch, exchange):
            transcript = Transcript(directory / CONSOLE)
            with Away(
                self.host, launch, disk, transcript, deaths=dead, sink=sink, exchange=exchange
            ) as away:
                yield away


@contextlib.contextmanager
def _with_disk(disks: Disks, name: str) -> Iterator[tuple[Launch, Exchange]]:
    """The machine `name`, with a new clone of its disk."""
    with disks.cloned() as root:
        bus = disks.hardware.disk
        both = (Disk(root, bus), Disk(exchange_of(name), bus))
        machine = Machine(name, disks.hardware, From.DISK, both, uefi=_FIRMWARE)
        yield launched(machine), OnDisk(disks.host, exchange_of(name))


@contextlib.contextmanager
def _with_root(roots: Roots, name: str) -> Iterator[tuple[Launch, Exchange]]:
    """The machine `name`, on a new link and with a new clone of its root."""
    host = roots.host
    with linked(host, name) as link, roots.exported(place_of(name), link) as root:
        handle = handle_of(host, link.host, str(root))
        launch = launched_diskless(name, roots.hardware, link, root, handle)
        yield launch, InRoot(host, root)


def launched(machine: Machine) -> Launch:
    """`machine` once, from its first disk: it is not started again where it reboots."""
    if machine.hardware.firmware is Firmware.UEFI:
        return _launch(machine, "")
    load = load_args(replace(machine, disks=machine.disks[:1]), "stdio")
    return _launch(machine, f"{shlex.join(load)} || exit\n")


def launched_diskless(
    name: str, hardware: Hardware, link: Link, root: PurePosixPath, handle: bytes
) -> Launch:
    """A machine once, whose kernel comes from `root`, and which then mounts that."""
    machine = Machine(name, hardware, From.NETWORK, nic=Nic(hardware.nic, link.mac, link.tap))
    by_nfs = NfsRoot(
        server=link.host,
        path=str(root),
        handle=handle,
        mac=link.mac,
        ip=link.guest,
        netmask=str(link.network.netmask),
        nfs=VERSION,
    )
    environment = nfs_environment(by_nfs)
    load = load_args(machine, "stdio", root=root, environment=environment)
    return _launch(machine, f"{shlex.join(load)} || exit\n")


def _launch(machine: Machine, load: str) -> Launch:
    run = shlex.join(run_args(machine, "stdio"))
    place, keys = str(place_of(machine.name)), str(keys_of(machine.name))
    command = f"{load}{run}\necho $? >ended"
    start = ("sh", "-c", _START, "sh", place, keys, command)
    return Launch(machine.name, "bhyve", start, stop_args(machine.name), why)


def why(code: int) -> str:
    """What the exit status of a launch means, as Power.ended says it."""
    end = ended(_SIGNALLED - code if code > _SIGNALLED else code)
    return _ENDS.get(end, f"it {end}")
