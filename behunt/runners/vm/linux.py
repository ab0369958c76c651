"""What a Linux machine boots from: a kernel, an initial RAM disk, and a disk with the root on it.

The kernel is the boot environment's own if it has one installed, else the one that its
distribution would install. The disk is made by mke2fs(8) from what the clone shows: no loop
device, and no mount that would outlive the call.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from behunt.errors import InstallError
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.hosts.sandbox import Sandbox
from behunt.model import Release, sha256_of
from behunt.runners.packages import layer
from behunt.runners.protocol import AT
from behunt.runners.vm import layers, machine
from behunt.runners.vm.initrd import initrd, needed
from behunt.runners.vm.job import LINUX, System, waiting
from behunt.runners.vm.machine import Boot, Hardware
from behunt.runners.vm.made import INITRD, KERNEL, ROOT, Made
from behunt.runners.vm.qemu_args import Emulator
from behunt.storage.protocol import Clone

PACKAGES = {"amd64": "linux-image-amd64", "i386": "linux-image-686"}
BUSYBOX = Path("/bin/busybox")
MEMORY = 96 << 20  # bytes that the system itself takes
FOREIGN = False  # this machine's kernel runs its programs
# The kernel says little on the console, and the machine ends when it panics.
APPEND = "console=ttyS0 quiet panic=-1"
_ROOM = 4 << 20  # KiB that a run can fill
_MODULES = {"virtio": ("virtio_pci", "virtio_blk"), "ahci": ("ahci", "sd_mod"), "nvme": ("nvme",)}
CARDS = {"virtio": "virtio_net", "e1000": "e1000", "rtl8139": "8139cp", "ne2k": "ne2k_pci"}
_MAKE_TIME = 600.0  # seconds, for the largest of roots

# $1 layers, $2 an empty directory, $3 the image, $4 KiB to leave free.
_IMAGE = """
set -e
root=$1
case $1 in *:*) mount -t overlay -o "lowerdir=$1" overlay "$2"; root=$2 ;; esac
set -- "$root" "$3" $(($(du -skx "$root" | cut -f 1) * 11 / 10 + $4))
mke2fs -q -t ext4 -m 0 -O ^has_journal -E lazy_itable_init=1 -d "$1" "$2" "${3}k"
"""
_INIT = f"""#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod "$module"; done
$b mount -t ext4 -o noatime {{root}} /root
if $b ifconfig eth0 10.0.2.15 netmask 255.255.255.0 2>/dev/null; then # QEMU's own network
    $b route add default gw 10.0.2.2
    echo nameserver 10.0.2.3 >/root/etc/resolv.conf
fi
$b mkdir -p /root{AT}
$b cp /job /root{AT}/.init
exec $b switch_root /root {AT}/.init
"""


@dataclass(frozen=True, slots=True)
class Kernel:
    """`image` and `modules` (its /lib/modules/VERSION); `version` tells builds of it apart."""

    image: Path
    modules: Path
    version: str


def unfit(release: Release) -> str:
    """Why no machine can boot `release`; empty if one can."""
    if release.arch not in PACKAGES:
        return f"there is no kernel for {release.arch} to boot it with"
    lacking = [name for name in ("mke2fs", "depmod") if shutil.which(name) is None]
    if not BUSYBOX.exists():
        lacking.append(str(BUSYBOX))
    packages = "apt install e2fsprogs kmod busybox-static"
    return f"its disk is made with {', '.join(lacking)}: {packages}" if lacking else ""


def system(version: str) -> System:
    del version
    return LINUX


def boot(place: Path) -> Boot:
    return machine.Kernel(PurePosixPath(place / KERNEL), PurePosixPath(place / INITRD), APPEND)


def make(
    release: Release, clone: Clone, hardware: Hardware, place: Path, emulator: Emulator
) -> None:
    """Fill `place`, an empty directory. Raises InstallError and HostError."""
    del emulator
    trees = layers.trees(clone)
    kernel = installed(trees)
    if kernel is None:
        kernel = fetched(release, clone, place, merged=(trees[0] / "lib").is_symlink())
        trees.insert(0, place / "kernel")
    shutil.copyfile(kernel.image, place / KERNEL)
    (place / INITRD).write_bytes(_initrd(kernel, hardware))
    write_root(trees, clone.stage, place / ROOT)
    Made(release.os, kernel.version, hardware).write(place)


def installed(trees: list[Path]) -> Kernel | None:
    """The newest kernel that has been installed into the boot environment itself."""
    found = [kernel for tree in trees for kernel in _kernels(tree)]
    return max(found, key=lambda kernel: _natural(kernel.modules.name), default=None)


def fetched(release: Release, clone: Clone, place: Path, *, merged: bool) -> Kernel:
    """The kernel that the release's distribution installs, as a layer in `place`/kernel.

    With a `merged` /usr its modules are below /usr/lib, where /lib leads.
    """
    package = PACKAGES.get(release.arch)
    if package is None:
        raise InstallError(
            f"there is no kernel to boot {release.id} with", "known for: " + ", ".join(PACKAGES)
        )
    got = layer(release, clone, place, package, "linux-*")
    (kernel,) = _kernels(got / "root")
    base = place / "kernel" / ("usr" if merged else ".")
    modules = base / "lib/modules" / kernel.modules.name
    image = place / "kernel/boot" / f"vmlinuz-{modules.name}"
    for path in (image, modules):
        path.parent.mkdir(parents=True)
    kernel.image.rename(image)
    kernel.modules.rename(modules)
    versions = dict(line.split() for line in (got / "packages").read_text("ascii").splitlines())
    shutil.rmtree(got)
    # Without it nothing in there can load a module by its name.
    LocalHost().run(["depmod", f"--basedir={base}", modules.name], timeout=120, check=True)
    build = next(versions[name] for name in versions if modules.name in name)
    return Kernel(image, modules, f"{modules.name} ({build})")


def write_root(trees: list[Path], stage: str, image: Path) -> None:
    """A file system of what `trees` (top first) show together, seen through `stage`."""
    host: Host = LocalHost(Sandbox(namespaces=("mount",)), "image")
    words = [":".join(map(str, trees)), stage, str(image), str(_ROOM)]
    host.run(["sh", "-c", _IMAGE, "sh", *words], timeout=_MAKE_TIME, check=True)


def _initrd(kernel: Kernel, hardware: Hardware) -> bytes:
    wanted = (*_MODULES[hardware.disk], "ext4")
    welcome = ("crc32c_generic", CARDS.get(hardware.nic, ""))
    modules = needed(kernel.modules, wanted, welcome)
    init = _INIT.format(root=hardware.device_of(0))
    job = waiting(LINUX, hardware.device_of(1))
    return initrd(BUSYBOX.read_bytes(), init, modules, {"job": job.encode()})


def _kernels(tree: Path) -> Iterator[Kernel]:
    for modules in (*tree.glob("lib/modules/*"), *tree.glob("usr/lib/modules/*")):
        for image in (tree / f"boot/vmlinuz-{modules.name}", modules / "vmlinuz"):
            if _within(tree, image, modules) and image.is_file():
                yield Kernel(image, modules, modules.name)
                break


def _within(tree: Path, *paths: Path) -> bool:
    """A link may lead out of the tree."""
    return all(path.resolve().is_relative_to(tree.resolve()) for path in paths)


def _natural(version: str) -> list[tuple[int, str]]:
    return [(int(number or 0), text) for number, text in re.findall(r"(\d*)(\D*)", version)]


def recipe() -> str:
    """What is the same for all that is made: another one makes another thing."""
    return sha256_of([_INIT, _IMAGE, waiting(LINUX, "")])
