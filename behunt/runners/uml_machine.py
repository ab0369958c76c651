"""User-mode Linux as a Host: each command boots the machine, runs in it, and powers it off."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shlex
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from behunt.errors import HostError
from behunt.hosts.confined import Confined
from behunt.hosts.protocol import CLEAN_ENV, Completed, Sink, Stdin, checked
from behunt.runners.job import attempt, told
from behunt.runners.protocol import AT

_BOOT = 30.0  # seconds in which the test must have been started; one is usual
_TOLD = 1 << 16  # bytes read of what a machine said
_PANIC = re.compile(r"^.*Kernel panic - not syncing.*$", re.MULTILINE)
_OUT_OF_MEMORY = re.compile(r"Out of memory: Kill|deadlocked on memory")
_STARVED = "UML ran out of memory on the host side"  # or of mappings: vm.max_map_count

# What kernels before 6.13 say on a processor whose register state is larger than they know
# (AMX), and the roots whose kernel has said it: it is booted again, and from then on, with the
# older way of saving registers.
_XSTATE = "ptrace set fp regs failed"
_needs_small_xstate: set[tuple[str, ...]] = set()
# That way saves nothing of what AVX has added: what glibc does with it may come out wrong. The
# second line has names that it had before 2.33.
_WITHOUT_AVX = (
    "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Fast_Unaligned_Load"
    ",-AVX_Usable,-AVX2_Usable,-AVX512F_Usable"
)


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


@dataclass
class Machine:
    """A Host in the sandbox of `keeper`, with `memory` bytes and at most `processes` more.

    After a run `kernel` is what uname -r says in there, `short` whether its memory ran out, and
    `starved` whether the host did not give what it had been promised.
    """

    keeper: Confined
    memory: int
    hostname: str
    processes: int | None = None
    name: str = "uml"
    kernel: str = field(default="", init=False)
    short: bool = field(default=False, init=False)
    starved: bool = field(default=False, init=False)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: Stdin = b"",
        timeout: float = 60.0,
        check: bool = False,
        sink: Sink | None = None,
    ) -> Completed:
        if stdin:
            raise HostError("a User-mode Linux machine has no standard input to give")
        whole = {**CLEAN_ENV, **(env or {})}
        machine, told, console = self._boot(argv, whole, cwd, timeout, sink)
        if _XSTATE in console and "started" not in told:
            _needs_small_xstate.add(self.keeper.session.sandbox.lower)
            machine, told, console = self._boot(argv, whole, cwd, timeout, sink)
        done = completed(argv, machine, told, console)
        self.kernel = told.get("kernel", self.kernel)
        self.short = _OUT_OF_MEMORY.search(console) is not None
        self.starved = _STARVED in console
        if sink is not None and (done.panic or not done.started):
            sink(console.encode())
        return checked(done) if check else done

    def _boot(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        timeout: float,
        sink: Sink | None,
    ) -> tuple[Completed, dict[str, str], str]:
        """(how the kernel's process ended, what the job told, what the kernel said last)."""
        small = self.keeper.session.sandbox.lower in _needs_small_xstate
        # The kernel hands on what it does not know.
        more = {"GLIBC_TUNABLES": _WITHOUT_AVX} if small else {}
        job = AT / f".behunt-{secrets.token_hex(8)}"
        script = job_script(
            argv,
            {**more, **env},
            cwd,
            job,
            hostname=self.hostname,
            timeout=timeout,
            processes=self.processes,
        )
        self._put(job, script)
        machine = self.keeper.session.run(
            # Its words go to a file: what the test prints goes to behunt as it comes.
            ["sh", "-c", 'exec "$@" 2>"$0"', _console(job), *arguments(job, self.memory, more)],
            # In the clone: where the machine keeps its memory.
            env={**CLEAN_ENV, "TMPDIR": "/tmp"},  # noqa: S108
            cwd="/",
            timeout=timeout + _BOOT,
            sink=sink,
            seccomp=without_xstate() if small else b"",
        )
        console = self._read(_console(job), last=True)
        return machine, told(self._read(_told(job))), console

    def put(self, source: Path, target: PurePosixPath) -> None:
        self.keeper.put(source, target)

    def get(self, source: PurePosixPath, target: Path) -> None:
        self.keeper.get(source, target)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return self.keeper.wrap([*arguments(PurePosixPath("/bin/sh"), self.memory), *argv])

    def _put(self, target: PurePosixPath, text: str) -> None:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as script:
            script.write(text)
            script.flush()
            Path(script.name).chmod(0o755)
            self.keeper.put(Path(script.name), target)

    def _read(self, path: str, *, last: bool = False) -> str:
        """The first or last of a file; nothing if it is not there, or is no file."""
        try:
            with os.fdopen(self.keeper.session.open_file(path, os.O_RDONLY), "rb") as file:
                if last:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - _TOLD))
                return file.read(_TOLD).decode(errors="replace")
        except OSError:
            return ""


def _told(job: PurePosixPath) -> str:
    return f"{job}.told"


def _console(job: PurePosixPath) -> str:
    return f"{job}.console"


def arguments(
    init: PurePosixPath, memory: int, env: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """The command line of the kernel: its own words on stderr, the test's on stdout.

    `env` is more of the environment of `init`.
    """
    return [
        "linux.uml",
        f"mem={memory >> 20}M",
        "root=/dev/root",
        "rootfstype=hostfs",
        "rootflags=/",
        "rw",
        f"init={init}",
        "con=null",
        "con0=null,fd:2",
        "con1=null,fd:1",
        "quiet",
        "panic=-1",
        *(f"{name}={value}" for name, value in env.items()),
    ]


def job_script(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    job: PurePosixPath,
    *,
    hostname: str,
    timeout: float,
    processes: int | None = None,
) -> str:
    """Process 1 of the machine: run `argv`, tell how it went in a file, power off."""
    limit = (
        f"set -- /proc/[0-9]*; echo $(($# + {processes})) >/proc/sys/kernel/threads-max"
        if processes
        else ":"
    )
    watchdog = f"(sleep {timeout:.3f}; tell late; off) & watchdog=$!; stop() {{ kill $watchdog; }}"
    body = attempt(argv, env, cwd, output="/dev/tty1", session="setsid", while_it_runs=watchdog)
    return f"""#!/bin/sh
PATH={shlex.quote(env["PATH"])}
tell() {{ echo "$*" >>{_told(job)}; }}
off() {{ sync; echo o >/proc/sysrq-trigger; while :; do sleep 1; done; }}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
hostname {shlex.quote(hostname)}
tell kernel "$(uname -r)"
stty -opost </dev/tty1
{limit}
{body}off
"""


def completed(  # noqa: PLR0911 - a table, read top down
    argv: Sequence[str], machine: Completed, said: Mapping[str, str], console: str
) -> Completed:
    """What the run of the machine says about the run of the command in it."""
    done = replace(machine, argv=tuple(argv), err="")
    last = (console.strip().splitlines() or ["it said nothing"])[-1].strip()
    if "failed" in said:
        return replace(done, code=127, started=False, failure=said["failed"])
    if "started" not in said:
        failure = f"did not boot: {last}"
        return replace(done, code=127, started=False, timed_out=False, failure=failure)
    if "late" in said:
        return replace(done, code=-9, timed_out=True)
    if "exit" in said:
        return replace(done, code=int(said["exit"]), timed_out=False)
    if panic := _PANIC.search(console):
        return replace(done, code=1, timed_out=False, panic=panic[0].strip())
    if machine.timed_out:
        return done
    return replace(done, code=1, panic=f"the machine went down under the test: {last}")
