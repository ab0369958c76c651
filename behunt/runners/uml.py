"""The runner that boots the release's own kernel as a process: User-mode Linux.

The kernel comes from the release's `user-mode-linux` package, which lies as one more layer over
the clone (`linux.uml` needs that release's C library). Its root file system is the clone,
through hostfs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from behunt.errors import InstallError
from behunt.families import runs_here
from behunt.model import BootEnv, Limits, Release
from behunt.runners.namespace import confined, full, sandbox_of
from behunt.runners.packages import layer
from behunt.runners.protocol import Inside, Setup
from behunt.runners.uml_machine import Machine
from behunt.storage.protocol import Clone

_MEMORY = 512 << 20
_PACKAGE = "user-mode-linux"


@dataclass(frozen=True)
class Uml:
    """`kernels` is where fetched kernels are kept, a directory per boot environment."""

    kernels: Path
    name: str = "uml"
    capabilities: frozenset[str] = frozenset({"root", "isolation", "own_kernel", "limits"})
    needs_root_tree: bool = True

    def missing(self) -> str:
        return "" if os.geteuid() == 0 else "the runner uml needs root: use sudo"

    def unfit(self, release: Release) -> str:
        if release.os != "debian":
            return "User-mode Linux runs Linux only"
        return runs_here(release)

    def prepared(self, bootenv: BootEnv | None) -> str | None:
        if bootenv is None:
            return None
        try:
            return (self._kernel(bootenv) / "version").read_text(encoding="ascii")
        except FileNotFoundError:
            return None

    def prepare(self, release: Release, clone: Clone) -> str:
        final = self._kernel(clone.bootenv)
        if not final.is_dir():
            with tempfile.TemporaryDirectory(
                dir=self.kernels, prefix=f".fetch.{clone.name}."
            ) as scratch:
                fetched = _fetch(release, clone, Path(scratch))
                with contextlib.suppress(OSError):  # another behunt was faster
                    fetched.rename(final)
        return (final / "version").read_text(encoding="ascii")

    @contextlib.contextmanager
    def enter(self, clone: Clone | None, setup: Setup) -> Iterator[Inside]:
        if clone is None:
            raise ValueError("the runner uml needs a clone")
        kernel = str(self._kernel(clone.bootenv) / "root")
        # The memory limit is the machine's size; the process around it needs its own on top.
        memory = setup.limits.memory or _MEMORY
        around = replace(setup, limits=Limits(cpus=setup.limits.cpus, disk=setup.limits.disk))
        with confined(sandbox_of(clone, setup, layers=(kernel,)), around, self.name) as (keeper, _):
            machine = Machine(keeper, memory, setup.hostname, setup.limits.processes)
            yield Inside(
                machine,
                keeper,
                kernel=lambda: machine.kernel,
                exhausted=lambda: full(keeper) or _starved(machine, setup),
                exceeded=lambda: _exceeded(machine, setup),
                note=machine.doubt,
            )

    def _kernel(self, bootenv: BootEnv) -> Path:
        return self.kernels / bootenv.identity[:24]


def _starved(machine: Machine, setup: Setup) -> str:
    """That memory ran out although no limit was set for the test: not its fault."""
    size = f"the machine's {machine.memory >> 20} MiB of memory"
    if machine.starved:
        return f"the host did not have {size}: raise vm.max_map_count, or set a smaller limit"
    if machine.short and setup.limits.memory is None:
        return f"{size} ran out: set a larger limit"
    return ""


def _exceeded(machine: Machine, setup: Setup) -> str:
    if machine.short and setup.limits.memory is not None:
        return f"out of memory: the limit is {setup.limits.memory} bytes"
    return ""


def _fetch(release: Release, clone: Clone, scratch: Path) -> Path:
    fetched = layer(release, clone, scratch, _PACKAGE)
    (_, version) = (fetched / "packages").read_text(encoding="ascii").split()
    (fetched / "version").write_text(f"{version}\n", encoding="ascii")
    if not (fetched / "root/usr/bin/linux.uml").is_file():
        raise InstallError(
            f"the package {_PACKAGE} of {release.id} has no /usr/bin/linux.uml",
            "use the runner namespace, or qemu for its own kernel",
        )
    shutil.rmtree(fetched / "root/usr/share", ignore_errors=True)
    return fetched
