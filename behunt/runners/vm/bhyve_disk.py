"""The disks of bhyve machines: volumes of the pool that their boot environment is in.

One is made per sealed boot environment, and each run has a clone of it. Where bhyve has no disk
for a release, a file system is what a volume is elsewhere (bhyve_root.py). Their names follow from
those of the datasets that they belong to, and they are of no use once those are gone:

    freebsd-13.2-amd64:disk.<key>                   made of the boot environment, with @made
    freebsd-13.2-amd64:run.<home>.<token>.<n>:disk  of a run; also one that is being made
"""

from __future__ import annotations

import contextlib
import io
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

from behunt.errors import HostError, InstallError
from behunt.hosts.protocol import Host
from behunt.model import sha256_of
from behunt.runners.remote import leaving
from behunt.runners.vm import fat, freebsd
from behunt.runners.vm.job import FREEBSD
from behunt.runners.vm.machine import Bus, Firmware, Hardware

_VOLUMES = PurePosixPath("/dev/zvol")
MARK = "behunt:machine"  # the user property that all of them have: the id of a home
MADE = "@made"
_MAKE_TIME = 3600.0  # seconds, for the largest of roots on the slowest of disks
_LOADER_CONF = "boot/loader.conf.local"
# bhyve's second port wants a terminal of its own. rc(8) has the console open: its settings last.
ONE_PORT = replace(FREEBSD, output=FREEBSD.console, initial="")

_APPEARED = """\
appeared() {
  n=0
  until test -e "/dev/zvol/$1"; do
    n=$((n + 1))
    test $n -lt 100 || { echo "/dev/zvol/$1 does not appear" >&2; return 1; }
    sleep 0.1
  done
}
"""
# $1 root, $2 directory, $3 volume, $4 home. bhyveload(8) needs no partition to boot from, a UEFI
# firmware the one that is read here. 4 GiB are for the run; they are taken from the pool as they
# are written. The capacity is that of the volume, for the second table is at the end.
_MAKE = f"""\
{_APPEARED}\
umask 077
mkdir "$2" && cd "$2" && cat >efi || exit
used=$(du -sk "$1") || exit
least=$((${{used%%[!0-9]*}} / 512 + 4096))
makefs -Z -t ffs -B little -o version=2 -M ${{least}}m root "$1" >/dev/null || exit
size=$((($(wc -c <root) + $(wc -c <efi)) / 1048576 + 2))
test -s efi && set -- "$@" -p efi:=efi
own=$3 home=$4 && shift 4
mkimg -s gpt -c ${{size}}m -p freebsd-ufs:=root "$@" -o disk || exit
zfs create -s -V ${{size}}m -o volmode=dev -o compression=on -o {MARK}="$home" "$own" || exit
appeared "$own" && dd if=disk of="/dev/zvol/$own" bs=1048576 2>/dev/null &&
  zfs snapshot "$own{MADE}"
"""
# $1 root, whose content nobody vouches for
_LOADER = 'cd "$1" && test ! -h boot && test ! -h boot/loader.efi && exec cat boot/loader.efi'
# What a file system was mounted on was made for it.
_DESTROY = """\
at=$(zfs get -H -o value mountpoint "$1") && zfs destroy -rf "$1" || exit
case $at in /*) rmdir "$at" ;; esac
exit 0
"""
# $1 volume, $2 that of a run, $3 home
_CLONE = f"""\
{_APPEARED}\
zfs clone -o volmode=dev -o {MARK}="$3" "$1{MADE}" "$2" && appeared "$2"
"""


