"""Become a command: the last steps of a child of a keeper."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import termios
from collections.abc import Sequence
from typing import NoReturn

from behunt.hosts import processes, syscalls
from behunt.hosts.wire import Message

# What a root that is not the host's keeps: the set of container engines. Without SYS_ADMIN,
# SYS_RAWIO, SYS_MODULE, SYS_BOOT, SYS_TIME and SYS_PTRACE it cannot reach past its sandbox.
TAME = frozenset(
    {
        0,  # CHOWN
        1,  # DAC_OVERRIDE
        3,  # FOWNER
        4,  # FSETID
        5,  # KILL
        6,  # SETGID
        7,  # SETUID
        8,  # SETPCAP
        10,  # NET_BIND_SERVICE
        13,  # NET_RAW
        18,  # SYS_CHROOT
        27,  # MKNOD: a node can be made (archives hold them) but not opened: all mounts are nodev
        29,  # AUDIT_WRITE
        31,  # SETFCAP
    }
)


def execute(
    request: Message, fds: Sequence[int], fail: int, *, groups: Sequence[int], tame: bool
) -> NoReturn:
    """Become the command, or say through `fail` at which step it did not work, and why."""
    step = "start"
    try:
        processes.default_signals()
        os.setsid()
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        step = "limits"
        for group in groups:
            os.write(group, b"0")
        step = "tty"
        if request.get("tty"):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        step = "cwd"
        os.chdir(request["cwd"])
        step = "confine"
        if request.get("seccomp"):
            syscalls.filter_calls(bytes.fromhex(request["seccomp"]))
        if tame:
            syscalls.keep_capabilities(TAME)
        step = "exec"
        program = _found(request["argv"][0], request["env"])
        step = "interpreter" if os.path.exists(program) else "exec"  # noqa: PTH110
        os.execve(program, request["argv"], request["env"])  # noqa: S606 - an argv list, no shell
    except (OSError, ValueError, IndexError) as error:  # a NUL byte in a name, no name at all
        number = getattr(error, "errno", None) or errno.EINVAL
        if step == "interpreter" and number != errno.ENOENT:
            step = "exec"
        os.write(fail, json.dumps({"step": step, "errno": number}).encode())
    os._exit(127)


def _found(program: str, env: dict[str, str]) -> str:
    """`program` as execvp(3) would find it; ENOENT where it is in no directory of PATH."""
    if "/" in program:
        return program
    for directory in env.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").split(":"):
        candidate = f"{directory}/{program}"
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):  # noqa: PTH112
            return candidate
    raise FileNotFoundError(errno.ENOENT, program)
