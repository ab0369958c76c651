"""What virtual machines are made of and run on here, as doctor tells it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from os import W_OK, access
from pathlib import Path

from behunt import catalogue
from behunt.drive.doctor_machine import Machine
from behunt.errors import HostError
from behunt.model import Check, Release
from behunt.runners.uml_registers import doubt
from behunt.runners.vm import accel, eras
from behunt.runners.vm.families import FAMILIES
from behunt.runners.vm.qemu_args import PROGRAMS
from behunt.storage.home import Home

QEMU = (PROGRAMS["amd64"], "qemu-img")
# By what accel.acceleration says of machines that are emulated.
_ACCELERATE = {
    "no Linux kernel to try": "apt install linux-image-amd64, for one to try it with",
    "may not be used": "usermod -aG kvm USER",
    "": "turn on virtualization in the firmware, or nested in the hypervisor",
}
_NEWER = {"debian": "apt install -t bookworm-backports qemu-system-x86 (or a later Debian)"}


def checks_of_machines(home: Home, machine: Machine) -> Iterator[Check]:
    """An accelerator is really tried, unless `home` remembers: that may take half a minute."""
    known = catalogue.load().releases
    with contextlib.suppress(HostError):  # no QEMU: the runner has told
        qemu = accel.installed()
        fast = _acceleration(qemu, home)
        tcg = fast.name == "tcg"
        fix = next(fix for words, fix in _ACCELERATE.items() if words in fast.why) if tcg else ""
        yield Check("runner", "kvm", ok=not tcg, detail=fast.why, fix=fix, optional=True)
        yield _emulator(machine, qemu, fast, known)
    yield _registers()
    for os, family in FAMILIES.items():
        mine = [r for r in known if r.os == os and not eras.unfit(r)]
        whys = [family.unfit(release) for release in mine]
        yield _disk(os, whys)


def _registers() -> Check:
    """Whether the runner uml can be trusted with all that a program may compute with."""
    detail, _, fix = (doubt() or "uml keeps those of this processor").partition(": ")
    return Check("runner", "registers", not fix, detail, fix, optional=True)


def _disk(os: str, whys: Sequence[str]) -> Check:
    """`whys` are why it cannot be made of each release, with what helps behind a colon."""
    if fit := whys.count(""):
        detail, fix = f"can be made for {fit} releases of {os}", ""
    else:
        detail, _, fix = whys[-1].partition(": ")
    return Check("runner", f"{os} disk", fit > 0, detail, fix, optional=True)


def _acceleration(qemu: accel.Qemu, home: Home) -> accel.Acceleration:
    """What `home` remembers, if it is there: doctor makes none."""
    with tempfile.TemporaryDirectory(prefix="behunt-doctor.") as scratch:
        place = home.machines if access(home.machines, W_OK) else Path(scratch)
        return accel.acceleration(qemu, place / "accelerator.json")


def _emulator(
    machine: Machine, qemu: accel.Qemu, fast: accel.Acceleration, known: Sequence[Release]
) -> Check:
    """Whether this QEMU can be trusted with every kernel of the catalogue."""
    number = ".".join(map(str, qemu.version))
    fit = [release for release in known if release.os in FAMILIES and not eras.unfit(release)]
    why = {r.label: w for r in fit if (w := accel.too_old(qemu, fast, eras.hardware_of(r)))}
    if not why:
        return Check("runner", "emulator", ok=True, detail=f"QEMU {number}", optional=True)
    label, reason = next(iter(why.items()))
    fix = _NEWER.get(machine.system, "install a newer QEMU")
    detail = f"{label} and {len(why) - 1} more: {reason}" if len(why) > 1 else f"{label}: {reason}"
    return Check("runner", "emulator", ok=False, detail=detail, fix=fix, optional=True)
