"""What a command is run inside of, as a value.

The same value is entered by the spawner in a few milliseconds (confined.py) and printed as a
line that can be pasted into a root shell (`by_hand`).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from behunt.hosts.entering import DEVICE_LINKS, DEVICES

# An overlay has file handles with these only; xino where upper and lower differ, such as tmpfs.
_EXPORTABLE = "index=on,nfs_export=on,xino=on"
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
    `exported`: a server of files can serve the root (see serving.py).

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
    exported: bool = False

    def to_message(self) -> dict[str, Any]:
        """As the spawner takes it."""
        return {**asdict(self), "overlay": overlay_options(self) if self.lower else ""}


def overlay_options(sandbox: Sandbox) -> str:
    """Mount options of the overlay root; `:` and `,` in paths are escaped as the kernel asks."""
    layers = ":".join(_escaped(layer) for layer in sandbox.lower)
    upper = sandbox.upper or f"{sandbox.stage}/u"
    work = sandbox.work or f"{sandbox.stage}/w"
    own = f"lowerdir={layers},upperdir={_escaped(upper)},workdir={_escaped(work)}"
    return f"{own},{_EXPORTABLE}" if sandbox.exported else own


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def by_hand(sandbox: Sandbox, argv: Sequence[str], cwd: str = "/") -> str:
    """The same run as one line for a root shell, with util-linux and coreutils only.

    It leaves nothing behind, as the sandbox does. Capabilities and cgroups are not repeated, and
    the environment is the shell's.
    """
    if cwd != "/":
        argv = ["sh", "-c", f"cd {shlex.quote(cwd)} && exec {shlex.join(argv)}"]
    if sandbox == Sandbox(groups=sandbox.groups, tame=sandbox.tame):
        return shlex.join(argv)
    steps = [*_mounts(sandbox), *_hostname(sandbox), f"exec {shlex.join(_entered(sandbox, argv))}"]
    script = shlex.quote("; ".join(steps))
    if not sandbox.namespaces:
        return f"sh -ec {script}"
    flags = " ".join(f"--{name}" for name in sandbox.namespaces)
    return f"unshare {flags} --fork --kill-child sh -ec {script}"


def _entered(sandbox: Sandbox, argv: Sequence[str]) -> list[str]:
    root = f"{sandbox.stage}/m" if sandbox.lower else sandbox.root
    return ["chroot", root, *argv] if root else list(argv)


def _mounts(sandbox: Sandbox) -> list[str]:
    """What entering.py does, as commands."""
    if "mount" not in sandbox.namespaces:
        return []
    if sandbox.lower:
        root = shlex.quote(f"{sandbox.stage}/m")
        return [*_overlay(sandbox), *_virtual(sandbox, root), *_bound(sandbox, root)]
    if sandbox.root:
        root = shlex.quote(sandbox.root)
        return [f"mount --rbind {root} {root}", *_virtual(sandbox, root), *_bound(sandbox, root)]
    return ["mount -t proc proc /proc"] if "pid" in sandbox.namespaces else []


def _overlay(sandbox: Sandbox) -> list[str]:
    stage = shlex.quote(sandbox.stage)
    size = f",size={sandbox.size}" if sandbox.size else ""
    return [
        f"mount -t tmpfs -o mode=755{size} tmpfs {stage}",
        f"mkdir {stage}/u {stage}/w {stage}/m",
        f"mount -t overlay -o {shlex.quote(overlay_options(sandbox))} overlay {stage}/m",
    ]


def _virtual(sandbox: Sandbox, root: str) -> list[str]:
    devices = " ".join(f"dev/{name}" for name in DEVICES)
    steps = [
        f"mkdir -p {root}/proc {root}/sys {root}/dev",
        f"mount -t proc proc {root}/proc",
        f"mount -t tmpfs -o mode=755 tmpfs {root}/dev",
        f"for d in {devices}; do touch {root}/$d; mount --bind /$d {root}/$d; done",
        f"mkdir {root}/dev/pts; mkdir -m 1777 {root}/dev/shm",  # noqa: S108 - as everywhere
        f"mount -t devpts -o newinstance,ptmxmode=0666,gid=5 devpts {root}/dev/pts",
        *(f"ln -s {target} {root}/dev/{name}" for name, target in DEVICE_LINKS.items()),
    ]
    if "net" in sandbox.namespaces:
        steps.append(f"mount -t sysfs -o ro sysfs {root}/sys")
    return steps


def _bound(sandbox: Sandbox, root: str) -> list[str]:
    steps = []
    for bind in sandbox.binds:
        source, target = shlex.quote(bind.source), root + shlex.quote(bind.target)
        steps += [f"mkdir -p {target}", f"mount --bind {source} {target}"]
        if bind.read_only:
            steps.append(f"mount -o remount,bind,ro {target}")
    return steps


def _hostname(sandbox: Sandbox) -> list[str]:
    if "uts" not in sandbox.namespaces or not sandbox.hostname:
        return []
    return [f"echo {shlex.quote(sandbox.hostname)} >/proc/sys/kernel/hostname"]