@dataclass(frozen=True, slots=True)
class Disks:
    """Those of one boot environment, of which a clone is mounted at `root` of `host`."""

    host: Host
    root: str
    identity: str
    hardware: Hardware
    home: str  # id
    recipe: ClassVar[str] = _MAKE

    @property
    def key(self) -> str:
        """What one is made of and by."""
        made_of = [self.identity, self.files(), self.recipe, self.hardware.firmware]
        return sha256_of(made_of)[:12]

    def files(self) -> Mapping[str, str]:
        """Over those of the boot environment."""
        return configured(self.hardware)

    def make(self, place: PurePosixPath) -> None:
        """Make the one to clone, if there is none. `place` is a directory for that, soon gone.

        Raises InstallError and HostError.
        """
        clone, volume = self.dataset(), self.volume()
        if _is_there(self.host, volume + MADE):
            return
        self._configure()
        own = f"{clone}:disk"
        try:
            words = ["sh", "-c", self.recipe, "sh", self.root, str(place), own, self.home]
            made = self.host.run(words, stdin=self._boot_volume(), timeout=_MAKE_TIME)
            if made.code != 0:
                said = (made.err.strip() or made.how).splitlines()[-1]
                raise InstallError(
                    f"cannot make a disk of {self.root} on {self.host.name}: {said}",
                    f"it takes room in {place.parent} and in the pool, for all of the release",
                )
            if self.host.run(["zfs", "rename", own, volume]).code == 0:  # else one was faster
                self._forget_others(volume)
        finally:
            destroy(self.host, own)
            self.host.run(["rm", "-rf", str(place)])

    @contextlib.contextmanager
    def cloned(self) -> Iterator[PurePosixPath]:
        """The device of a clone for one run, destroyed on leaving."""
        own = f"{self.dataset()}:disk"
        words = ["sh", "-c", _CLONE, "sh", self.volume(), own, self.home]
        try:
            self.host.run(words, check=True)
            yield _VOLUMES / own
        finally:
            destroy(self.host, own)

    def _boot_volume(self) -> bytes:
        """What a UEFI firmware starts the boot environment's own loader from."""
        if self.hardware.firmware is not Firmware.UEFI:
            return b""
        loader: list[bytes] = []
        self.host.run(["sh", "-c", _LOADER, "sh", self.root], sink=loader.append, check=True)
        with tempfile.TemporaryDirectory() as scratch:
            volume = Path(scratch) / "efi.fat"
            fat.write(volume, {"EFI": {"BOOT": {"BOOTX64.EFI": b"".join(loader)}}})
            return volume.read_bytes()

    def dataset(self) -> str:
        """Of the clone: a path stands for what is mounted there (zfs(8))."""
        done = self.host.run(["zfs", "list", "-H", "-o", "name", self.root])
        if done.code != 0:
            raise HostError(
                f"{self.root} on {self.host.name} is no dataset: {done.err.strip()}",
                "keep boot environments in a pool of that host: --store zfs:POOL/DATASET",
            )
        return done.out.strip()

    def volume(self) -> str:
        return f"{self._bootenv()}:disk.{self.key}"

    def _bootenv(self) -> str:
        return self.dataset().rpartition(":")[0]

    def _configure(self) -> None:
        """The clone is the run's: tar(1) of FreeBSD follows no link in it."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as files:
            for name, text in self.files().items():
                member = tarfile.TarInfo(name)
                member.size = len(text)
                files.addfile(member, io.BytesIO(text.encode("ascii")))
        self.host.run(["tar", "-C", self.root, "-xf", "-"], stdin=archive.getvalue(), check=True)

    def _forget_others(self, volume: str) -> None:
        """Those of what had its name before, or of another behunt's recipe."""
        for name in _volumes(self.host, self.home):
            if name.startswith(f"{self._bootenv()}:disk.") and name != volume:
                with contextlib.suppress(HostError):  # a run has it
                    destroy(self.host, name)


def configured(hardware: Hardware) -> Mapping[str, str]:
    """Files over those of the boot environment. AHCI was a module before it was in GENERIC."""
    files = dict(freebsd.configured(hardware, ONE_PORT))
    if hardware.disk is Bus.AHCI:
        files[_LOADER_CONF] += 'ahci_load="YES"\n'
    return files


def destroy(host: Host, volume: str) -> None:
    """Destroy one and its snapshots; nothing if it is not there. Raises HostError."""
    if _is_there(host, volume):
        argv = ["sh", "-c", _DESTROY, "sh", volume]
        leaving(host, argv, f"destroy {volume}", "a machine that still runs may hold it")


def reap(host: Host, home: str) -> list[str]:
    """Destroy the volumes of `home` (its id) that belong to nothing any more; their names."""
    gone = []
    for name in _volumes(host, home):
        if not _is_there(host, name.rpartition(":disk")[0]):
            with contextlib.suppress(HostError):  # in use by another behunt: it destroys it
                destroy(host, name)
                gone.append(name)
    return gone


def _volumes(host: Host, home: str) -> list[str]:
    done = host.run(["zfs", "list", "-H", "-t", "filesystem,volume", "-o", f"name,{MARK}"])
    rows = (row.split("\t") for row in done.out.splitlines()) if done.code == 0 else ()
    return [name for name, mark in rows if mark == home]


def _is_there(host: Host, name: str) -> bool:
    return host.run(["zfs", "list", "-H", "-o", "name", name]).code == 0
