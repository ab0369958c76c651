"""The few Linux system calls that Python 3.11 has no name for.

Imported by the spawner (spawnd.py), which must start fast and stay small: nothing but the
standard library's cheapest parts here.
"""

from __future__ import annotations

import ctypes
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
_LAST_CAP = 40  # CAP_CHECKPOINT_RESTORE; a kernel without the later ones answers EINVAL
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "i686": 217, "ppc64le": 203}
_PIVOT_ROOT_HERE = _PIVOT_ROOT.get(platform.machine(), 41)


def _checked(result: int, call: str) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{call}: {os.strerror(errno)}")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    result = _libc.mount(
        source.encode(), target.encode(), fstype.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _checked(result, f"mount {fstype or source} on {target}")


def umount(target: str, flags: int = MNT_DETACH) -> None:
    _checked(_libc.umount2(target.encode(), flags), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    _checked(_libc.syscall(_PIVOT_ROOT_HERE, new.encode(), old.encode()), "pivot_root")


def become_subreaper() -> None:
    """Orphans below this process become its children, so that none escapes a kill."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def keep_capabilities(keep: frozenset[int]) -> None:
    """Drop all others from the bounding set; root has just these after the next exec."""
    for capability in range(_LAST_CAP + 1):
        if capability not in keep:
            _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


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
