"""What a machine costs: from command to verdict, and beside the bare boot of the same guest.

The peer boots the same kernel, initial RAM disk and root on the same hardware, has the guest do
the same job. All work in turns; the fastest counts, as what disturbs a processor that is emulated
only slows it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import Lab, Settings, opened
from behunt.drive.trial import answer
from behunt.model import Outcome, Release, Test
from behunt.runners.vm import accel, exchange_disk, made
from behunt.runners.vm.families import FAMILIES
from behunt.runners.vm.job import JOB, MARK, READY, job
from behunt.runners.vm.machine import Disk, Machine
from behunt.runners.vm.qemu_args import qemu_args

OVERHEAD, RESUMED = 1.15, 0.2  # at most, times the bare boot; times the first run
_ROOM = 1 << 30  # bytes of the exchange disk; sparse
TEST = Test("true", ("true",))


@dataclass(frozen=True)
class Bare:
    """The guest that behunt has made in `place`, started by hand."""

    place: Path
    accelerator: accel.Acceleration

    def __call__(self) -> None:
        # A socket's name must be short.
        with tempfile.TemporaryDirectory() as scratch, chdir(scratch):
            self._boot(Path("exchange.img"))

    def _boot(self, exchange: Path) -> None:
        known = made.read(self.place)
        system = FAMILIES[known.os].system(known.version)
        script = job(system, TEST.argv, {"PATH": "/usr/bin:/bin"}, "/", run="1", hostname="bare")
        exchange_disk.write(exchange, [exchange_disk.File(JOB, script.encode(), 0o755)], _ROOM)
        with subprocess.Popen(self._argv(exchange), stdout=subprocess.DEVNULL) as process:
            self._let_go(process)
        if process.returncode != 0:
            sys.exit(f"the bare machine ended with {process.returncode}")

    def _argv(self, exchange: Path) -> list[str]:
        known = made.read(self.place)
        root = Disk(PurePosixPath(self.place / made.ROOT), known.hardware.disk, scratch=True)
        machine = Machine(
            "bare",
            known.hardware,
            FAMILIES[known.os].boot(self.place),
            (root, Disk(PurePosixPath(exchange), known.hardware.disk)),
        )
        emulator = accel.emulator(accel.installed(), self.accelerator)
        argv = qemu_args(
            machine, emulator, serial=PurePosixPath("serial"), qmp=PurePosixPath("qmp")
        )
        return [*(word for word in argv if word != "-S"), "-serial", "stdio"]

    def _let_go(self, process: subprocess.Popen[bytes]) -> None:
        with socket.socket(socket.AF_UNIX) as serial:
            while process.poll() is None and not Path("serial").exists():
                time.sleep(0.005)
            serial.connect("serial")
            said = b""
            while f"{MARK} {READY}".encode() not in said:
                said += serial.recv(4096)
            serial.sendall(f"{time.time():.0f} 1\n".encode())
            while serial.recv(4096):
                pass


@dataclass
class Times:
    """Seconds, a list for each kind."""

    command: list[float] = field(default_factory=list)
    command_resumed: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def passed(lab: Lab, release: Release) -> None:
    trial = answer(lab, release, TEST).trial
    if trial.outcome is not Outcome.PASSED:
        sys.exit(f"the machine {trial.outcome}: {trial.reason}")


def forget(lab: Lab) -> None:
    """Have the next run boot."""
    for state in lab.home.machines.glob("*/state-*"):
        shutil.rmtree(state)


def measure(lab: Lab, release: Release, rounds: int) -> Times:
    words = ["run", "--runner", "qemu", "--fresh", release.id, "--", *TEST.argv]
    argv = [sys.executable, "-m", "behunt", "--home", str(lab.home.path), *words]
    command = lambda: subprocess.run(argv, check=True)  # noqa: E731
    passed(lab, release)  # makes what it boots from
    identity = ensure(lab, release).identity
    places = lab.home.machines.glob(f"{identity[:24]}-????????/made.json")
    place = max(places, key=lambda path: path.stat().st_mtime).parent
    fast = accel.acceleration(accel.installed(), lab.home.machines / "accelerator.json")
    times = Times()
    for _ in range(rounds):
        forget(lab)
        times.command.append(timed(command))
        times.command_resumed.append(timed(command))
        times.bare.append(timed(Bare(place, fast)))
        forget(lab)
        times.cold.append(timed(lambda: passed(lab, release)))
    return times


def row(times: Times) -> dict[str, float]:
    """The fastest of each."""
    cold, bare = min(times.cold), min(times.bare)
    first, later = min(times.command), min(times.command_resumed)
    return {
        "first_s": round(first, 1),
        "resumed_s": round(later, 1),
        "resumed_ratio": round(later / first, 2),
        "runner_s": round(cold, 1),
        "bare_s": round(bare, 1),
        "overhead": round(cold / bare, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="use this home instead of one thrown away")
    parser.add_argument("--release", default="debian-12")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("vm.py needs root: it installs a release")
    release = catalogue.find(catalogue.load("debian"), options.release)
    with tempfile.TemporaryDirectory() as scratch:
        home = options.home or Path(scratch) / "home"
        settings = Settings(fresh=True, retries=0)
        with opened(home, "qemu", settings=settings) as lab:
            found = row(measure(lab, release, options.rounds))
    if options.json:
        print(json.dumps(found))
        return
    print("`behunt run --runner qemu debian-12 -- true`, what it boots from made before")
    print(f"  first, which boots      {found['first_s']:6.1f} s")
    print(f"  later, which resumes    {found['resumed_s']:6.1f} s")
    print(f"  ratio                   {found['resumed_ratio']:6.2f}     (at most {RESUMED})")
    print("the runner's part, nothing kept of an earlier boot")
    print(f"  behunt                  {found['runner_s']:6.1f} s   (and keeps the state)")
    print(f"  bare boot, same job     {found['bare_s']:6.1f} s")
    print(f"  ratio                   {found['overhead']:6.2f}     (at most {OVERHEAD})")


if __name__ == "__main__":
    main()
