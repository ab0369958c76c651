"""What the tests of virtual machines vary."""

from __future__ import annotations

from behunt.runners.vm.machine import Bus, Card, Chipset, Firmware, Hardware

MODERN = Hardware(
    arch="amd64",
    cpu="max",
    cpus=2,
    memory=512 << 20,
    chipset=Chipset.Q35,
    firmware=Firmware.BIOS,
    disk=Bus.VIRTIO,
    device="/dev/vd{letter}",
    nic=Card.VIRTIO,
)
