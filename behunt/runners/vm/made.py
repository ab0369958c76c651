"""What machines of one boot environment boot from, as it is kept: a directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from behunt.runners.vm.machine import Bus, Card, Chipset, Firmware, Hardware

KERNEL, INITRD, ROOT = "vmlinuz", "initrd", "root.img"
_MADE = "made.json"
_KINDS = {"chipset": Chipset, "firmware": Firmware, "disk": Bus, "nic": Card}


@dataclass(frozen=True, slots=True)
class Made:
    """`version` tells builds of the kernel apart; it boots in `hardware` and in nothing else."""

    os: str
    version: str
    hardware: Hardware

    def write(self, place: Path) -> None:
        """The last thing to do in a directory that holds the rest."""
        text = json.dumps(asdict(self), indent=1)
        (place / _MADE).write_text(f"{text}\n", encoding="utf-8")


def read(place: Path) -> Made:
    """Raises FileNotFoundError where nothing has been made."""
    made: dict[str, Any] = json.loads((place / _MADE).read_text(encoding="utf-8"))
    hardware: dict[str, Any] = {
        name: _KINDS[name](value) if name in _KINDS else value
        for name, value in made["hardware"].items()
    }
    return Made(made["os"], made["version"], Hardware(**hardware))
