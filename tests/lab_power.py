"""Machines that can be switched on: processes, with what real ones are switched by in front.

    with Switch(["qemu-system-x86_64", ...]) as switch, ipmi_simulator(tmp_path, switch) as bmc:
        Ipmi("127.0.0.1", bmc.port, USER, Secret(bmc.password_file)).on()

What the method switches on starts the command of the Switch, what it switches off kills that.
`enter` is what goes before a command to have it run in a network namespace (`Network.enter`).
"""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import bcrypt
import sushy
from lab_net import namespace

USER, PASSWORD = "admin", "it's-a-$ecret"
HERE = "127.0.0.1"
SYSTEM = "27946b59-9e44-4fa7-8e91-f3527a1ef094"  # of the Redfish emulator
_PATIENCE = 30.0

# Exit status 0: done, or it is on; 1: it is off.
_CLIENT = """\
import socket, sys
with socket.socket(socket.AF_UNIX) as switch:
    switch.connect(sys.argv[1])
    switch.sendall(sys.argv[2].encode() + b"\\n")
    sys.exit(switch.recv(1) != b"1")
"""


_IDLE = ("setpriv", "--pdeathsig=KILL", "sleep", "infinity")


class Switch:
    """The power switch of a machine that is a process. It dies with the block.

    `argv` is the machine. `lag` is how often the state must be asked for until a change takes
    place. `starts` counts how often it was switched on.
    """

    def __init__(self, argv: Sequence[str] = _IDLE, *, output: Path | None = None) -> None:
        self.argv = list(argv)
        self.lag = 0
        self.starts = 0
        self._output = output or Path("/dev/null")
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._pending: tuple[bool, int] | None = None

    def __enter__(self) -> Self:
        # A machine with a --pdeathsig ends with the thread that started it.
        self._starter = ThreadPoolExecutor(1)
        # A socket's path is short.
        self._directory = tempfile.TemporaryDirectory(prefix="switch-")
        self.socket = Path(self._directory.name) / "socket"
        self._server = _Server(str(self.socket), _Request)
        self._server.switch = self
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.reset()
        self._starter.shutdown()
        self._directory.cleanup()

    def words(self, verb: str) -> list[str]:
        """A command line that switches it: `on`, `off`, or `status`, which ends with 0 if on."""
        return [sys.executable, "-ISc", _CLIENT, str(self.socket), verb]

    def on(self) -> None:
        self._turn(on=True)

    def off(self) -> None:
        self._turn(on=False)

    def asked(self) -> bool:
        """The state; asking brings a change nearer that is to come."""
        with self._changed:
            if self._pending:
                on, left = self._pending
                self._pending = (on, left - 1) if left > 1 else None
                if self._pending is None:
                    self._become(on=on)
            return self.is_on

    @property
    def is_on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def follows(self, *, on: bool) -> bool:
        """Whether it comes to be so, in some seconds, for what is switched and not answered."""
        with self._changed:
            return self._changed.wait_for(lambda: self.is_on is on, 10)

    def reset(self) -> None:
        with self._changed:
            self._pending = None
            self._become(on=False)
            self.lag = self.starts = 0

    def _turn(self, *, on: bool) -> None:
        with self._changed:
            if self.lag:
                self._pending = on, self.lag
            else:
                self._become(on=on)

    def _become(self, *, on: bool) -> None:
        if on and not self.is_on:
            self.starts += 1
            with self._output.open("ab") as output:
                self._process = self._starter.submit(
                    subprocess.Popen,
                    self.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                ).result()
        if not on and self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._changed.notify_all()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    switch: Switch


class _Request(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        switch = self.server.switch
        match self.rfile.readline().decode().strip():
            case "on":
                switch.on()
                yes = True
            case "off":
                switch.off()
                yes = True
            case _:
                yes = switch.asked()
        self.wfile.write(b"1" if yes else b"0")


# -- IPMI


@dataclass(frozen=True)
class Bmc:
    """Where it listens. `boots` is what the machine was told to boot from."""

    port: int
    password_file: Path
    directory: Path

    @property
    def power(self) -> dict[str, object]:
        """As lab.toml has it."""
        where = {"method": "ipmi", "address": HERE, "port": self.port, "user": USER}
        return {**where, "password_file": str(self.password_file), "deadline": 20}

    def boots(self) -> str:
        file = self.directory / "boot"
        return file.read_text().strip() if file.exists() else ""


_LAN = """\
name "lab"
set_working_mc 0x20
  startlan 1
    addr {address} {port}
    priv_limit admin
    allowed_auths_admin md5
    guid a123456789abcdefa123456789abcdef
  endlan
  user 1 false "" "" user 10 none
  user 2 true "{user}" "{password}" admin 10 md5
  chassis_control "{chassis}"
{sol}"""
_EMULATION = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 1291 0xf02
mc_enable 0x20
"""
# ipmi_sim calls it with the address of the controller, get or set, and what.
_CHASSIS = """\
#!/bin/sh
case "$2 $3 $4" in
    "get power "*) if {status}; then echo power:1; else echo power:0; fi ;;
    "set power 1") {on} ;;
    "set power 0") {off} ;;
    "set boot "*) echo "$4" >{boot} ;;
