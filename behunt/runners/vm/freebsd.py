"""What a FreeBSD machine boots from: a disk with its boot environment's loader, kernel and root.

The root is a UFS1 file system made by makefs(8), of less than 2 GB: what Debian's makefs of 2019
writes as UFS2 no FreeBSD mounts, and beyond 2 GB it overflows. The boot programs are the boot
environment's own (boot(8), gptboot(8): since 7.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from behunt.errors import InstallError
from behunt.hosts.local import LocalHost
from behunt.hosts.sandbox import Sandbox
from behunt.model import Release
from behunt.runners.protocol import AT
from behunt.runners.vm import gpt
from behunt.runners.vm.job import FREEBSD, waiting
from behunt.runners.vm.machine import Hardware
from behunt.runners.vm.made import ROOT, Made
from behunt.storage.protocol import Clone

_SIZE = 1900  # MiB
_MAKE_TIME = 900.0  # seconds
_JOB = f"{AT}/.init"
_BOOT, _LOADER = "boot/pmbr", "boot/gptboot"

# $1 layers, $2 an empty directory to see them through, $3 the image, $4 its size.
_IMAGE = """
mount -t overlay -o "lowerdir=$1" overlay "$2" || exit
exec makefs -t ffs -B little -o version=1 -o label=behunt -s "$4" "$3" "$2"
"""


def make(release: Release, clone: Clone, hardware: Hardware, place: Path) -> None:
    """Fill `place`, an empty directory. Raises InstallError and HostError."""
    trees = [Path(tree) for tree in clone.lower or (clone.root,)]
    programs = {name: _found(trees, name, release) for name in (_BOOT, _LOADER)}
    own = place / "configured"
    for name, content in configured(hardware).items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(content, encoding="ascii")
    root = place / "root.ufs"
    words = [":".join(map(str, (own, *trees))), clone.stage, str(root), f"{_SIZE}m"]
    host = LocalHost(Sandbox(namespaces=("mount",)), "image")
    host.run(["sh", "-c", _IMAGE, "sh", *words], timeout=_MAKE_TIME, check=True)
    partitions = (
        gpt.Partition("freebsd-boot", "boot", programs[_LOADER]),
        gpt.Partition("freebsd-ufs", "root", root),
    )
    gpt.write(place / ROOT, partitions, programs[_BOOT].read_bytes())
    root.unlink()
    Made(release.os, release.version, hardware).write(place)


def configured(hardware: Hardware) -> Mapping[str, str]:
    """Files over those of the boot environment: its serial console, its root, and the job.

    loader.conf.local and rc.conf.local are read after what they add to (loader.conf(5),
    rc.conf(5)). rc.local is run before anybody can log in, and does not return.
    """
    disk = hardware.device_of(0)
    return {
        "boot/loader.conf.local": (
            'console="comconsole"\nautoboot_delay="0"\nbeastie_disable="YES"\n'
            f'vfs.root.mountfrom="ufs:{disk}p2"\n'
        ),
        "etc/fstab": f"{disk}p2 / ufs rw 0 0\n",
        "etc/rc.conf.local": 'sendmail_enable="NONE"\ncron_enable="NO"\ndumpdev="NO"\n',
        "etc/rc.local": f"sh {_JOB}\n",
        _JOB.lstrip("/"): waiting(FREEBSD, hardware.device_of(1)),
    }


def _found(trees: list[Path], name: str, release: Release) -> Path:
    for tree in trees:
        path = tree / name
        if path.is_file() and path.resolve().is_relative_to(tree.resolve()):
            return path
    raise InstallError(
        f"{release.id} has no /{name} to boot from",
        "gptboot is in 7.0 and later; install the set base (docs/sets.md)",
    )
