"""The connections to hosts reached by OpenSSH: one control master each, kept and renewed."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import secrets
import shlex
import shutil
import socket
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from behunt.errors import HostError
from behunt.hosts import remote_sh
from behunt.hosts.protocol import Completed
from behunt.hosts.remote_sh import Told
from behunt.hosts.remote_tree import WHICH, Way
from behunt.hosts.sandbox import Sandbox
from behunt.hosts.spawner import Session

_CONNECTING = 15  # seconds
_LONGEST = 80  # bytes of a socket's path: of 104 ssh(1) adds a suffix of 17 while it makes one
_PREFIX = "behunt-ssh."

# Before the user's options: what a non-interactive ssh of ours must be.
_FIRM = (
    *("-a", "-x"),
    *("-o", "BatchMode=yes"),
    *("-o", "ControlPersist=no"),
    *("-o", "ClearAllForwardings=yes"),
    *("-o", "PermitLocalCommand=no"),
    *("-o", "RemoteCommand=none"),
)
# After them: what they may change.
_SOFT = (
    *("-o", f"ConnectTimeout={_CONNECTING}"),
    *("-o", "ServerAliveInterval=15"),
    *("-o", "ServerAliveCountMax=3"),
)


@cache
def line_to(destination: str, options: tuple[str, ...]) -> Line:
    return Line(destination, options)


class Line:
    """What all commands on one host share. For any number of threads.

    The control master lives in a session of the spawner, so it ends with behunt, however that
    ends. `way` is known once `client` was asked for.
    """

    def __init__(self, destination: str, options: tuple[str, ...]) -> None:
        self.destination = destination
        self.options = options
        self.way = Way.PS
        self._lock = threading.Lock()
        self._master: Session | None = None
        self._place: _Place | None = None

    def client(self, *, terminal: bool = False) -> list[str]:
        """The words of ssh up to the remote command, over a connection that is open.

        Raises HostError if there is none and none can be made.
        """
        with self._lock:
            if not self.alive():
                self._close()
                self._open()
        kind = ["-tt", "-e", "none"] if terminal else ["-T"]
        quiet = ["-o", "ControlMaster=no", "-o", "LogLevel=ERROR"]
        return [*self._ssh(*quiet), *kind, "--", self.destination]

    def alive(self) -> bool:
        return self._place is not None and self._place.answers()

    def close(self) -> None:
        with self._lock:
            self._close()

    def _ssh(self, *more: str) -> list[str]:
        at = ("-o", f"ControlPath={self._place.socket}") if self._place else ()
        return ["ssh", *_FIRM, *at, *more, *self.options, *_SOFT]

    def _open(self) -> None:
        known = self._settings()
        # `no` would take the word of anybody who answers.
        careless = known.get("stricthostkeychecking") in {"no", "off", "false"}
        strict = ["-o", "StrictHostKeyChecking=accept-new"] if careless else []
        self._place = _Place()
        self._master = Session(Sandbox())
        words = self._ssh("-o", "ControlMaster=yes", "-o", "LogLevel=INFO", *strict)
        try:
            self._run(self._master, [*words, "-f", "-N", "-T", "--", self.destination], known)
            self.way = self._asked()
        except BaseException:
            self._close()
            raise

    def _settings(self) -> dict[str, str]:
        """What ssh_config(5) says of the host, as `ssh -G` tells it."""
        words = ["ssh", *self.options, "-G", "--", self.destination]
        with Session(Sandbox()) as session:
            said = self._run(session, words, {}).out
        pairs = (line.partition(" ") for line in said.splitlines())
        return {name: value for name, _, value in pairs}

    def _asked(self) -> Way:
        """How processes are found there. Raises HostError if it does not speak as it should."""
        secret = secrets.token_hex(16)
        script = remote_sh.plain(f"exec 4>&2\n{WHICH}say ended", secret)
        command = remote_sh.command_line(script)
        words = [*self._ssh("-o", "ControlMaster=no"), "-T", "--", self.destination, command]
        with Session(Sandbox()) as session:
            done = _local(session, words, script)
        told = Told(secret)
        told(done.err.encode())
        if told.end and done.out.strip() in set(Way):
            return Way(done.out.strip())
        said = ([*done.err.splitlines(), *done.out.splitlines()] or ["nothing"])[0]
        raise HostError(
            f"{self.destination} does not answer as a Unix system does: {said}",
            "its login shell must print nothing when no terminal is there",
        )

    def _run(self, session: Session, words: Sequence[str], known: Mapping[str, str]) -> Completed:
        done = _local(session, words)
        if not done.started:
            raise HostError(done.failure, "install OpenSSH's client: openssh-client")
        if done.code != 0:
            raise refusal(self.destination, done, known)
        return done

    def _close(self) -> None:
        if self._master is not None:
            self._master.close()
        if self._place is not None:
            self._place.close()
        self._master = self._place = None


def _local(session: Session, words: Sequence[str], stdin: bytes = b"") -> Completed:
    """Ssh as the user would run it here: agents and proxies are named in the environment."""
    here, longest = str(Path.cwd()), _CONNECTING * 4.0
    return session.run(words, env=dict(os.environ), cwd=here, stdin=stdin, timeout=longest)


class _Place:
    """A private directory for a control socket; locked, so that a dead behunt's can be told."""

    def __init__(self) -> None:
        above = Path(tempfile.gettempdir())
        if len(os.fsencode(above)) > _LONGEST - len(_PREFIX) - 12:
            above = Path("/tmp")  # noqa: S108 - the directory below is our own
        _reap(above)
        self._path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=above))
        self._lock = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.socket = self._path / "s"
        atexit.register(self.close)

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as asking, contextlib.suppress(OSError):
            asking.connect(str(self.socket))
            return True
        return False

    def close(self) -> None:
        atexit.unregister(self.close)
        shutil.rmtree(self._path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def _reap(above: Path) -> None:
    for left in above.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)


