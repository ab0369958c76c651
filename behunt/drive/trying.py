"""Try on this machine what installing and running do. What is tried leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from behunt.errors import BehuntError
from behunt.hosts import cgroups
from behunt.hosts.confined import Confined
from behunt.hosts.local import LocalHost
from behunt.hosts.sandbox import Sandbox
from behunt.model import BootEnv, Limits
from behunt.runners.namespace import NAMESPACE
from behunt.runners.protocol import Runner, Setup
from behunt.storage.protocol import Clone

_CAP_SYS_ADMIN = 21  # include/uapi/linux/capability.h


def overlay(base: Path, *, on_disk: bool = False) -> None:
    """Mount a clone and write to it, in a mount namespace that is gone afterwards."""
    with scratch(base) as top:
        upper, work = (top / "upper", top / "work") if on_disk else ("", "")
        sandbox = Sandbox(
            namespaces=("mount", "pid"),
            lower=(str(top / "lower"),),
            upper=str(upper),
            work=str(work),
            stage=str(top / "stage"),
        )
        with Confined(sandbox, "clone") as inside:
            os.close(inside.session.open_file("/probe", os.O_WRONLY | os.O_CREAT, 0o600))


@contextlib.contextmanager
def scratch(base: Path | None = None) -> Iterator[Path]:
    """Directories for one clone, below `base`, gone afterwards."""
    with tempfile.TemporaryDirectory(dir=base, prefix=".behunt-doctor.") as name:
        for part in ("lower", "upper", "work", "stage", "exchange"):
            (Path(name) / part).mkdir()
        yield Path(name)


def enter(runner: Runner) -> None:
    """Run true(1) in a clone of this machine's own root: all that a trial does, and as it does."""
    if lacks := runner.missing():
        raise BehuntError(lacks)
    if "own_kernel" in runner.capabilities:  # a release brings it; the way in is the same
        runner = NAMESPACE
    with scratch() as top:
        own_root = BootEnv("doctor", "doctor", Path("/"), sealed=True)
        clone = Clone("doctor", own_root, lower=("/",), stage=str(top / "stage"))
        setup = Setup(top / "exchange", hostname="doctor", owner=_owner())
        with runner.enter(clone if runner.needs_root_tree else None, setup) as inside:
            inside.host.run(["true"], check=True)


def limits() -> None:
    with cgroups.limited(Limits(memory=64 << 20, processes=64, cpus=1.0), _owner()) as group:
        sandbox = Sandbox(groups=group.procs)
        LocalHost(sandbox, "limited").run(["true"], check=True)


def mount_privately() -> None:
    """As installers do: what they mount must vanish with them."""
    LocalHost(Sandbox(namespaces=("mount", "pid", "uts", "ipc"))).run(["true"], check=True)


def privilege() -> str:
    """What gives the rights that mounting needs, if they are what is missing."""
    if os.geteuid() != 0:
        return "sudo behunt doctor"
    if not _may_mount():
        return "leave the container, or start it with --privileged"
    return ""


def _may_mount() -> bool:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return match is None or bool(int(match[1], 16) >> _CAP_SYS_ADMIN & 1)


def why(error: Exception) -> str:
    """The sentence that tells most of it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = error.message if isinstance(error, BehuntError) else str(error)
    return text or type(error).__name__


def _owner() -> str:
    return f"{os.getpid()}x{secrets.token_hex(3)}"
