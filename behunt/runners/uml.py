"""The runner that boots the release's own kernel as a process: User-mode Linux.

The kernel comes from the release's `user-mode-linux` package, which lies as one more layer over
the clone (`linux.uml` needs that release's C library). Its root file system is the clone,
through hostfs; the test's output comes through a console of its own, and what the kernel says
through another.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shlex
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from behunt.errors import HostError, InstallError
from behunt.families import runs_here
from behunt.hosts.confined import Confined
from behunt.hosts.protocol import CLEAN_ENV, Completed, Sink, checked
from behunt.hosts.sandbox import Bind, Sandbox
from behunt.model import BootEnv, Limits, Release
from behunt.runners.namespace import confined, full, sandbox_of
from behunt.runners.protocol import AT, Inside, Setup
from behunt.storage.protocol import Clone

_BOOT = 30.0  # seconds in which the test must have been started; one is usual
_MEMORY = 512 << 20
_PACKAGE = "user-mode-linux"
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy")
_PANIC = re.compile(r"^.*Kernel panic - not syncing.*$", re.MULTILINE)


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
            with tempfile.TemporaryDirectory(dir=self.kernels, prefix=f".fetch.{clone.name}.") as scratch:
                layer = _fetch(release, clone, Path(scratch))
                with contextlib.suppress(OSError):  # another behunt was faster
                    layer.rename(final)
        return (final / "version").read_text(encoding="ascii")

    @contextlib.contextmanager
    def enter(self, clone: Clone | None, setup: Setup) -> Iterator[Inside]:
        if clone is None:
            raise ValueError("the runner uml needs a clone")
        layer = str(self._kernel(clone.bootenv) / "root")
        # The memory limit is the machine's size; the process around it needs its own on top.
        memory = setup.limits.memory or _MEMORY
        around = replace(setup, limits=Limits(cpus=setup.limits.cpus, disk=setup.limits.disk))
        with confined(sandbox_of(clone, setup, layers=(layer,)), around, self.name) as (keeper, _):
            machine = Machine(keeper, memory, setup.hostname)
            yield Inside(
                machine, keeper, kernel=lambda: machine.kernel, exhausted=lambda: full(keeper)
            )

    def _kernel(self, bootenv: BootEnv) -> Path:
        return self.kernels / bootenv.identity[:24]


def _fetch(release: Release, clone: Clone, scratch: Path) -> Path:
    """Fetch and unpack the package with the release's own apt, so its signature is checked."""
    layer = scratch / "layer"
    (layer / "root").mkdir(parents=True)
    sandbox = Sandbox(
        namespaces=("mount", "pid", "uts", "ipc"),
        lower=clone.lower,
        stage=clone.stage,
        binds=(Bind(str(layer), str(AT)),),
        tame=True,
    )
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # apt's own user cannot write to the exchange directory
    apt = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root"]
    commands = (
        [*apt, "update"],
        [*apt, "download", _PACKAGE],
        ["sh", "-c", f"dpkg-deb -f {_PACKAGE}_*.deb Version >version"],
        ["sh", "-c", f"dpkg-deb -x {_PACKAGE}_*.deb root && rm {_PACKAGE}_*.deb"],
    )
    try:
        with Confined(sandbox, "apt") as inside:
            for argv in commands:
                inside.run(argv, env=env, cwd=str(AT), timeout=600, check=True)
    except HostError as error:
        raise InstallError(
            f"cannot fetch the kernel of {release.id}: {error.message}",
            f"the runner uml needs the package {_PACKAGE} of that release",
        ) from error
    if not (layer / "root/usr/bin/linux.uml").is_file():
        raise InstallError(
            f"the package {_PACKAGE} of {release.id} has no /usr/bin/linux.uml",
            "use the runner namespace, or qemu for its own kernel",
        )
    shutil.rmtree(layer / "root/usr/share", ignore_errors=True)
    return layer


