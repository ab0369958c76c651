"""Registers that User-mode Linux does not keep.

Kernels before 6.13 have room for those of processors up to AVX-512. On one with AMX, whose state is
larger, they do not boot, unless they save registers in the older way, which every processor has at
one size: it saves nothing of what AVX has added, and what is computed with that may come out wrong.
"""

from __future__ import annotations

import errno
import struct
from functools import cache
from pathlib import Path

REFUSED = "ptrace set fp regs failed"  # what such a kernel says
# The names behind the line break are those that glibc had before 2.33.
WITHOUT_AVX = (
    "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Fast_Unaligned_Load"
    ",-AVX_Usable,-AVX2_Usable,-AVX512F_Usable"
)
DOUBT = (
    "a program that uses AVX by itself may compute wrongly under uml, whose kernels before 6.13 do "
    "not keep the registers of this processor (AMX): take --runner qemu"
)
_FLAG = "amx_tile"


@cache
def doubt(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What to think of kernels before 6.13 on this processor; empty if it has no AMX."""
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
            return DOUBT if any(_FLAG in line.split() for line in lines) else ""
    except OSError:  # not Linux
        return ""


def without_xstate() -> bytes:
    """A seccomp program that answers ptrace(PTRACE_GETREGSET, …, NT_X86_XSTATE) with EINVAL.

    User-mode Linux then uses PTRACE_GETFPREGS, which every processor has at one size. Layout of
    struct seccomp_data and the codes: include/uapi/linux/{seccomp,filter,audit,ptrace,elf}.h.
    """
    load, equal, answer = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EINVAL
    audit_arch_x86_64, sys_ptrace, ptrace_getregset, nt_x86_xstate = 0xC000003E, 101, 0x4204, 0x202
    program = (
        (load, 0, 0, 4),  # the architecture
        (equal, 0, 7, audit_arch_x86_64),
        (load, 0, 0, 0),  # the call
        (equal, 0, 5, sys_ptrace),
        (load, 0, 0, 16),  # its first argument
        (equal, 0, 3, ptrace_getregset),
        (load, 0, 0, 32),  # its third
        (equal, 0, 1, nt_x86_xstate),
        (answer, 0, 0, refuse),
        (answer, 0, 0, allow),
    )
    return b"".join(struct.pack("HBBI", *row) for row in program)
