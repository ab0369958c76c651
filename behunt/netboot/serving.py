"""The servers of a lab, while machines boot there: dnsmasq(8), HTTP and NFS, on its interface.

They begin with the first machine and end with the last, and with behunt, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

from behunt.errors import HostError
from behunt.hosts.pipes import wait_ready
from behunt.hosts.protocol import CLEAN_ENV
from behunt.hosts.sandbox import Sandbox
from behunt.hosts.spawner import Session
from behunt.netboot import dnsmasq, interface, servers
from behunt.netboot.diskless import Diskless
from behunt.netboot.dnsmasq import LEASES, LOG, Booting, hexhyp
from behunt.netboot.lab import LabNetwork, Machine
from behunt.netboot.nfs import NfsServer
from behunt.netboot.stages import Seen, Stage, of_log, stage
from behunt.netboot.web import Content, Web

IPXE = Path("/usr/lib/ipxe")
_START = 10.0  # seconds until dnsmasq answers


class Boots:
    """dnsmasq and HTTP of `lab`, with their files in `directory`, which is empty and ours.

    Raises HostError where they would answer elsewhere, or something else does.
    """

    def __init__(self, lab: LabNetwork, directory: Path) -> None:
        interface.check(lab)
        self.lab, self.directory = lab, directory
        self._booting: list[Booting] = []
        self._lock = threading.Lock()
        _write_lists(directory, [])
        (directory / "tftp").mkdir()
        with contextlib.ExitStack() as stack:
            self.web = stack.enter_context(Web(lab.address.ip, lab.address.network))
            conf = dnsmasq.tftp_conf(lab, directory)
            self._tftp = _Dnsmasq(directory, "tftp", conf)
            stack.callback(self._tftp.close)
            conf = dnsmasq.dhcp_conf(lab, directory, self.web.port)
            self._dhcp = _Dnsmasq(directory, "dhcp", conf)
            stack.callback(self._dhcp.close)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def answered(
        self, booting: Booting, web: Mapping[str, Content], tftp: Mapping[str, Content]
    ) -> Iterator[None]:
        """Until it is left, the machine is told to boot, and gets these files, by name."""
        name = hexhyp(booting.machine)
        place = self.directory / "tftp" / name
        with contextlib.ExitStack() as stack:  # each step is undone, whatever becomes of another
            stack.enter_context(self._diskless(booting))
            stack.callback(self.web.withdraw, name)
            self.web.offer(name, web)
            place.mkdir()
            stack.callback(shutil.rmtree, place)
            _fill(place, {**_loaders(booting), **tftp})
            stack.callback(self._told, [], [booting])
            self._told([booting], [])
            yield

    def _diskless(self, booting: Booting) -> contextlib.AbstractContextManager[object]:
        """Its kernel's way to its root, where DHCP is none."""
        if booting.way != dnsmasq.OPENBSD:
            return contextlib.nullcontext()
        address = partial(self.address, booting.machine)
        return Diskless(self.lab, booting.machine, booting.options["root-path"], address)

    def address(self, machine: Machine) -> IPv4Address | None:
        """What it has been given, and None before."""
        leases = (self.directory / LEASES).read_text("utf-8") if machine.ip is None else ""
        return machine.ip or dnsmasq.leased(leases, machine)

    def lost(self) -> list[str]:
        """Its servers that have ended, which they never do by themselves."""
        with self._lock:
            return [one.name for one in (self._dhcp, self._tftp) if one.ended]

    def log(self) -> str:
        """What dnsmasq has said."""
        return (self.directory / LOG).read_text("utf-8", errors="replace")

    def _told(self, more: list[Booting], less: list[Booting]) -> None:
        with self._lock:
            self._booting = [one for one in self._booting if one not in less] + more
            _write_lists(self.directory, self._booting)
            self._dhcp.read_again()


def _loaders(booting: Booting) -> dict[str, Path]:
    """Those of this machine that a machine fetches; a BSD's are its own."""
    names = dnsmasq.FILES[booting.way].values() if booting.way == dnsmasq.LINUX else ()
    return {name: IPXE / name for name in names}


def _fill(place: Path, files: Mapping[str, Content]) -> None:
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
            path.chmod(0o644)  # dnsmasq serves what all may read, whatever the umask is


def _write_lists(directory: Path, booting: list[Booting]) -> None:
    (directory / "hosts").write_text(dnsmasq.hosts(booting), encoding="utf-8")
    (directory / "options").write_text(dnsmasq.options(booting), encoding="utf-8")