# What ssh says, and what that means here. The first that fits counts.
_REFUSALS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host key of {name} is not the one it had",
        "if it was installed anew: `ssh-keygen -R {known}`, then `{ssh}` once",
    ),
    (
        "Host key verification failed",
        "the host key of {name} is not known here",
        "`{ssh}` once and compare the fingerprint, or "
        "`ssh-keyscan -p {port} {host} >>~/.ssh/known_hosts` on a network you trust",
    ),
    (
        "Permission denied",
        "{name} refuses the login",
        "`{ssh}` must work without a password: `ssh-copy-id {name}`, or a key in ssh-agent",
    ),
    (
        "Too many authentication failures",
        "{name} refuses the login after too many keys",
        "name the right one: IdentityFile and IdentitiesOnly in ~/.ssh/config",
    ),
    (
        "Could not resolve hostname",
        "there is no host called {host}",
        "write its address, or name it in ~/.ssh/config",
    ),
    ("Connection refused", "nothing listens on port {port} of {host}", "start sshd there"),
    (
        "timed out",
        "{host} does not answer on port {port}",
        "see that it is up, and that no firewall is in between",
    ),
)


def refusal(destination: str, done: Completed, known: Mapping[str, str]) -> HostError:
    """Why there is no connection, from what ssh said."""
    host, port = known.get("hostname", destination), known.get("port", "22")
    names = {
        "name": destination,
        "host": host,
        "port": port,
        "known": shlex.quote(host if port == "22" else f"[{host}]:{port}"),
        "ssh": f"ssh {destination}",
    }
    for sign, message, hint in _REFUSALS:
        if sign in done.err or (sign == "timed out" and done.timed_out):
            return HostError(message.format(**names), hint.format(**names))
    said = (done.err.strip().splitlines() or [done.how])[-1]
    return HostError(
        f"cannot connect to {destination}: {said}", f"try `{names['ssh']}` by hand, with -v"
    )
