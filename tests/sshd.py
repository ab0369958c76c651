"""A real sshd on loopback, with a user database, host key and login shell of its own.

    with sshd.running(tmp_path, shell="/bin/csh") as server, server.host() as host:
        host.run(["uname", "-s"])

It lives in mount and pid namespaces of its own and ends, with all that it started, with the block.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from behunt.hosts.ssh import SshHost

ALIAS = "lab.test"

_SERVER = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {place}/host_key
AuthorizedKeysFile {place}/key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
PidFile none
MaxStartups 100
PrintMotd no
"""
_CLIENT = """\
Host {alias}
    HostName 127.0.0.1
    Port {port}
    User root
    IdentityFile {place}/key
    IdentitiesOnly yes
    UserKnownHostsFile {place}/known_hosts
    GlobalKnownHostsFile /dev/null
"""
_START = """\
mount -t tmpfs none /run && mkdir /run/sshd
mount --bind "$1/passwd" /etc/passwd
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
"""


@dataclass
class Server:
    """`place` holds its keys and configuration; `log` is what it said so far."""

    place: Path
    port: int
    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)

    @property
    def config(self) -> Path:
        """For `ssh -F`: the server is called ALIAS there."""
        return self.place / "ssh_config"

    def host(self, *options: str) -> SshHost:
        return SshHost(ALIAS, ("-F", str(self.config), *options))


@contextlib.contextmanager
def running(directory: Path, shell: str = "/bin/sh", settings: str = "") -> Iterator[Server]:
    """Start sshd; root logs in to `shell`. `settings` are more lines of sshd_config."""
    place = directory / "sshd"
    place.mkdir(mode=0o700)
    port = _free_port()
    _configured(place, port, shell, settings)
    namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with subprocess.Popen(
        ["unshare", *namespaces, "sh", "-ec", _START, "sh", str(place)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        server = Server(place, port, process)
        listening = threading.Event()
        reader = threading.Thread(target=_read, args=(server, listening))
        reader.start()
        try:
            listening.wait(30)
            assert any("listening" in line for line in server.log), server.log
            yield server
        finally:
            server.host().close()
            process.kill()
            reader.join()


def _read(server: Server, listening: threading.Event) -> None:
    assert server.process.stderr is not None
    for line in server.process.stderr:
        server.log.append(line)
        if "listening" in line:
            listening.set()
    listening.set()


def _configured(place: Path, port: int, shell: str, settings: str) -> None:
    for name in ("host_key", "key"):
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", place / name]
        subprocess.run(keygen, check=True, stdin=subprocess.DEVNULL)
    names = {"place": place, "port": port, "alias": ALIAS}
    (place / "sshd_config").write_text(_SERVER.format(**names) + settings)
    (place / "ssh_config").write_text(_CLIENT.format(**names))
    known = (place / "host_key.pub").read_text()
    (place / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}")
    (place / "home").mkdir()
    users = Path("/etc/passwd").read_text().splitlines()
    root = f"root:x:0:0:root:{place}/home:{shell}"
    kept = [user for user in users if not user.startswith("root:")]
    (place / "passwd").write_text("\n".join([root, *kept, ""]))


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])
