"""A QEMU process and its monitor."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAM = "qemu-system-x86_64"
_MEMORY = 1024  # MiB
# Nothing that costs an emulated processor time and protects nobody here.
_APPEND = (
    *("console=ttyS0", "quiet", "loglevel=3", "panic=-1", "mitigations=off", "init_on_alloc=0"),
    *("hardened_usercopy=off", "randomize_kstack_offset=off", "kfence.sample_interval=0"),
    *("audit=0", "apparmor=0", "nowatchdog"),
)
_PATIENCE = 120.0  # seconds, on a machine however busy


def version() -> str:
    return subprocess.run(
        [PROGRAM, "--version"], check=True, capture_output=True, text=True
    ).stdout.splitlines()[0]


def arguments(machine: Path, console: str, pool: Path | None = None) -> list[str]:
    """What runs the machine in that directory: from its saved memory on, or booting its kernel.

    Only what is booted writes to the disks themselves; what goes on from there has a copy of the
    pool's, `pool`: under QEMU's own snapshot the writes of a pool have been seen to hang, for good.
    The network ends in QEMU, but for ssh from this machine. Two processors would be slower, as QEMU
    has to keep them in step; what may be saved and loaded excludes NVMe disks and shared
    directories.
    """
    return [
        PROGRAM,
        *("-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", str(_MEMORY)),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-chardev", "stdio,id=monitor", "-mon", "chardev=monitor,mode=control"),
        *("-serial", f"file:{console}"),
        *("-kernel", str(machine / "vmlinuz"), "-initrd", str(machine / "initrd")),
        *("-append", " ".join(_APPEND)),
        *_disk("root", machine / "root.img", written=pool is None),
        *_disk("pool", pool or machine / "pool.img", written=True),
        *("-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *("-device", "virtio-rng-pci", "-device", "vmgenid,guid=auto"),
        *(("-incoming", _through("zstd -dcq <", machine)) if pool else ()),
    ]


def _disk(name: str, image: Path, *, written: bool) -> list[str]:
    path = str(image).replace(",", ",,")
    drive = f"file={path},id={name},if=none,format=raw,cache=unsafe,discard=unmap"
    # a file in TMPDIR, which QEMU removes as soon as it is open
    drive += "" if written else ",snapshot=on"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name}"]


def _through(command: str, machine: Path) -> str:
    return f"exec:cd '{machine}' && {command} memory.zst"


class Qemu:
    """Ends with the process that started it, whatever becomes of that."""

    def __init__(self, machine: Path, console: str, pool: Path | None = None) -> None:
        self._machine = machine
        self._partial = b""
        argv = arguments(machine, console, pool)
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(machine)},  # its own choice may not be there
        )

    def __enter__(self) -> Self:
        try:
            self._said("QMP")
            self.ask("qmp_capabilities")
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def resumed(self) -> Self:
        """Once its memory is loaded and it runs."""
        while self.ask("query-status")["status"] == "inmigrate":
            self._said("event")
        return self

    def save(self) -> None:
        """Write its memory to the machine's directory; it runs no more."""
        self.ask("migrate", uri=_through("zstd -1cq >", self._machine))
        while (status := self.ask("query-migrate").get("status")) != "completed":
            if status == "failed":
                raise RuntimeError("QEMU could not save the machine's memory")
            time.sleep(0.1)
        self.ask("quit")
        self.process.wait(_PATIENCE)

    def port(self) -> int:
        """Of 127.0.0.1, where its sshd answers."""
        known = self.ask("human-monitor-command", **{"command-line": "info usernet"})
        forwarded = re.search(r"127\.0\.0\.1\s+(\d+)\s+10\.0\.2\.15\s+22\b", known)
        assert forwarded, known
        return int(forwarded[1])

    def ask(self, command: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        question = {"execute": command, "arguments": arguments}
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()
        answer = self._said("return", "error")
        if "error" in answer:
            raise RuntimeError(f"QEMU could not {command}: {answer['error']['desc']}")
        return answer["return"]

    def _said(self, *kinds: str) -> dict[str, Any]:
        """The next thing it says that is of one of these kinds."""
        while True:
            said: dict[str, Any] = json.loads(self._line())
            if said.keys() & set(kinds):
                return said

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        while b"\n" not in self._partial:
            fd = self.process.stdout.fileno()
            if not select.select([fd], [], [], _PATIENCE)[0]:
                raise TimeoutError("QEMU does not answer")
            data = os.read(fd, 1 << 16)
            if not data:
                raise RuntimeError(f"QEMU ended with {self.process.wait()}")
            self._partial += data
        line, self._partial = self._partial.split(b"\n", 1)
        return line
