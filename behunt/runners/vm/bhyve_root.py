"""The roots of bhyve machines that have no disk: file systems, each mounted from its host by NFS.

One is made per sealed boot environment, and cloned for each run, as bhyve_disk.py has it of
volumes. It is a single file system, for NFS ends where another one begins. The exchange disk is a
directory of it: the job finds there what such a disk would bring, and leaves it there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from behunt.errors import HostError
from behunt.hosts.protocol import Host
from behunt.runners.protocol import AT
from behunt.runners.vm.away import root_of, trimmed
from behunt.runners.vm.bhyve_disk import MADE, MARK, ONE_PORT, Disks, destroy
from behunt.runners.vm.job import JOB, waiting
from behunt.runners.vm.nfs_root import Link
from behunt.storage.disk import disk_errors

_WAITING = ".init"
_MOST = 1 << 30  # bytes that a run may bring back
_COPY = 3600.0  # seconds

_MOUNTED = "-o canmount=on -o setuid=off"  # what a test makes set-uid is so in its machine only
# $1 root, $2 where, $3 file system, $4 home. Both archivers must have come to their end.
_MAKE = f"""\
mkdir -m 700 "$2" || exit
zfs create {_MOUNTED} -o mountpoint="$2" -o sharenfs=off -o {MARK}="$4" "$3" ||
  {{ rmdir "$2"; exit 1; }}
came=$({{
  {{ tar -C "$1" -cf - . && echo read >&3; }} |
    {{ tar -C "$2" -xpf - && echo written >&3; }}
}} 3>&1)
case $came in *read*written* | *written*read*) ;; *) exit 1 ;; esac
zfs set mountpoint=none "$3" && rmdir "$2" && zfs snapshot "$3{MADE}"
"""
# $1 file system, $2 that of a run, $3 home, $4 where, $5 to whom it is shared, $6 fstab(5). 4 GiB
# are for the run; NFS of version 2 counts what is free in 32 bits.
_CLONE = f"""\
quota=$(($(zfs get -H -p -o value referenced "$1") + 4294967296)) && mkdir -m 700 "$4" || exit
zfs clone {_MOUNTED} -o mountpoint="$4" -o refquota=$quota -o sharenfs="$5" -o {MARK}="$3" \
  "$1{MADE}" "$2" || {{ rmdir "$4"; exit 1; }}
echo "$6" >"$4/etc/fstab"
"""
# $1 root, $2 a directory in it. A guest that was root in there has made what it liked of it.
_INTO = 'cd "$1" && test ! -h "$2" && tar -C "$2" -xpf -'
_OUT_OF = f"""\
cd "$1" && test ! -h "$2" && cd "$2" || exit
tar --exclude ./{JOB} --exclude ./{_WAITING} -cf - . 2>/dev/null
case $? in 0 | 1) ;; *) exit 1 ;; esac
"""


@dataclass(frozen=True, slots=True)
class Roots(Disks):
    """Those of one boot environment."""

    recipe: ClassVar[str] = _MAKE

    def make(self, place: PurePosixPath) -> None:
        """As for a volume; it is filled where a machine's root would be."""
        Disks.make(self, root_of(place))

    def files(self) -> Mapping[str, str]:
        """Over those of the boot environment; the loader gets the rest from bhyveload(8).

        Its network is up before it is, and must stay as it is.
        """
        return {
            "boot/loader.conf.local": 'autoboot_delay="-1"\nbeastie_disable="YES"\n',
            "etc/fstab": "",
            "etc/rc.conf.local": 'sendmail_enable="NONE"\ncron_enable="NO"\ndumpdev="NO"\n',
            "etc/rc.local": f"sh {AT}/{_WAITING}\n",
            f"{AT.name}/{_WAITING}": waiting(ONE_PORT, ""),
        }

    @contextlib.contextmanager
    def exported(self, place: PurePosixPath, link: Link) -> Iterator[PurePosixPath]:
        """The directory of a clone for one run, which the guest on `link` may mount.

        `place` is that of its machine. Destroyed on leaving.
        """
        own = f"{self.dataset()}:disk"
        at = str(root_of(place))
        fstab = f"{link.host}:{at} / nfs rw 0 0"
        words = [self.volume(), own, self.home, at, link.share, fstab]
        try:
            self.host.run(["sh", "-c", _CLONE, "sh", *words], check=True)
            yield root_of(place)
        finally:
            destroy(self.host, own)


@dataclass(frozen=True, slots=True)
class InRoot:
    """An exchange disk that is a directory of the machine's `root` on `host`."""

    host: Host
    root: PurePosixPath

    def send(self, disk: Path) -> None:
        """Unpack it. `disk` loses the hole that it ends with. Raises HostError."""
        trimmed(disk)
        self.host.run(self._words(_INTO), stdin=disk, timeout=_COPY, check=True)

    def fetch(self, disk: Path) -> None:
        """Let `disk` be what is there now, of a machine that is dead. Raises HostError."""
        left = _MOST
        with disk_errors(disk), disk.open("wb") as file:

            def take(data: bytes) -> None:
                nonlocal left
                left -= len(data)
                if left < 0:
                    raise HostError(
                        f"the test left more than {_MOST >> 20} MiB in {AT}",
                        "let it keep only what is worth keeping in $BEHUNT_OUT",
                    )
                file.write(data)

            self.host.run(self._words(_OUT_OF), timeout=_COPY, sink=take)

    def _words(self, script: str) -> list[str]:
        return ["sh", "-c", script, "sh", str(self.root), AT.name]
