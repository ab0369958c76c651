"""The few Linux system calls that Python 3.11 has no name for.

Imported by the spawner (spawnd.py), which must start fast and stay small: nothing but the
standard library's cheapest parts here.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import socket
import struct

_libc = ctypes.CDLL(None, use_errno=True)

# include/uapi/linux/mount.h, sched.h, prctl.h
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
NAMESPACES = {
    "mount": 0x00020000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
_PR_SET_CHILD_SUBREAPER, _PR_CAPBSET_DROP, _PR_SET_SECCOMP = 36, 24, 22
_CAPABILITIES = 64  # a kernel has about 41; it answers EINVAL for those it does not know
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "i686": 217, "ppc64le": 203}
_PIVOT_ROOT_HERE = _PIVOT_ROOT.get(platform.machine(), 41)
_OPEN_TREE, _MOVE_MOUNT, _OPENAT2 = 428, 429, 437  # on every architecture
_AT_FDCWD = -100


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    texts = [os.fsencode(text) for text in (source, target, fstype, data)]
    result = _libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3])
    _checked(result, f"mount {fstype or source} on {target}")


def umount(target: str, flags: int = MNT_DETACH) -> None:
    _checked(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    _checked(_libc.syscall(_PIVOT_ROOT_HERE, os.fsencode(new), os.fsencode(old)), "pivot_root")


def open_tree(path: str, *, below: bool = False) -> int:
    """A mount of `path` that is nowhere yet; a descriptor for `move_mount`.

    With what is mounted `below` it, if asked for.
    """
    open_tree_clone, at_recursive = 1, 0x8000
    flags = open_tree_clone | os.O_CLOEXEC | (at_recursive if below else 0)
    fd = int(_libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags))
    _checked(min(fd, 0), f"mount {path}")
    return fd


def move_mount(tree: int, target: str) -> None:
    from_empty_path = 4
    where = os.fsencode(target)
    result = _libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, where, from_empty_path)
    _checked(result, f"mount on {target}")


def open_no_magic(path: str, flags: int, mode: int) -> int:
    """open(2) that goes through no link of /proc/PID: a caller's own descriptors stay its own."""
    resolve_no_magiclinks = 0x02
    how = struct.pack("QQQ", flags, mode if flags & os.O_CREAT else 0, resolve_no_magiclinks)
    here = os.fsencode(path)
    if b"\0" in here:
        raise ValueError("embedded null byte")
    fd = int(_libc.syscall(_OPENAT2, _AT_FDCWD, here, how, len(how)))
    _checked(min(fd, 0), "open")
    return fd


def become_subreaper() -> None:
    """Orphans below this process become its children, so that none escapes a kill."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def keep_capabilities(keep: frozenset[int]) -> None:
    """Drop all others for good: this process, and root in whatever it executes, has just these."""
    for capability in set(range(_CAPABILITIES)) - keep:
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            _checked(0 if ctypes.get_errno() == errno.EINVAL else -1, "drop capabilities")
    # struct __user_cap_header_struct, __user_cap_data_struct: the inheritable set is emptied too,
    # it would pass by the bounding set.
    mask = sum(1 << capability for capability in keep)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("II", 0x20080522, 0)
    _checked(_libc.capset(header, struct.pack("6I", low, low, 0, high, high, 0)), "capset")


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def filter_calls(program: bytes) -> None:
    """Pass this process's system calls, and its children's, through a classic BPF program."""
    code = ctypes.create_string_buffer(program)
    whole = _FilterProgram(len(program) // 8, ctypes.addressof(code))
    mode_filter = 2
    _checked(_libc.prctl(_PR_SET_SECCOMP, mode_filter, ctypes.byref(whole), 0, 0), "seccomp")


def loopback_up() -> None:
    """`ip link set lo up` in the current network namespace."""
    siocsifflags, iff_up, iff_running = 0x8914, 0x1, 0x40
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh14x", b"lo", iff_up | iff_running)
        fcntl.ioctl(probe, siocsifflags, request)
