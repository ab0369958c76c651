"""The runner for machines of a lab: real ones, that boot a clone over the network.

The clone is their root, over NFS (netboot/nfs.py); firmware, DHCP, TFTP and HTTP bring its kernel.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from behunt.errors import HostError, UsageError
from behunt.model import UNLIMITED, BootEnv, Release, sha256_of
from behunt.netboot import power as powers
from behunt.netboot.lab import Dhcp, Firmware, LabNetwork, Machine
from behunt.netboot.leases import leased
from behunt.netboot.power.hand import Ask
from behunt.netboot.power.protocol import Power
from behunt.netboot.serving import Servers, missing
from behunt.runners.lab import families, root
from behunt.runners.lab.families import FAMILIES
from behunt.runners.lab.guest import MetalGuest
from behunt.runners.lab.offering import offered
from behunt.runners.lab.root import Made
from behunt.runners.lab.watching import Watch
from behunt.runners.protocol import Inside, Setup
from behunt.storage.home import Home
from behunt.storage.protocol import Clone

_PAUSE = 0.5  # seconds until a machine is asked for again
# Seconds for which a BSD that halts still has its root, which it runs programs of and writes back
# to. A Linux is off at once (sysrq).
_HALTING = 15.0


@dataclass
class _Shared:
    """The servers of a lab, while any run needs them."""

    servers: Servers | None = None
    place: Path = Path()
    users: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A machine that is ours, and whether its last user died; and what it boots from."""

    machine: Machine
    abandoned: bool
    servers: Servers


@dataclass(frozen=True)
class MetalRunner:
    """`machine` is the one to use; any of the lab that is free if it is empty."""

    home: Home
    lab: LabNetwork | None
    machine: str
    ask: Ask
    name: str = "metal"
    capabilities: frozenset[str] = frozenset(
        {"root", "isolation", "own_kernel", "modules", "loopback"}
    )
    needs_root_tree: bool = True
    shared: _Shared = field(default_factory=_Shared, compare=False)

    def missing(self) -> str:
        if self.lab is None:
            return "the runner metal needs a lab: --lab lab.toml (docs/netboot.md shows one)"
        if os.geteuid() != 0:
            return "the runner metal needs root, to answer in the lab's network: use sudo"
        return missing(self.lab)

    def unfit(self, release: Release) -> str:
        if self.lab is None:
            return families.unfit(release, Dhcp.FULL)
        if why := families.unfit(release, self.lab.dhcp):
            return why
        if not any(machine.boots(release.arch) for machine in self._candidates()):
            return f"it is for {release.arch}, which {self._names()} cannot boot"
        return ""

    def prepared(self, bootenv: BootEnv | None) -> str | None:
        if bootenv is None:
            return None
        try:
            return self._part(root.read(self.place(bootenv)))
        except FileNotFoundError:
            return None

    def prepare(self, release: Release, clone: Clone) -> str:
        return self._part(root.read(self.make(release, clone)))

    def make(self, release: Release, clone: Clone) -> Path:
        """Make what machines boot from, unless it is there: where. InstallError and HostError."""
        final = self.place(clone.bootenv)
        if not final.is_dir():
            with tempfile.TemporaryDirectory(
                dir=self.home.machines, prefix=f".make.{clone.name}."
            ) as scratch:
                place = Path(scratch) / "netboot"
                place.mkdir()
                version = FAMILIES[release.os].make(release, clone, place)
                Made(release.os, release.arch, version).write(place)
                for file in place.iterdir():  # dnsmasq serves what all may read, whatever the umask
                    file.chmod(0o644)
                with contextlib.suppress(OSError):  # another behunt was faster
                    place.rename(final)
        return final

    @contextlib.contextmanager
    def enter(self, clone: Clone | None, setup: Setup) -> Iterator[Inside]:
        if clone is None:
            raise ValueError("the runner metal needs a clone")
        if setup.limits != UNLIMITED:
            raise UsageError("the runner metal limits nothing", "leave out --memory and its like")
        place = self.place(clone.bootenv)
        arch = root.read(place).arch
        able = [machine for machine in self._candidates() if machine.boots(arch)]
        with contextlib.ExitStack() as stack:
            begun = self._begun(stack, able, setup.owner)
            machine, servers = begun.machine, begun.servers
            power = self._power(machine)
            if begun.abandoned:  # its root is gone
                with contextlib.suppress(HostError):
                    power.off()
            offer = stack.enter_context(offered(servers, machine, clone, place))
            family = FAMILIES[offer.made.os]
            since = time.time()
            guest = MetalGuest(
                power,
                offer.tree,
                offer.share.host,
                family.system(offer.made.version),
                setup.exchange,
                setup.hostname,
                machine.patience,
                lambda said: servers.stage(machine, said, since, offer.offer.last),
                lambda: Watch(machine, offer.made.os, self.shared.place / f"{machine.name}.said"),
                grace=_HALTING if family.FOREIGN else 0.0,
            )
            files = guest if family.FOREIGN else guest.files
            yield Inside(guest, files, kernel=lambda: guest.kernel, note=lambda: guest.note)

    def place(self, bootenv: BootEnv) -> Path:
        """What machines boot from that boot it, once it is made."""
        recipe = sha256_of([family.recipe() for family in FAMILIES.values()])
        return self.home.machines / f"{bootenv.identity[:24]}-net-{recipe[:8]}"

    def _part(self, made: Made) -> str:
        """Other hardware may give another answer."""
        return f"{made.version} on {self._names()}"

    def _names(self) -> str:
        return ", ".join(sorted(machine.name for machine in self._candidates()))

    def _candidates(self) -> list[Machine]:
        lab = self._lab
        return [lab.machine(self.machine)] if self.machine else list(lab.machines)

    @property
    def _lab(self) -> LabNetwork:
        if self.lab is None:
            raise UsageError(self.missing())
        return self.lab

    def _power(self, machine: Machine) -> Power:
        uefi = machine.firmware is Firmware.UEFI
        interface = self._lab.interface
        return powers.of(machine.power, machine.mac, interface, self.ask, uefi=uefi)

    def _begun(self, stack: contextlib.ExitStack, able: list[Machine], owner: str) -> _Begun:
        """A machine and the servers, which begin with the first run and end with the last.

        Where all machines are taken it waits for runs of this behunt, and for no others.
        """
        shared = self.shared
        while True:
            with shared.lock:
                try:
                    machine, abandoned = stack.enter_context(leased(self.home.locks, able))
                except HostError:
                    if shared.users == 0:
                        raise
                else:
                    servers = shared.servers or self._served(owner)
                    shared.users += 1
                    stack.callback(self._left)
                    return _Begun(machine, abandoned, servers)
            time.sleep(_PAUSE)

    def _served(self, owner: str) -> Servers:
        place = Path(tempfile.mkdtemp(dir=self.home.serving, prefix=f"{owner}."))
        try:
            self.shared.servers = Servers(self._lab, place)
        except BaseException:
            shutil.rmtree(place)
            raise
        self.shared.place = place
        return self.shared.servers

    def _left(self) -> None:
        shared = self.shared
        with shared.lock:
            shared.users -= 1
            if shared.users == 0 and shared.servers is not None:
                servers, shared.servers = shared.servers, None
                try:
                    servers.__exit__()
                finally:
                    shutil.rmtree(shared.place)


def nobody(what: str) -> None:
    raise HostError(f"{what} There is nobody to ask", "give the machine another method of power")
