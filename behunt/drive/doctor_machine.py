"""The machine that doctor asks about, and how what it lacks is brought to it."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from behunt.families import supply
from behunt.hosts.protocol import CLEAN_ENV


@dataclass(frozen=True, slots=True)
class Machine:
    """What is asked about: the system's family, and where its programs are."""

    system: str  # as `supply.system_of` names it
    path: str = CLEAN_ENV["PATH"]  # where every command of behunt's is looked for

    def has(self, program: str) -> bool:
        return shutil.which(program, path=self.path) is not None

    def fix(self, needed: Iterable[str]) -> str:
        major, minor = sys.version_info[:2]
        return supply.fix(tuple(needed), self.system, f"{major}{minor}")


def this_machine() -> Machine:
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return Machine(supply.system_of(platform.system(), text))
