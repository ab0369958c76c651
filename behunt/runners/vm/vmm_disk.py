"""The disks of machines on an OpenBSD host: one per sealed boot environment, made there.

Boot environments are kept on this machine, for OpenBSD has no ZFS: what is in one is sent over.
What it becomes stays below KEPT on the host, as a disk to derive those of runs from, and a kernel.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from behunt.errors import InstallError
from behunt.hosts.protocol import Host
from behunt.model import sha256_of
from behunt.runners.vm.machine import Hardware
from behunt.runners.vm.openbsd import configured
from behunt.runners.vm.root_tar import pack
from behunt.storage.protocol import Clone

KEPT = PurePosixPath("/var/db/behunt")
KERNEL = "bsd"  # /bsd of the boot environment
_MIB = 8192  # of a disk; it takes no room that is not written
_MAKE_TIME = 3600.0  # seconds, for the largest of roots over the slowest of lines

# $1 directory, $2 MiB, $3 directory and $4 name of what is kept. The archive is on standard input.
# vmd(8) starts the kernel, which finds its root on the first disk: no boot blocks.
_MAKE = """\
umask 077
mkdir "$1" "$1/root" && cd "$1" && mkdir -p "$3" || exit
dd if=/dev/null of=disk.img bs=1048576 seek="$2" 2>/dev/null || exit
vnd=$(vnconfig "$1/disk.img") || exit
filled() {
  fdisk -iy "$vnd" >/dev/null && echo "/ 1G-* 100%" >layout &&
    disklabel -w -A -T layout "$vnd" && newfs -q "/dev/r${vnd}a" &&
    mount "/dev/${vnd}a" root && tar -C root -xpf - &&
    (cd root/dev && sh ./MAKEDEV all) && cp root/bsd bsd
}
filled
code=$?
umount root 2>/dev/null
vnconfig -u "$vnd" && test $code = 0 || exit 1
vmctl create -i disk.img disk.qcow2 >/dev/null &&
  mv bsd "$3/$4.bsd" && mv disk.qcow2 "$3/$4.qcow2"
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept on `host` of one boot environment."""

    host: Host
    identity: str
    hardware: Hardware
    home: str  # id

    @property
    def key(self) -> str:
        """What it is made of and by."""
        return sha256_of([self.identity, sorted(configured(self.hardware).items()), _MAKE])[:16]

    @property
    def disk(self) -> PurePosixPath:
        return self._place / f"{self.key}.qcow2"

    @property
    def kernel(self) -> PurePosixPath:
        return self._place / f"{self.key}.bsd"

    @property
    def _place(self) -> PurePosixPath:
        return KEPT / self.home

    def make(self, clone: Clone, scratch: Path, place: PurePosixPath) -> None:
        """Make it, if it is not there: in `place` on the host, which is then to be removed.

        Raises InstallError and HostError.
        """
        if self.host.run(["test", "-e", str(self.disk)]).code == 0:
            return
        with tempfile.TemporaryDirectory(dir=scratch, prefix=f".make.{clone.name}.") as here:
            archive = Path(here) / "root.tar"
            pack(clone, configured(self.hardware), Path(here), archive)
            words = [str(place), str(_MIB), str(self._place), self.key]
            made = self.host.run(
                ["sh", "-c", _MAKE, "sh", *words], stdin=archive, timeout=_MAKE_TIME
            )
        if made.code != 0:
            said = (made.err.strip() or made.how).splitlines()[-1]
            raise InstallError(
                f"cannot make a disk of {clone.bootenv.name} on {self.host.name}: {said}",
                f"it takes room in {place.parent} and {KEPT} there, and the sets bsd, base and etc",
            )