esac
"""


@contextlib.contextmanager
def ipmi_simulator(
    directory: Path,
    switch: Switch,
    *,
    address: str = HERE,
    enter: Sequence[str] = (),
    sol: str = "",
) -> Iterator[Bmc]:
    """OpenIPMI's ipmi_sim, with the switch as its chassis.

    `sol` is a device, or tcp:HOST:PORT, which it has serial over LAN of.
    """
    place = directory / "ipmi"
    (place / "state").mkdir(parents=True)
    bmc = Bmc(free_port(socket.SOCK_DGRAM), password_file(place), place)
    chassis = place / "chassis"
    words = {verb: shlex.join(switch.words(verb)) for verb in ("on", "off", "status")}
    chassis.write_text(_CHASSIS.format(**words, boot=shlex.quote(str(place / "boot"))))
    chassis.chmod(0o700)
    (place / "lan.conf").write_text(
        _LAN.format(
            address=address,
            port=bmc.port,
            user=USER,
            password=PASSWORD,
            chassis=f"{chassis} 0x20",
            sol=f'  sol "{sol}" 115200\n' if sol else "",
        )
    )
    (place / "emulation").write_text(_EMULATION)
    argv = ["ipmi_sim", "-n", "-c", "lan.conf", "-f", "emulation", "-s", "state"]
    with _serving([*enter, *argv], place, f"udp:{bmc.port}"):
        yield bmc


# -- Redfish


@dataclass(frozen=True)
class Service:
    """Where it listens. `boots` is what the machine was told to boot from, and how often."""

    url: str
    password_file: Path

    def boots(self) -> str:
        root = sushy.Sushy(self.url, USER, PASSWORD)
        boot = root.get_system(f"/redfish/v1/Systems/{SYSTEM}").boot
        return f"{boot.target.value} {boot.enabled.value}"


@contextlib.contextmanager
def redfish_emulator(
    directory: Path,
    switch: Switch,
    *,
    address: str = HERE,
    enter: Sequence[str] = (),
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[Service]:
    """The one of sushy-tools, with the switch behind its one system, SYSTEM.

    `certificate` is the file of one and that of its key, where it is to speak TLS.
    """
    place = directory / "redfish"
    place.mkdir()
    port = free_port(socket.SOCK_STREAM)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (place / "users").write_text(f"{USER}:{hashed}\n")
    settings = {"SUSHY_EMULATOR_AUTH_FILE": "users", "SUSHY_EMULATOR_STATE_DIR": "."}
    (place / "settings").write_text(
        "".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items())
    )
    program = Path(__file__).with_name("lab_redfish.py")
    argv = [sys.executable, "-B", str(program), str(switch.socket), "--fake", "--config=settings"]
    argv += [f"--interface={address}", f"--port={port}"]
    if certificate:
        argv += [f"--ssl-certificate={certificate[0]}", f"--ssl-key={certificate[1]}"]
    with _serving([*enter, *argv], place, f"tcp:{port}"):
        scheme = "https" if certificate else "http"
        yield Service(f"{scheme}://{address}:{port}", password_file(place))


# -- the wire


@dataclass(frozen=True)
class Network:
    """A network namespace whose interface `lab0` is wired to `outside`, which is out here.

    It has no address. `enter` goes before a command that is to run in it.
    """

    outside: str
    enter: tuple[str, ...]


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """It ends, its wire too, with the block, and with the process that had it made."""
    with namespace() as (holder, enter):
        outside = f"bh{holder}"
        wire = ["type", "veth", "peer", "name", "lab0", "netns", str(holder)]
        for argv in (
            ["ip", "link", "add", "name", outside, *wire],
            [*enter, "ip", "link", "set", "lab0", "up"],
            ["ip", "link", "set", outside, "addrgenmode", "none", "up"],
        ):
            subprocess.run(argv, check=True)
        try:
            yield Network(outside, enter)
        finally:
            subprocess.run(["ip", "link", "delete", outside], check=True)


_WATCH = """\
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
    wire.bind((sys.argv[1], 3))
    print("listening", flush=True)
    while True:
        frame = wire.recv(1 << 16)
        if b"\\xff" * 6 + 16 * bytes.fromhex(sys.argv[2]) in frame:
            print(frame.hex(), flush=True)
"""


@contextlib.contextmanager
def wake_listener(
    interface: str, mac: str, on_wake: Callable[[], object], *, enter: Sequence[str] = ()
) -> Iterator[list[bytes]]:
    """As a network card: call `on_wake` at each magic packet for `mac`, and keep the frame."""
    argv = [*enter, sys.executable, "-ISc", _WATCH, interface, mac.replace(":", "")]
    frames: list[bytes] = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "listening\n"
        reader = threading.Thread(target=_woken, args=(listener.stdout, frames, on_wake))
        reader.start()
        try:
            yield frames
        finally:
            listener.kill()
            reader.join()


def _woken(lines: IO[str], frames: list[bytes], on_wake: Callable[[], object]) -> None:
    for line in lines:
        frames.append(bytes.fromhex(line))
        on_wake()


# -- what all need


def password_file(place: Path, password: str = PASSWORD) -> Path:
    file = place / "password"
    file.touch(0o600)
    file.write_text(password + "\n")
    return file


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _serving(argv: Sequence[str], place: Path, port: str) -> Iterator[None]:
    """`argv`, in `place`, from when it listens at `port` (`udp:9`) until the end of the block."""
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", *argv],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + _PATIENCE
        while process.poll() is None and not _listens(process.pid, port):
            assert time.monotonic() < deadline, (place / "log").read_text()
            time.sleep(0.02)
        assert process.poll() is None, (place / "log").read_text()
        yield
    finally:
        process.kill()
        process.wait()


def _listens(process: int, port: str) -> bool:
    """Of any process in the network namespace of `process`, which need not be ours."""
    kind, number = port.split(":")
    rows = Path(f"/proc/{process}/net/{kind}").read_text().splitlines()[1:]
    wanted = {"tcp": "0A", "udp": "07"}[kind]
    return any(
        row[1].endswith(f":{int(number):04X}") and row[3] == wanted for row in map(str.split, rows)
    )
