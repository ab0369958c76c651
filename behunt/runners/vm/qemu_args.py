"""A machine as a command line of qemu-system-*(1). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from behunt.runners.vm.machine import (
    Bus,
    Card,
    Chipset,
    Disk,
    Firmware,
    From,
    Kernel,
    Machine,
    Nic,
    Share,
    Uefi,
)

PROGRAMS = {"amd64": "qemu-system-x86_64", "i386": "qemu-system-i386"}
_CARDS = {
    Card.VIRTIO: "virtio-net-pci",
    Card.E1000: "e1000",
    Card.RTL8139: "rtl8139",
    Card.NE2K: "ne2k_pci",
    Card.NE2K_ISA: "ne2k_isa",
}
# Where the BSDs of that time and Linux look for an NE2000; the interrupt is FreeBSD's.
_ISA = ",iobase=0x300,irq=5"
# No program is started from inside, no right gained: what breaks out of the guest stays alone.
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
_IDE_CHANNELS = 2
_PORTS = 6  # of an ICH9
_PAIR = 2  # disks on an IDE channel


@dataclass(frozen=True, slots=True)
class Emulator:
    """How QEMU runs machines here. `sandboxed` where it was built with seccomp: on Linux only."""

    accelerator: str = "tcg"  # "kvm"
    sandboxed: bool = True


def qemu_args(
    machine: Machine, emulator: Emulator, *, serial: PurePosixPath, qmp: PurePosixPath
) -> list[str]:
    """The whole command line. Raises ValueError for what QEMU's machines cannot hold.

    It makes the sockets `serial` and `qmp`, whose paths may be relative to its working directory
    (more than 107 bytes do not fit), and waits on neither: the machine starts paused, so that
    nothing it says is lost, and `cont` starts it. Nothing in here changes by itself from one run
    to the next, so that the state of a machine may be kept under it.
    """
    hardware = machine.hardware
    return [
        PROGRAMS[hardware.arch],
        *("-name", _escaped(f"guest={machine.name}")),
        *("-machine", hardware.chipset.value, "-accel", emulator.accelerator),
        *("-cpu", hardware.cpu, "-smp", str(hardware.cpus), "-m", f"{hardware.memory >> 20}M"),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-S", *(() if machine.reboots else ("-no-reboot",))),
        *(("-sandbox", _SANDBOX) if emulator.sandboxed else ()),
        *_socket("qmp", qmp),
        *("-mon", "chardev=qmp,mode=control"),
        *_socket("serial", serial),
        *("-serial", "chardev:serial"),
        *(("-vga", "std") if hardware.vga else ()),
        *_boot(machine),
        *_controllers(machine),
        *(word for n, disk in enumerate(machine.disks) for word in _disk(n, disk, machine)),
        *(word for n, share in enumerate(machine.shares) for word in _share(n, share)),
        *_nic(machine.nic, boots=machine.boot is From.NETWORK),
        *_entropy(machine),
        *(("-incoming", "defer") if machine.resumed else ()),
    ]


def _socket(name: str, path: PurePosixPath) -> list[str]:
    return ["-chardev", f"socket,id={name},path={_path(path)},server=on,wait=off"]


def _boot(machine: Machine) -> list[str]:
    if isinstance(machine.boot, Kernel):
        kernel = machine.boot
        initrd = ("-initrd", str(kernel.initrd)) if kernel.initrd else ()
        append = ("-append", kernel.append) if kernel.append else ()
        return ["-kernel", str(kernel.image), *initrd, *append]
    # Only what has a bootindex is tried.
    strict = ["-boot", "strict=on"]
    return [*strict, *_uefi(machine)] if machine.hardware.firmware is Firmware.UEFI else strict


def _uefi(machine: Machine) -> list[str]:
    if machine.uefi is None:
        raise ValueError(f"{machine.name} needs the files of a UEFI firmware")
    return [*_flash(machine.uefi.code, ",readonly=on"), *_variables(machine.uefi)]


def _variables(uefi: Uefi) -> list[str]:
    return _flash(uefi.variables, "") if uefi.variables else []


def _flash(path: PurePosixPath, more: str) -> list[str]:
    return ["-drive", f"if=pflash,format=raw,file={_path(path)}{more}"]


def _controllers(machine: Machine) -> list[str]:
    """A Q35 has its AHCI ports on board, a PC its IDE channels."""
    on_board = machine.hardware.chipset is Chipset.Q35
    wanted = any(disk.bus is Bus.AHCI for disk in machine.disks)
    return ["-device", "ich9-ahci,id=ahci"] if wanted and not on_board else []


def _disk(n: int, disk: Disk, machine: Machine) -> list[str]:
    drive = f"file={_path(disk.path)},id=disk{n},if=none,format={disk.format}"
    # Nothing that is written must outlive the host: no run waits for its disks.
    drive += ",cache=unsafe,discard=unmap"
    drive += ",readonly=on" if disk.readonly else ""
    drive += ",snapshot=on" if disk.scratch else ""
    first = n == 0 and machine.boot is From.DISK
    device = f"{_place(n, disk.bus, machine)},drive=disk{n}" + (",bootindex=0" if first else "")
    return ["-drive", drive, "-device", device]


def _place(n: int, bus: Bus, machine: Machine) -> str:
    """The device of disk `n`, where the guest's numbers for it are the order of the disks."""
    of_its_kind = sum(disk.bus is bus for disk in machine.disks[:n])
    chipset = machine.hardware.chipset
    match bus:
        case Bus.VIRTIO:
            return "virtio-blk-pci"
        case Bus.NVME:
            return f"nvme,serial=behunt{n}"
        case Bus.AHCI if of_its_kind < _PORTS:
            ports = "ide" if chipset is Chipset.Q35 else "ahci"
            return f"ide-hd,bus={ports}.{of_its_kind}"
        case Bus.IDE if chipset is Chipset.PC and of_its_kind < _IDE_CHANNELS * _PAIR:
            return f"ide-hd,bus=ide.{of_its_kind // _PAIR},unit={of_its_kind % _PAIR}"
    raise ValueError(f"a {chipset} has no place for disk {n} on {bus}")