# What kernels before 6.13 say on a processor whose register state is larger than they know
# (AMX), and the roots whose kernel has said it: it is booted again, and from then on, with the
# older way of saving registers.
_XSTATE = "ptrace set fp regs failed"
_needs_small_xstate: set[tuple[str, ...]] = set()


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
    """A Host: each command boots the machine, runs, and powers it off."""

    keeper: Confined
    memory: int
    hostname: str
    name: str = "uml"
    kernel: str = field(default="")

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: bytes = b"",
        timeout: float = 60.0,
        check: bool = False,
        sink: Sink | None = None,
    ) -> Completed:
        if stdin:
            raise HostError("a User-mode Linux machine has no standard input to give")
        token = f"behunt-{secrets.token_hex(8)}"
        job = PurePosixPath(f"{AT}/.{token}")
        whole = {**CLEAN_ENV, **(env or {})}
        self._put(job, job_script(argv, whole, cwd, token, self.hostname))
        machine = self._boot(job, timeout)
        if _XSTATE in machine.err:
            _needs_small_xstate.add(self.keeper.session.sandbox.lower)
            machine = self._boot(job, timeout)
        done = completed(argv, machine, token)
        self.kernel = said(machine.err, token, "kernel") or self.kernel
        if sink is not None:
            sink((done.out + done.panic).encode())
        return checked(done) if check else done

    def _boot(self, job: PurePosixPath, timeout: float) -> Completed:
        small = self.keeper.session.sandbox.lower in _needs_small_xstate
        return self.keeper.session.run(
            arguments(job, self.memory),
            # In the clone: where the machine keeps its memory.
            env={**CLEAN_ENV, "TMPDIR": "/tmp"},  # noqa: S108
            cwd="/",
            timeout=timeout + _BOOT,
            seccomp=without_xstate() if small else b"",
        )

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


def arguments(init: PurePosixPath, memory: int) -> list[str]:
    """The command line of the kernel: its own words on stderr, the test's on stdout."""
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
    ]


def job_script(
    argv: Sequence[str], env: Mapping[str, str], cwd: str, token: str, hostname: str
) -> str:
    """Process 1 of the machine: run `argv`, tell how it went on the console, power off."""
    words = shlex.join([f"{name}={value}" for name, value in env.items()])
    return f"""#!/bin/sh
PATH={shlex.quote(env["PATH"])}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
hostname {shlex.quote(hostname)}
echo "{token} kernel $(uname -r)"
stty -opost </dev/tty1
if ! cd {shlex.quote(cwd)}; then
    echo "{token} failed cannot change to the working directory"
elif ! command -v {shlex.quote(argv[0])} >/dev/null; then
    echo "{token} failed cannot execute {shlex.quote(argv[0])}: No such file or directory"
else
    echo "{token} started yes"
    env -i {words} setsid {shlex.join(argv)} </dev/null >/dev/tty1 2>&1 &
    wait $!
    echo "{token} exit $?"
fi
sync
echo o >/proc/sysrq-trigger
while :; do sleep 1; done
"""


def said(console: str, token: str, word: str) -> str:
    """What the job told after `word` on the console; empty if it did not."""
    match = re.search(rf"{token} {word} ([^\r\n]*)", console)
    return match[1] if match else ""


def completed(argv: Sequence[str], machine: Completed, token: str) -> Completed:
    """What the run of the machine says about the run of the command in it."""
    console = machine.err
    done = replace(machine, argv=tuple(argv), err="")
    if failure := said(console, token, "failed"):
        return replace(done, code=127, started=False, failure=failure)
    if not said(console, token, "started"):
        last = (console.strip().splitlines() or ["it said nothing"])[-1]
        return replace(
            done, code=127, started=False, timed_out=False, failure=f"did not boot: {last}"
        )
    if status := said(console, token, "exit"):
        return replace(done, code=int(status), timed_out=False)
    if panic := _PANIC.search(console):
        return replace(done, code=1, timed_out=False, panic=panic[0].strip())
    if machine.timed_out:
        return done
    return replace(done, code=1, panic="the machine went down under the test")
