"""Enter a sandbox: called by a keeper in a process of its own, which is changed for good.

All paths of the new root are resolved when nothing else is left: after pivot_root, and after the
old root is gone, which lies on top of the new one for a moment, where `/..` leads. So no link
inside an installed release can lead a mount or a directory of ours to the host.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import Any

from behunt.hosts.syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    NAMESPACES,
    loopback_up,
    mount,
    move_mount,
    open_tree,
    pivot_root,
    umount,
    unshare,
)

# Documentation/admin-guide/devices.txt
DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
# Through these root reaches the host's kernel although it is in namespaces of its own.
_READ_ONLY = (
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/acpi",
    "/proc/scsi",
)
_HIDDEN = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug")


def enter(sandbox: dict[str, Any]) -> list[int]:
    """Make this process live in `sandbox` (Sandbox as a dict). Raises OSError naming the step.

    Of one that is `exported` the mounts of its root come back, without /proc, /dev and binds: a
    descriptor for `move_mount`.
    """
    tree: list[int] = []
    own = set(sandbox["namespaces"])
    flags = sum(NAMESPACES[name] for name in own - {"pid"})
    if flags:
        unshare(flags)
    if "mount" in own:
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
        tree = _change_root(sandbox)
    elif sandbox["root"]:
        os.chroot(sandbox["root"])
        os.chdir("/")
    if "uts" in own and sandbox["hostname"]:
        socket.sethostname(sandbox["hostname"])
    if "net" in own:
        loopback_up()
    return tree


def _change_root(sandbox: dict[str, Any]) -> list[int]:
    root = _root(sandbox)
    if not root:
        if "pid" in sandbox["namespaces"]:
            mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        return []
    tree = [open_tree(root, below=True)] if sandbox["exported"] else []
    binds = [(open_tree(bind["source"]), bind) for bind in sandbox["binds"]]
    os.chdir(root)
    pivot_root(".", ".")  # the old root is now stacked on the new one: see pivot_root(2)
    umount(".")
    os.chdir("/")
    _virtual_filesystems(sandbox)
    _devices()
    for fd, bind in binds:
        os.makedirs(bind["target"], exist_ok=True)  # noqa: PTH103
        _bind(fd, bind["target"], MS_RDONLY if bind["read_only"] else 0)
        os.close(fd)
    if sandbox["tame"]:
        _mask_proc()
    return tree


def _root(sandbox: dict[str, Any]) -> str:
    """Mount the new root and return its path; empty if the host's root stays."""
    stage = sandbox["stage"]
    if sandbox["lower"]:
        size = f",size={sandbox['size']}" if sandbox["size"] else ""
        mount("tmpfs", stage, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=755{size}")
        merged = f"{stage}/m"
        for path in (merged, f"{stage}/u", f"{stage}/w"):
            os.mkdir(path, 0o755)  # noqa: PTH102 - pathlib is not loaded here
        mount("overlay", merged, "overlay", MS_NODEV, sandbox["overlay"])
        return str(merged)
    if sandbox["root"]:
        mount(sandbox["root"], sandbox["root"], flags=MS_BIND | MS_REC)
        mount("none", sandbox["root"], flags=MS_BIND | MS_REMOUNT | MS_NODEV)
    return str(sandbox["root"])


def _virtual_filesystems(sandbox: dict[str, Any]) -> None:
    plain = MS_NOSUID | MS_NODEV | MS_NOEXEC
    sys = not os.path.islink("/sys")  # noqa: PTH114 - FreeBSD's leads to its sources
    for path in ("/proc", "/dev", *(["/sys"] if sys else ())):
        os.makedirs(path, exist_ok=True)  # noqa: PTH103
    mount("proc", "/proc", "proc", plain)
    if sys and "net" in sandbox["namespaces"]:  # sysfs shows devices of a network namespace
        mount("sysfs", "/sys", "sysfs", plain | MS_RDONLY)


def _devices() -> None:
    """A /dev of nodes of our own: a chmod of them in there is not one of the host's.

    Each is bound on itself before /dev becomes nodev, so that nodes a test makes are dead.
    """
    mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=755,size=64m")
    for name, (major, minor) in DEVICES.items():
        path = f"/dev/{name}"
        os.mknod(path, stat.S_IFCHR, os.makedev(major, minor))
        os.chmod(path, 0o666)  # noqa: PTH101, S103 - as every system has it
        mount(path, path, flags=MS_BIND)
    mount("none", "/dev", flags=MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV)
    for name, target in DEVICE_LINKS.items():
        os.symlink(target, f"/dev/{name}")  # noqa: PTH211
    for name in ("pts", "shm"):
        os.mkdir(f"/dev/{name}", 0o755)  # noqa: PTH102
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,gid=5")
    os.chmod("/dev/shm", 0o1777)  # noqa: PTH101, S108, S103 - as every system has it


def _bind(fd: int, target: str, extra: int = 0) -> None:
    move_mount(fd, target)
    mount("none", target, flags=MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV | extra)


def _mask_proc() -> None:
    for path in _READ_ONLY:
        if os.path.exists(path):  # noqa: PTH110
            mount(path, path, flags=MS_BIND | MS_REC)
            mount("none", path, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    for path in _HIDDEN:
        if os.path.exists(path):  # noqa: PTH110
            mount("/dev/null", path, flags=MS_BIND)
