"""behunt, forked from a process that has imported it and done nothing else.

To start Python and import all of it takes an emulated machine seconds, every time.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

_MESSAGE = 1 << 20
# What some command imports when it comes to that. libzfs_core parses its C declarations.
_WARM = (
    *(f"behunt.drive.{name}" for name in ("bisect", "datasets", "doctor", "lab", "shell", "site")),
    *(f"behunt.cli.{name}" for name in ("footer", "progress", "strip", "telling", "watched")),
    *("difflib", "libzfs_core", "sqlalchemy.dialects.sqlite", "tabulate"),
)


@functools.cache
def _server() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """It ends when this process does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        words = [sys.executable, __file__, str(theirs.fileno())]
        process = subprocess.Popen(words, pass_fds=[theirs.fileno()])
    atexit.register(_end, ours, process)
    return ours, process


def _end(connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
    connection.close()
    process.wait()


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: str,
    timeout: float,
    user: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run of `python -m behunt` with the words of `argv`."""
    server, _ = _server()
    with contextlib.ExitStack() as stack:
        given, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        given.write(stdin.encode())
        given.seek(0)
        wanted = {"argv": [*argv], "cwd": str(cwd), "env": {**env}, "user": user}
        request = json.dumps(wanted).encode()
        socket.send_fds(server, [request], [file.fileno() for file in (given, out, err)])
        process = int(server.recv(_MESSAGE))
        server.settimeout(timeout)
        try:
            code = int(server.recv(_MESSAGE))
        except TimeoutError:
            os.killpg(process, signal.SIGKILL)
            server.settimeout(None)
            server.recv(_MESSAGE)
            raise subprocess.TimeoutExpired(argv, timeout) from None
        finally:
            server.settimeout(None)
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess([*argv], code, *said)


def _serve(client: socket.socket) -> None:
    from behunt.cli.main import main  # noqa: PLC0415 - only the server's

    for module in _WARM:
        importlib.import_module(module)

    while True:
        request, fds, *_ = socket.recv_fds(client, _MESSAGE, 3)
        if not request:
            return
        if (process := os.fork()) == 0:
            client.close()
            _become(json.loads(request), fds, main)
        for fd in fds:
            os.close(fd)
        client.send(str(process).encode())
        _, status = os.waitpid(process, 0)
        client.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(
    request: Mapping[str, Any], fds: Sequence[int], main: Callable[[], NoReturn]
) -> NoReturn:
    os.setsid()
    for target, fd in enumerate(fds):
        os.dup2(fd, target)
    for fd in fds:
        os.close(fd)
    if request["user"]:
        account = pwd.getpwnam(request["user"])
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["behunt", *request["argv"]]
    main()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        _serve(connection)
