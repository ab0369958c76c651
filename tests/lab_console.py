"""Serial ports of machines in a lab, which are there whether a machine is on or off.

with serial_port(net.enter, "tcp") as port, Switch(port.wired(net.metal(1))) as switch:
    port.at  # "tcp:127.0.0.1:40961", or of a "pty" "/dev/pts/7"
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# A machine that is on is connected to the Unix socket $1. What it says goes to all who listen, and
# what they type goes to it. As with any serial port, nobody has to listen.
_PORT = """\
import contextlib, os, socket, sys, threading, tty

def passed_on(source, targets):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 12):
            for target in list(targets):
                with contextlib.suppress(OSError):
                    target(data)

def listen(server):
    while True:
        client, _ = server.accept()
        listening.append(client.sendall)
        threading.Thread(target=passed_on, args=(client, typed), daemon=True).start()

listening, typed = [], []
if sys.argv[2] == "pty":
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    listening.append(lambda data: os.write(ours, data))
    at = os.ttyname(theirs)
else:
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=listen, args=(server,), daemon=True).start()
    at = "tcp:127.0.0.1:%d" % server.getsockname()[1]
machines = socket.create_server(sys.argv[1], family=socket.AF_UNIX)
print(at, flush=True)
while True:
    machine, _ = machines.accept()
    typed[:] = [machine.sendall]
    passed_on(machine, listening)
"""


@dataclass(frozen=True)
class Port:
    """`at` is where it is listened to, as lab.toml has it."""

    at: str
    socket: Path

    def wired(self, qemu: Sequence[str], log: Path) -> list[str]:
        """The same machine, whose serial port is this one; what it says is in `log` too."""
        at = qemu.index("-serial")
        device = f"socket,id=serial,path={self.socket},logfile={log}"
        return [*qemu[:at], "-chardev", device, "-serial", "chardev:serial", *qemu[at + 2 :]]

    @contextlib.contextmanager
    def machine(self) -> Iterator[socket.socket]:
        """One that is on as long: what it says, and what is typed to it."""
        with socket.socket(socket.AF_UNIX) as machine:
            machine.connect(str(self.socket))
            yield machine


@contextlib.contextmanager
def serial_port(enter: Sequence[str], kind: str) -> Iterator[Port]:
    """A port of the `kind` tcp, or pty, in the network namespace that these words enter."""
    # A socket's path is short.
    with tempfile.TemporaryDirectory(prefix="serial-") as directory:
        path = Path(directory) / "machine"
        argv = [*enter, "setpriv", "--pdeathsig=KILL", sys.executable, "-ISc", _PORT]
        with subprocess.Popen(
            [*argv, str(path), kind], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            try:
                yield Port(process.stdout.readline().strip(), path)
            finally:
                process.kill()
