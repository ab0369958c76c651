"""A machine as command lines of bhyveload(8), bhyve(8) and bhyvectl(8). Pure.

After their manual pages in FreeBSD 13.2 and 15.0. What they must not meet is a machine of the
same name: whatever became of it, `destroy_args` ends every run.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from behunt.runners.vm.machine import Bus, Card, Disk, Firmware, Machine, Nic, Share

VMM = PurePosixPath("/dev/vmm")  # holds a file per machine, until that is destroyed
_DISKS = {Bus.VIRTIO: "virtio-blk", Bus.AHCI: "ahci-hd", Bus.NVME: "nvme"}
_CARDS = {Card.VIRTIO: "virtio-net", Card.E1000: "e1000"}
_TAPS = "$(ifconfig -g tap 2>/dev/null)"
# Whose the tap(4) interfaces are.
DESCRIBED = (
    f"for tap in {_TAPS}; do ifconfig $tap; done 2>/dev/null |"
    " sed -n 's/^[[:space:]]*description: //p'"
)
_UNPLUG = f"""\
for tap in {_TAPS}; do
  ! ifconfig $tap 2>/dev/null | grep -q "description: $1\\$" || ifconfig $tap destroy || exit
done
"""
_FIRST_SLOT = 2  # host bridge and LPC bridge are before it
_SLOTS = 32
_NFS2 = 2
_SERIAL = {"console": "comconsole", "boot_serial": "YES"}


class End(StrEnum):
    """How a machine ended."""

    REBOOTED = "rebooted"
    POWERED_OFF = "powered off"
    HALTED = "halted"
    TRIPLE_FAULT = "died of a triple fault"
    ERROR = "could not be run"  # by bhyve: it says nothing about the guest
    SUSPENDED = "was suspended"
    KILLED = "was killed"


_ENDS = (
    End.REBOOTED,
    End.POWERED_OFF,
    End.HALTED,
    End.TRIPLE_FAULT,
    End.ERROR,
    End.SUSPENDED,  # since 15.0
)


def ended(code: int) -> End:
    """What bhyve's exit status means; a negative one is the signal that killed it.

    >>> ended(0), ended(1)
    (<End.REBOOTED: 'rebooted'>, <End.POWERED_OFF: 'powered off'>)
    """
    if code < 0:
        return End.KILLED
    return _ENDS[code] if code < len(_ENDS) else End.ERROR


def load_args(
    machine: Machine,
    console: str,
    *,
    root: PurePosixPath | None = None,
    environment: Mapping[str, str] | None = None,
    interpreter: PurePosixPath | None = None,
) -> list[str]:
    """Put FreeBSD's kernel into memory: from the machine's disks, or from `root` on the host.

    To be repeated before each `run_args`, a reboot's too. `console` is `stdio`, or one end of a
    pair of nmdm(4). `environment` is added to the loader's. A guest before 12.0 has no Lua: on a
    host that has, its `interpreter` is /boot/userboot_4th.so.
    """
    settings = {**_SERIAL, **(environment or {})}
    return [
        *("bhyveload", "-c", console, "-m", _memory(machine)),
        *(word for disk in machine.disks for word in ("-d", _raw(disk))),
        *(("-h", str(root)) if root else ()),
        *(("-l", str(interpreter)) if interpreter else ()),
        *(word for name, value in settings.items() for word in ("-e", f"{name}={value}")),
        machine.name,
    ]


def run_args(machine: Machine, console: str) -> list[str]:
    """Run it until it ends: see `ended`. Raises ValueError for what bhyve does not emulate."""
    hardware = machine.hardware
    return [
        *("bhyve", "-c", str(hardware.cpus), "-m", _memory(machine)),
        # ACPI tables; leave the processor when idle; and what old kernels read is 0 for us.
        *("-A", "-H", "-P", "-w"),
        *("-s", "0:0,hostbridge", "-s", "1:0,lpc"),
        *_slots(_devices(machine)),
        *("-l", f"com1,{console}"),
        *(("-l", _bootrom(machine)) if hardware.firmware is Firmware.UEFI else ()),
        machine.name,
    ]


def destroy_args(name: str) -> list[str]:
    return ["bhyvectl", f"--vm={name}", "--destroy"]


def stop_args(name: str) -> list[str]:
    """End `name` in whatever state: what runs it shows its name, and leaves the machine there.

    Its tap(4) interface is described by its name.
    """
    return [
        *("sh", "-c"),
        f'pkill -KILL -f "^bhyve.* {name}( |\\$)"\n'
        f"test ! -e {VMM / name} || {shlex.join(destroy_args(name))} || exit\n"
        f"{_UNPLUG}",
        *("sh", name),
    ]


def unplug_args(name: str) -> list[str]:
    """Destroy the tap(4) interface of `name`, if there is one."""
    return ["sh", "-c", _UNPLUG, "sh", name]


def _memory(machine: Machine) -> str:
    """The same for loader and machine, or it does not start."""
    return f"{machine.hardware.memory >> 20}M"


def _slots(devices: Iterable[str]) -> list[str]:
    words = []
    for slot, device in enumerate(devices, _FIRST_SLOT):
        if slot == _SLOTS:
            raise ValueError("bhyve has no more slots")
        words += ["-s", f"{slot}:0,{device}"]
    return words


def _devices(machine: Machine) -> list[str]:
    return [
        *(_disk(disk) for disk in machine.disks),
        *(_share(share) for share in machine.shares),
        *([_nic(machine.nic)] if machine.nic else []),
    ]


def _disk(disk: Disk) -> str:
    if disk.bus not in _DISKS:
        raise ValueError(f"bhyve has no {disk.bus} disks")
    return f"{_DISKS[disk.bus]},{_raw(disk)}" + (",ro" if disk.readonly else "")


def _raw(disk: Disk) -> str:
    if disk.format != "raw" or disk.scratch:
        raise ValueError("bhyve has raw disks only, and writes to them")
    return _plain(disk.path)


def _share(share: Share) -> str:
    return f"virtio-9p,{share.tag}={_plain(share.path)}" + (",ro" if share.readonly else "")


def _nic(nic: Nic) -> str:
    if nic.card not in _CARDS or not nic.tap:
        raise ValueError(f"bhyve has no {nic.card} card without a tap(4)")
    return f"{_CARDS[nic.card]},{nic.tap}" + (f",mac={nic.mac}" if nic.mac else "")


def _bootrom(machine: Machine) -> str:
    if machine.uefi is None:
        raise ValueError(f"{machine.name} needs the files of a UEFI firmware")
    variables = machine.uefi.variables
    code = _plain(machine.uefi.code)
    return f"bootrom,{code}" + (f",{_plain(variables)}" if variables else "")


def _plain(path: PurePosixPath) -> str:
    """A path in a list of options, which bhyve splits at every comma."""
    if "," in str(path):
        raise ValueError(f"bhyve cannot take a path with a comma: {path}")
    return str(path)


@dataclass(frozen=True, slots=True)
class NfsRoot:
    """A root that a kernel mounts itself, told by the loader's environment instead of a loader.

    `handle` is what the server's mountd gives for `path` (getfh(2) on a FreeBSD server) to
    version `nfs`, and `mac` that of the card: the kernel finds its interface by it.
    """

    server: str
    path: str
    handle: bytes
    mac: str
    ip: str
    netmask: str
    gateway: str = ""
    options: str = "nolockd"
    nfs: int = 3


def nfs_environment(root: NfsRoot) -> dict[str, str]:
    """For load_args: sys/nfs/nfs_diskless.c and sys/fs/nfsclient/nfs_clvfsops.c of 13.2.

    With a length the handle is one of NFSv3, by TCP, which kernels know since 8.2. Without one it
    is one of NFSv2, of 32 bytes, by UDP in kernels of then. Without a handle none mounts.
    """
    if not root.handle:
        raise ValueError(f"there is no file handle of {root.server}:{root.path}")
    gateway = {"boot.netif.gateway": root.gateway} if root.gateway else {}
    length = {} if root.nfs == _NFS2 else {"boot.nfsroot.nfshandlelen": str(len(root.handle))}
    return {
        "boot.netif.hwaddr": root.mac,
        "boot.netif.ip": root.ip,
        "boot.netif.netmask": root.netmask,
        **gateway,
        "boot.nfsroot.server": root.server,
        "boot.nfsroot.path": root.path,
        "boot.nfsroot.nfshandle": f"X{root.handle.hex()}X",
        **length,
        "boot.nfsroot.options": root.options,
        "vfs.root.mountfrom": f"nfs:{root.server}:{root.path}",
    }