def missing(lab: LabNetwork) -> str:
    """What this machine lacks to serve `lab`, as a sentence; empty if nothing."""
    if shutil.which("dnsmasq") is None:
        return "dnsmasq is not installed: apt install dnsmasq-base"
    loaders = [IPXE / file for file in dnsmasq.FILES[dnsmasq.LINUX].values()]
    if lacking := [file for file in loaders if not file.exists()]:
        return f"{lacking[0]} is not there: apt install ipxe"
    lacks = servers.lacking()
    if all(lacks.values()):
        return lacks["ganesha"]
    try:
        interface.check(lab)
    except HostError as error:
        return f"{error.message}: {error.hint}"
    return ""


class Servers:
    """All that machines of `lab` need, with their files in `directory`, which is empty and ours.

    Raises HostError.
    """

    def __init__(self, lab: LabNetwork, directory: Path) -> None:
        self.lab = lab
        self._before: dict[str, tuple[int, int]] = {}  # what there was of a machine's last time
        with contextlib.ExitStack() as stack:
            for name in ("boots", "nfs"):
                (directory / name).mkdir()
            self.boots = stack.enter_context(Boots(lab, directory / "boots"))
            self.nfs: NfsServer = stack.enter_context(
                servers.serving(lab.address.ip, lab.address.network, directory / "nfs")
            )
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def answered(
        self, booting: Booting, web: Mapping[str, Content], tftp: Mapping[str, Content]
    ) -> Iterator[None]:
        """As Boots.answered; how far the machine comes counts from here on."""
        name = booting.machine.name
        self._before[name] = (len(self.boots.log()), self._mounts(name))
        with self.boots.answered(booting, web, tftp):
            yield

    def stage(
        self, machine: Machine, told: Collection[str], since: float, last: str
    ) -> tuple[Stage, str]:
        """How far `machine` came since then (seconds since 1970), and since it is answered."""
        logged, mounts = self._before.get(machine.name, (0, 0))
        dhcp, tftp = of_log(self.boots.log()[logged:], machine.mac)
        where, why = stage(
            Seen(
                dhcp=dhcp,
                tftp=tftp,
                web=self.boots.web.asked(hexhyp(machine), since),
                mounted=self._mounts(machine.name) > mounts,
                told=told,
            ),
            last,
        )
        return where, "; ".join([why, *(f"{one} has ended here" for one in self.boots.lost())])

    def _mounts(self, name: str) -> int:
        """How often its root was given out."""
        return sum(one.granted and one.path.endswith(f"/{name}") for one in self.nfs.mounts())


class _Dnsmasq:
    """One that answers, by `conf`; its own files are called by `name`."""

    def __init__(self, directory: Path, name: str, conf: str) -> None:
        self.name = f"behunt's dnsmasq for {name.upper()}"
        self._place = directory / name
        file = self._place.with_suffix(".conf")
        file.write_text(conf, encoding="utf-8")
        self._argv = "dnsmasq", "-k", f"--conf-file={file}"
        self._start()

    def _start(self) -> None:
        said, number = self._place.with_suffix(".out"), self._place.with_suffix(".pid")
        number.unlink(missing_ok=True)
        self._session = Session(Sandbox())
        try:
            with open(os.devnull, "rb") as nothing, said.open("wb") as out:  # noqa: PTH123
                fds = [nothing.fileno(), out.fileno(), out.fileno()]
                self._session.start(self._argv, env=CLEAN_ENV, cwd="/", fds=fds)
            self._up(number, said)
        except BaseException:
            self._session.close()
            raise

    def _up(self, number: Path, said: Path) -> None:
        """Wait until it answers: it writes its number when it has bound its ports."""
        until = time.monotonic() + _START
        while time.monotonic() < until:
            if wait_ready([self._session.fileno()], [], 0.02):
                lines = said.read_text("utf-8", errors="replace").strip().splitlines()
                raise HostError(
                    f"dnsmasq does not start: {lines[-1] if lines else 'it says nothing'}",
                    "`ss -lnup` shows who has its ports: another behunt, or a DHCP server",
                )
            if number.exists():
                return
        raise HostError(f"dnsmasq did not answer within {_START:.0f} s", f"{said} may tell why")

    @property
    def ended(self) -> bool:
        fd = self._session.fileno()
        return fd < 0 or bool(wait_ready([fd], [], 0))

    def read_again(self) -> None:
        # Not by SIGHUP: dnsmasq, from 2.86 to 2.90 at least, then frees what is not its own where
        # a host that it has answered has tags, and dies. The leases that it gave are in a file.
        self.close()
        self._start()

    def close(self) -> None:
        self._session.close()