def _share(n: int, share: Share) -> list[str]:
    more = ",readonly=on" if share.readonly else ""
    return [
        "-fsdev",
        f"local,id=share{n},path={_path(share.path)},security_model=passthrough,multidevs=remap{more}",
        "-device",
        f"virtio-9p-pci,fsdev=share{n},mount_tag={_escaped(share.tag)}",
    ]


def _nic(nic: Nic | None, *, boots: bool) -> list[str]:
    """No card at all unless it is asked for."""
    if nic is None:
        return []
    host = f"tap,id=net,ifname={_escaped(nic.tap)},script=no,downscript=no"
    own = f"user,id=net,restrict={'on' if nic.closed else 'off'}"
    if nic.tftp:
        own += f",tftp={_path(nic.tftp.directory)},bootfile={_escaped(nic.tftp.file)}"
    device = f"{_CARDS[nic.card]},netdev=net"
    device += f",mac={nic.mac}" if nic.mac else ""
    if nic.card is Card.NE2K_ISA:
        device += _ISA
    else:
        device += ",bootindex=0" if boots else ",romfile="
    return ["-netdev", host if nic.tap else own, "-device", device]


def _entropy(machine: Machine) -> list[str]:
    """Systems of the virtio era wait for entropy, and notice that they were resumed."""
    if machine.hardware.disk is not Bus.VIRTIO:
        return []
    return ["-device", "virtio-rng-pci", "-device", "vmgenid,guid=auto"]


def _path(path: PurePosixPath) -> str:
    """A path, where commas separate options."""
    return _escaped(str(path))


def _escaped(text: str) -> str:
    return text.replace(",", ",,")
