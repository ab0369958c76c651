"""What a command is run inside of, as a value.

The same value is entered by the spawner in a few milliseconds (confined.py) and printed as a
line that can be pasted into a root shell (`by_hand`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass

ALL_NAMESPACES = ("mount", "pid", "uts", "ipc", "net")


@dataclass(frozen=True, slots=True)
class Bind:
    """A host path seen inside the sandbox, never with set-uid programs or device nodes."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where a command runs.

    `lower` are the read-only layers of an overlay root, top first; its changes go to `upper`
    and `work` (directories of one file system), or to a tmpfs of at most `size` bytes that
    vanishes with the sandbox. `root` is a plain directory to change to instead. With neither,
    the host's root is seen. `stage` is an empty directory of ours to build mounts on.

    `groups` are `cgroup.procs` files that the command (not its keeper) is entered into.
    `tame` takes away what lets root reach the host: mount, mknod, module, reboot, raw I/O.
    """

    namespaces: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    size: int = 0
    root: str = ""
    stage: str = ""
    binds: tuple[Bind, ...] = ()
    hostname: str = ""
    groups: tuple[str, ...] = ()
    tame: bool = False

    def to_json(self) -> str:
        """As the spawner takes it."""
        overlay = overlay_options(self) if self.lower else ""
        return json.dumps({**asdict(self), "overlay": overlay})


def overlay_options(sandbox: Sandbox) -> str:
    """Mount options of the overlay root; `:` and `,` in paths are escaped as the kernel asks."""
    layers = ":".join(_escaped(layer) for layer in sandbox.lower)
    upper = sandbox.upper or f"{sandbox.stage}/u"
    work = sandbox.work or f"{sandbox.stage}/w"
    return f"lowerdir={layers},upperdir={_escaped(upper)},workdir={_escaped(work)}"


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def by_hand(sandbox: Sandbox, argv: Sequence[str], cwd: str = "/") -> str:
    """The same run as one line for a root shell, with util-linux and coreutils only.

    It leaves nothing behind, as the sandbox does. Capabilities and cgroups are not repeated.
    """
    command = shlex.join(argv)
    if cwd != "/":
        command = f"cd {shlex.quote(cwd)} && exec {command}"
        argv = ["sh", "-c", command]
    if sandbox.lower:
        inner = _overlay_script(sandbox, argv)
    elif sandbox.root:
        inner = f"exec chroot {shlex.quote(sandbox.root)} {shlex.join(argv)}"
    else:
        inner = f"exec {shlex.join(argv)}"
    if not sandbox.namespaces:
        return f"sh -ec {shlex.quote(inner)}"
    flags = " ".join(f"--{name}" for name in sandbox.namespaces)
    return f"unshare {flags} --fork --kill-child sh -ec {shlex.quote(inner)}"


def _overlay_script(sandbox: Sandbox, argv: Sequence[str]) -> str:
    quoted = shlex.quote(sandbox.stage)
    merged = shlex.quote(f"{sandbox.stage}/m")
    size = f" -o size={sandbox.size}" if sandbox.size else ""
    options = shlex.quote(overlay_options(sandbox))
    steps = [
        f"mount -t tmpfs{size} tmpfs {quoted}",
        f"mkdir {quoted}/u {quoted}/w {quoted}/m",
        f"mount -t overlay -o {options} overlay {merged}",
    ]
    if "pid" in sandbox.namespaces:
        steps.append(f"mount -t proc proc {merged}/proc")
    for bind in sandbox.binds:
        source, target = shlex.quote(bind.source), merged + shlex.quote(bind.target)
        steps.append(f"mkdir -p {target}; mount --bind {source} {target}")
    steps.append(f"exec chroot {merged} {shlex.join(argv)}")
    return "; ".join(steps)
