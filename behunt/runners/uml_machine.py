"""User-mode Linux as a Host: each command boots the machine, runs in it, and powers it off."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from behunt.errors import HostError
from behunt.hosts.confined import Confined
from behunt.hosts.protocol import CLEAN_ENV, Completed, Sink, Stdin, checked
from behunt.hosts.transcript import screen_of
from behunt.runners.job import attempt, told
from behunt.runners.protocol import AT
from behunt.runners.uml_registers import DOUBT, REFUSED, WITHOUT_AVX, without_xstate

_BOOT = 30.0  # seconds in which the test must have been started; one is usual
_TOLD = 1 << 16  # bytes read of what a machine said
_PANIC = re.compile(r"^.*Kernel panic - not syncing.*$", re.MULTILINE)
_OUT_OF_MEMORY = re.compile(r"Out of memory: Kill|deadlocked on memory")
_STARVED = "UML ran out of memory on the host side"  # or of mappings: vm.max_map_count

# The roots whose kernel has said that it cannot save the registers of this processor: it is booted
# again, and from then on, with the older way.
_needs_small_xstate: set[tuple[str, ...]] = set()


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
        if REFUSED in console and "started" not in told:
            _needs_small_xstate.add(self.keeper.session.sandbox.lower)
            machine, told, console = self._boot(argv, whole, cwd, timeout, sink)
        done = completed(argv, machine, told, console)
        self.kernel = told.get("kernel", self.kernel)
        self.short = _OUT_OF_MEMORY.search(console) is not None
        self.starved = _STARVED in console
        if sink is not None and (done.panic or not done.started):
            sink(console.encode())
        return checked(done) if check else done

    def doubt(self) -> str:
        """What to think of the answers of its kernel on this processor; empty for nothing."""
        return DOUBT if self._small() else ""

    def _boot(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        timeout: float,
        sink: Sink | None,
    ) -> tuple[Completed, dict[str, str], str]:
        """(how the kernel's process ended, what the job told, what the kernel said last)."""
        small = self._small()
        # The kernel hands on what it does not know.
        more = {"GLIBC_TUNABLES": WITHOUT_AVX} if small else {}
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

    def _small(self) -> bool:
        return self.keeper.session.sandbox.lower in _needs_small_xstate

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


def completed(
    argv: Sequence[str], machine: Completed, said: Mapping[str, str], console: str
) -> Completed:
    """What the run of the machine says about the run of the command in it."""
    done = replace(machine, argv=tuple(argv), err="")
    screen = screen_of(console)
    last = screen.rpartition("\n")[2].strip() or "it said nothing"
    if "failed" in said:
        return replace(done, code=127, started=False, failure=said["failed"])
    if "started" not in said:
        failure = f"did not boot: {last}"
        return replace(done, code=127, started=False, timed_out=False, failure=failure)
    if "late" in said:
        return replace(done, code=-9, timed_out=True)
    if "exit" in said:
        return replace(done, code=int(said["exit"]), timed_out=False)
    panic = _PANIC.search(console)
    if machine.timed_out and not panic:
        return done
    why = panic[0].strip() if panic else f"the machine went down under the test: {last}"
    return replace(done, code=1, timed_out=False, panic=f"{why}\n{screen}".rstrip())
