"""Hosts that run virtual machines: tests/stand_ins, by ssh, into csh.

Their machines are roots in namespaces of their own, where a real shell does what is written for
a system to do as it boots. What of its programs must be the system's own is in `world`.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import sshd
from behunt_cli import Behunt, Done, executable

from behunt.hosts.ssh import SshHost

TESTS = Path(__file__).parent
STAND_INS = TESTS / "stand_ins"
# Devices of its own, and the programs where the PATH of a remote command begins.
_LOGIN = """\
#!/bin/sh
if ! mountpoint -q /usr/local/sbin; then
  mkdir /run/dev /run/{system}
  mount -t tmpfs dev /run/dev && cd /run/dev && mkdir pts vmm zvol
  mknod -m 666 null c 1 3 && mknod -m 666 tty c 5 0 && mknod -m 666 urandom c 1 9
  ln -s pts/ptmx ptmx && ln -s /proc/self/fd fd
  mount --rbind /dev/pts pts && mount --move /run/dev /dev
  mount -t tmpfs none /var/tmp && mount -t tmpfs none /var/db 2>/dev/null
  sed -n '/<<BOOT>>/,/Starting devd/p' {boot} >/run/{system}/boot.log
  cp {stand_ins}/machine /run/{system}
  mount --bind {stand_ins}/{programs} /usr/local/sbin
fi
cd
exec /bin/csh "$@"
"""


@dataclass(frozen=True)
class Lab:
    """behunt here; a host there."""

    behunt: Behunt
    host: SshHost
    place: Mapping[str, str]  # the variables that name it

    def there(self, script: str) -> list[str]:
        return self.host.run(["sh", "-c", script]).out.splitlines()

    def __call__(self, *words: str | Path) -> Done:
        return self.behunt(*words, env=self.place)


@contextlib.contextmanager
def running(place: Path, programs: str, store: str = "") -> Iterator[Lab]:
    """A host with the stand-ins `programs` (`freebsd-13.2`); `store` is what it keeps."""
    login = executable(place / "login", "")
    login.write_text(
        _LOGIN.format(
            system=programs.partition("-")[0],
            programs=programs,
            stand_ins=STAND_INS,
            boot=TESTS / "transcripts/console-boot-13.2.log",
        )
    )
    (place / "bin").mkdir()
    variables = {"BEHUNT_HOST": sshd.ALIAS, **({"BEHUNT_STORE": store} if store else {})}
    with (
        pytest.MonkeyPatch.context() as patch,
        sshd.running(place, shell=str(login)) as server,
        server.host() as host,
    ):
        patch.setenv("PATH", f"{place}/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        patch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing is fetched
        patch.setenv("https_proxy", "http://127.0.0.1:9")
        executable(place / "bin/ssh", f'exec /usr/bin/ssh -F {server.config} "$@"')
        yield Lab(Behunt.below(place), host, variables)


def world(root: Path, programs: Mapping[str, str]) -> Path:
    """Make the shell of a tiny root one that looks for `programs` (name to body) in PATH first."""
    (root / "bin/sh").unlink()
    for file in ("/bin/dash", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"):
        (root / file[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / file[1:])
    (root / "bin/dash").rename(root / "bin/sh")
    (root / "sbin").mkdir(exist_ok=True)
    switches = {
        "halt": ">/dev/off; exec sleep 100",
        "reboot": ">/dev/reset; exec sleep 100",
        "date": ":",
    }
    for name, body in {**switches, **programs}.items():
        executable(root / "sbin" / name, body)
    return root
