"""A running guest: commands in it, and this checkout."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from behunt_cli import Done

from guest.booted import booted
from guest.qemu import Qemu

CHECKOUT = Path(__file__).parents[2]
SOURCE = PurePosixPath("/src")  # where the checkout is in the guest
POOL = "tank"  # empty, on a disk of its own, mounted on /tank
_PUSHED = ("behunt", "docs", "pyproject.toml", "releases", "reports", "tests")
_GRACE = 10.0  # seconds
_CONFIG = """Host guest
  HostName 127.0.0.1
  Port {port}
  User root
  IdentityFile {directory}/key
  IdentitiesOnly yes
  UserKnownHostsFile {directory}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  LogLevel ERROR
"""


@dataclass(frozen=True)
class Machine:
    """`port` of 127.0.0.1 is its sshd, where `key` opens the accounts root and alice.

    alice is a user without any right. `directory` ends with the machine.
    """

    directory: Path

    @property
    def port(self) -> int:
        return int((self.directory / "port").read_text("ascii"))

    @property
    def key(self) -> Path:
        return self.directory / "key"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`: the machine is called `guest` in it."""
        return self.directory / "ssh_config"

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] = {},
        cwd: PurePosixPath | str = "/root",
        stdin: bytes = b"",
        timeout: float = 120.0,
        check: bool = True,
    ) -> Done:
        """Run it as root. `timeout` seconds later it is killed, of which ssh makes 255."""
        done = subprocess.run(
            self.command(argv, env=env, cwd=cwd, timeout=timeout),
            input=stdin,
            capture_output=True,
            timeout=timeout + 2 * _GRACE,
            check=False,
        )
        out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        assert done.returncode == 0 or not check, f"{shlex.join(argv)}: {out}{err}"
        return Done(done.returncode, out, err)

    def command(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] = {},
        cwd: PurePosixPath | str = "/root",
        timeout: float = 120.0,
    ) -> list[str]:
        """What to start on this machine to have `argv` run there."""
        words = ["env", f"--chdir={cwd}", *(f"{name}={value}" for name, value in env.items())]
        words += ["timeout", "--signal=KILL", f"{timeout:.0f}", *argv]
        return [*self._ssh, "guest", shlex.join(words)]

    def push_source(self) -> None:
        """Put this checkout, as it is now, into SOURCE."""
        tar = ["tar", "--create", f"--directory={CHECKOUT}", "--exclude=__pycache__", *_PUSHED]
        packed = subprocess.run(tar, check=True, capture_output=True).stdout
        self.run(["rm", "-rf", str(SOURCE)])
        self.run(["mkdir", str(SOURCE)])
        unpack = ["tar", "--extract", "--no-same-owner", f"--directory={SOURCE}"]
        self.run(unpack, stdin=packed)

    @property
    def _ssh(self) -> list[str]:
        return ["ssh", "-F", str(self.ssh_config), "-S", str(self.directory / "master")]

    def connect(self, place: Path, port: int) -> None:
        """Open the connection that all commands share."""
        (self.directory / "port").write_text(f"{port}\n", encoding="ascii")
        shutil.copy(place / "key", self.key)
        self.key.chmod(0o600)
        host_key = (place / "host_key.pub").read_text("ascii")
        self.known_hosts.write_text(f"[127.0.0.1]:{port} {host_key}", encoding="ascii")
        config = _CONFIG.format(port=port, directory=self.directory)
        self.ssh_config.write_text(config, encoding="ascii")
        # behind its back: it ends when the machine does
        master = [*self._ssh, "-M", "-N", "-f", "-E", str(self.directory / "ssh.log"), "guest"]
        null = subprocess.DEVNULL
        done = subprocess.run(master, stdin=null, stdout=null, stderr=null, check=False)
        assert done.returncode == 0, (self.directory / "ssh.log").read_text()


@contextlib.contextmanager
def started() -> Iterator[Machine]:
    """A machine of one's own, as it was right after it booted, but for its clock."""
    place = booted()
    with contextlib.ExitStack() as stack:
        # not TMPDIR: the path of a socket has less than 108 bytes
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="guest.", dir="/tmp"))
        pool = Path(directory, "pool.img")
        subprocess.run(["cp", "--sparse=always", place / "pool.img", pool], check=True)
        qemu = stack.enter_context(Qemu(place, f"{directory}/console.log", pool)).resumed()
        machine = Machine(Path(directory))
        machine.connect(place, qemu.port())
        machine.run(["date", "--set", f"@{time.time():.0f}"])
        yield machine
