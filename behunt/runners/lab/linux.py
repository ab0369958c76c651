"""How a Linux boots from the network, with its root on NFS: what iPXE and the machine are told.

The initial RAM disk is ours, as that of runners/vm/linux.py: no release has to bring one that can.
iPXE has the machine's address already, so nothing asks for one again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from behunt.model import Release, sha256_of
from behunt.netboot.dnsmasq import LINUX, SCRIPT
from behunt.netboot.lab import Dhcp, Machine
from behunt.netboot.web import Content
from behunt.runners.lab.job import JOB
from behunt.runners.lab.root import Offer, Root, rate_of
from behunt.runners.protocol import AT
from behunt.runners.vm import layers, linux
from behunt.runners.vm.initrd import initrd, loadable, needed
from behunt.runners.vm.job import System
from behunt.runners.vm.linux import BUSYBOX, Kernel
from behunt.runners.vm.made import INITRD, KERNEL
from behunt.storage.protocol import Clone

FOREIGN = False  # this machine's kernel runs its programs
_NFS = ("nfsv3",)
_BUSES = ("virtio_pci", "hv_vmbus")
_VIRTUAL = ("virtio_net", "vmxnet3", "hv_netvsc")  # cards that lie elsewhere than the others

_INIT = f"""#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
say() {{ echo "behunt: $*" >/dev/console; }}
init={AT}/{JOB}
for word in $($b cat /proc/cmdline); do
    value=${{word#*=}}
    case $word in
        behunt.mac=*) mac=$value ;;
        behunt.ip=*) ip=$value ;;
        behunt.mask=*) mask=$value ;;
        behunt.root=*) root=$value ;;
        behunt.init=*) init=$value ;;
    esac
done
card() {{
    for card in /sys/class/net/*; do [ "$($b cat "$card/address")" != "$mac" ] || return 0; done
    return 1
}}
n=0
until card; do # once more: a bus's driver finds what is on it
    all=$($b find /sys/devices -name modalias -exec $b cat {{}} + | $b sort -u)
    $b modprobe -a $all 2>/dev/null
    n=$((n + 1))
    [ $n -lt 3 ] || $b sleep 1
    [ $n -lt 30 ] || {{ say "no driver for the card $mac"; $b poweroff -f; }}
done
$b ip link set lo up
$b ifconfig "${{card##*/}}" "$ip" netmask "$mask" up
$b modprobe nfsv3
options=vers=3,proto=tcp,nolock,noacl,port=2049,mountproto=tcp,retry=0
options=$options,addr=${{root%%:*}}
n=0
until $b mount -t nfs -o "$options" "$root" /root; do
    n=$((n + 1)); [ $n -lt 30 ] || {{ say "cannot mount $root"; $b poweroff -f; }}
    $b sleep 1
done
$b umount /sys /proc
$b mount -t devtmpfs dev /root/dev
exec $b switch_root /root "$init"
"""


def unfit(release: Release, dhcp: Dhcp) -> str:
    """Why no machine can boot `release`; empty if one can."""
    del dhcp  # iPXE asks for its script where any DHCP gives addresses
    return linux.unfit(release)


def system(version: str) -> System:
    return linux.system(version)


def make(release: Release, clone: Clone, place: Path) -> str:
    """Fill `place`, an empty directory; the kernel's version. InstallError and HostError."""
    trees = layers.trees(clone)
    kernel = linux.installed(trees)
    if kernel is None:
        merged = (trees[0] / "lib").is_symlink()
        kernel = linux.fetched(release, clone, place, merged=merged)
    shutil.copyfile(kernel.image, place / KERNEL)
    (place / INITRD).write_bytes(initrd_of(kernel))
    return kernel.version


def layered(clone: Clone, place: Path, machine: Machine) -> Clone:
    """With the kernel's modules, where the boot environment itself has no kernel."""
    del machine
    kernel = place / "kernel"
    if not clone.lower or not kernel.is_dir():
        return clone
    return replace(clone, lower=(str(kernel), *clone.lower))


def recipe() -> str:
    """What is the same for all that is made: another one makes another thing."""
    return sha256_of([_INIT])


def script(machine: Machine, root: Root, init: str = "") -> str:
    """What iPXE does, in its language. Kernel and initial RAM disk lie beside it.

    Process 1 of the root is `init`, or the job of a run.
    """
    ip = str(machine.ip or "${netX/ip}")
    told = words(machine, root, ip=ip, mask="${netX/netmask}", init=init)
    append = " ".join([f"initrd={INITRD}", *told])
    return f"#!ipxe\nkernel {KERNEL} {append}\ninitrd {INITRD}\nboot\n"


def words(machine: Machine, root: Root, *, ip: str, mask: str, init: str = "") -> list[str]:
    """What the kernel, and our initial RAM disk, are told."""
    return [
        f"behunt.mac={machine.mac}",
        f"behunt.ip={ip}",
        f"behunt.mask={mask}",
        f"behunt.root={root.server}:{root.path}",
        *([f"console=ttyS0,{rate_of(machine.console)}"] if machine.console != "none" else []),
        *([f"behunt.init={init}"] if init else []),
        "panic=30",
    ]


def offer(machine: Machine, root: Root, place: Path, init: str = "") -> Offer:
    """What `machine` is told and given, to boot `root`, where `init` or a run's job is process 1.

    Kernel and initial RAM disk are in `place`.
    """
    web: dict[str, Content] = {
        SCRIPT: script(machine, root, init).encode(),
        KERNEL: place / KERNEL,
        INITRD: place / INITRD,
    }
    return Offer(way=LINUX, last=INITRD, web=web)


def initrd_of(kernel: Kernel) -> bytes:
    """With drivers for all cards of Ethernet. Raises InstallError where the kernel has no NFS."""
    needed(kernel.modules, _NFS)
    cards = sorted(_ethernet(kernel.modules))
    found = loadable(kernel.modules, (*_NFS, *_BUSES, *_VIRTUAL, *cards))
    place = f"lib/modules/{kernel.modules.name}"
    files = {f"{place}/{name}": content for name, content in found.items()}
    return initrd(BUSYBOX.read_bytes(), _INIT, {}, files)


def _ethernet(modules: Path) -> Iterator[str]:
    for path in modules.glob("kernel/drivers/net/ethernet/**/*.ko*"):
        yield path.name.partition(".ko")[0].replace("-", "_")
