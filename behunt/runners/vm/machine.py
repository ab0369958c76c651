"""A virtual machine as a value: what it is made of, and what it boots."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TypeAlias


class Chipset(StrEnum):
    PC = "pc"  # i440FX and PIIX3: PCI, two IDE channels
    Q35 = "q35"  # Q35 and ICH9: PCI Express, six AHCI ports


class Firmware(StrEnum):
    BIOS = "bios"
    UEFI = "uefi"
    LOADER = "loader"  # none: bhyveload(8) puts FreeBSD's kernel into memory


class Bus(StrEnum):
    """What a disk hangs on."""

    VIRTIO = "virtio"
    AHCI = "ahci"
    IDE = "ide"
    NVME = "nvme"  # its state cannot be saved
    NFS = "nfs"  # on none: its root is mounted from the host that runs it


class Card(StrEnum):
    """The model of a network card."""

    VIRTIO = "virtio"
    E1000 = "e1000"
    RTL8139 = "rtl8139"
    NE2K = "ne2k"  # RTL8029, on PCI
    NE2K_ISA = "ne2k_isa"


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the systems of one era expect to find.

    `device` is what they call their n-th disk as a whole, with `{n}` counting from 0 or
    `{letter}` from a; empty where that is not known. `memory` is in bytes. `qemu` is the oldest
    major version of QEMU that emulates their kernel reliably.
    """

    arch: str  # "amd64", "i386"
    cpu: str  # a model that QEMU knows
    cpus: int
    memory: int
    chipset: Chipset
    firmware: Firmware
    disk: Bus
    device: str
    nic: Card
    vga: bool = False
    qemu: int = 0

    def device_of(self, n: int) -> str:
        """What the guest calls disk `n`, counted from 0.

        >>> from behunt.runners.vm.machine import Bus, Card, Chipset, Firmware, Hardware
        >>> of_linux = Hardware("amd64", "max", 1, 1 << 30, Chipset.Q35, Firmware.BIOS,
        ...                     Bus.VIRTIO, "/dev/vd{letter}", Card.VIRTIO)
        >>> of_linux.device_of(1)
        '/dev/vdb'
        """
        return self.device.format(n=n, letter=chr(ord("a") + n))


@dataclass(frozen=True, slots=True)
class Disk:
    """An image. What is written to a `scratch` one is forgotten with the machine."""

    path: PurePosixPath
    bus: Bus
    format: str = "raw"  # or "qcow2"
    readonly: bool = False
    scratch: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """A directory that the guest can mount under its tag, by 9p. It rules out saving the state."""

    tag: str
    path: PurePosixPath
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class Tftp:
    """What a gateway gives to read: what is in `directory`, and which `file` to boot (PXE)."""

    directory: PurePosixPath
    file: str


@dataclass(frozen=True, slots=True)
class Nic:
    """A network card, on the host's interface `tap`, or behind QEMU's own gateway without one.

    A `closed` gateway answers the guest, and lets nothing out.
    """

    card: Card
    mac: str = ""
    tap: str = ""
    closed: bool = True
    tftp: Tftp | None = None


@dataclass(frozen=True, slots=True)
class Kernel:
    """A Linux kernel that is started without a loader."""

    image: PurePosixPath
    initrd: PurePosixPath | None = None
    append: str = ""


class From(StrEnum):
    """Where the firmware looks for something to boot."""

    DISK = "disk"  # the first
    NETWORK = "network"  # PXE


Boot: TypeAlias = Kernel | From


@dataclass(frozen=True, slots=True)
class Uefi:
    """A UEFI firmware: its code, and the copy of its variables that belongs to one machine."""

    code: PurePosixPath
    variables: PurePosixPath | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, apart from where its console and its monitor are.

    Paths are those of where the hypervisor is started. It ends where the guest reboots, unless
    `reboots`. With `resumed` it waits for the state that one of the same arguments has left.
    """

    name: str
    hardware: Hardware
    boot: Boot
    disks: tuple[Disk, ...] = ()
    shares: tuple[Share, ...] = ()
    nic: Nic | None = None
    uefi: Uefi | None = None
    reboots: bool = False
    resumed: bool = False

    @property
    def savable(self) -> bool:
        """Whether its state can be saved: neither NVMe disks nor mounted shares can."""
        return not self.shares and all(disk.bus is not Bus.NVME for disk in self.disks)
