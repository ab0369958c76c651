"""Clones served by NFS on a lab's network, to a real client on another machine of it.

Two network namespaces are the lab, joined by a cable; the client is libnfs, as root.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Self

import pytest
from tiny_root import tiny_root

from behunt.hosts.syscalls import NAMESPACES, setns
from behunt.netboot import mount3

pytestmark = pytest.mark.real

SERVER, CLIENT, STRANGER = "10.77.0.1", "10.77.0.2", "10.77.0.200"
NETWORK = "10.77.0.0/25"
PATIENCE = 30.0  # seconds
STALE = 70  # NFS3ERR_STALE
BELOW = "behunt-below"  # a file system
FILE_OF_ROOT, SECRET = "etc/secret", "of root alone\n"

# A behunt that serves: it does what it reads, a line of JSON each, and answers by one.
SERVING = """
import contextlib, json, sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path, PurePosixPath

from behunt.errors import HostError
from behunt.model import BootEnv
from behunt.netboot.servers import serving
from behunt.storage.protocol import Clone

address, network, place = sys.argv[1:]
place = Path(place)
shares = {}

def clone_of(kind):
    be = BootEnv("be", "debian-12-amd64", place / "root", sealed=True)
    lower, stage = (str(place / "root"),), str(place / "stage")
    match kind:
        case "memory":
            return Clone("c", be, lower, stage=stage)
        case "disk":
            return Clone("c", be, lower, str(place / "upper"), str(place / "work"), stage=stage)
        case "layered":
            return Clone("c", be, (str(place / "layered"),), stage=stage)
        case "mounted":
            return Clone("c", be, root=str(place / "mounted"), stage=stage)

def done(server, op, name, what=""):
    match op:
        case "share":
            stack = contextlib.ExitStack()
            share = stack.enter_context(server.shared(clone_of(what), name))
            shares[name] = stack, share
            return f"{share.server}:{share.path}"
        case "withdraw":
            shares.pop(name)[0].close()
        case "run":
            return shares[name][1].host.run(what, check=True).out
        case "put":
            (place / "put").write_text(what)
            shares[name][1].host.put(place / "put", PurePosixPath("/put"))
        case "get":
            shares[name][1].host.get(PurePosixPath(what), place / "got")
            return (place / "got").read_text()
        case "mounts":
            return [[one.path, str(one.client), one.granted] for one in server.mounts()]

def said(work):
    try:
        return {"done": work()}
    except (HostError, ValueError) as error:
        return {"error": str(error), "hint": getattr(error, "hint", "")}

with contextlib.ExitStack() as stack:
    start = lambda: stack.enter_context(
        serving(IPv4Address(address), IPv4Network(network), place / "server")
    )
    server = None
    def up():
        global server
        server = start()
    print(json.dumps(said(up)), flush=True)
    for line in sys.stdin:
        print(json.dumps(said(lambda: done(server, *json.loads(line)))), flush=True)
    for kept, _ in shares.values():
        kept.close()
"""


class Machine:
    """A network namespace, and the mount namespace of whoever runs there."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", "echo; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout
        self._holder.stdout.readline()
        self.pid = self._holder.pid
        self._network = Path(f"/proc/{self.pid}/ns/net").readlink()
        self.run("ip", "link", "set", "lo", "up")

    def close(self) -> None:
        self._holder.communicate()

    def entering(self, *words: str | Path) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", *map(str, words)]

    def run(self, *words: str | Path) -> str:
        done = subprocess.run(
            self.entering(*words), check=True, capture_output=True, text=True, timeout=PATIENCE
        )
        return done.stdout

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets made meanwhile are this machine's."""
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        try:
            setns(there, NAMESPACES["net"])
            yield
        finally:
            setns(own, NAMESPACES["net"])
            os.close(own)
            os.close(there)

    def others(self) -> list[int]:
        """Whoever is in its network, besides what holds it."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "ns/net").readlink() == self._network:
                    found.append(int(entry.name))
        return [pid for pid in found if pid != self.pid]

    def holding(self, source: str) -> list[int]:
        """Who has it mounted, besides those who see this machine's mounts."""
        own = Path(f"/proc/{self.pid}/ns/mnt").readlink()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if source in (entry / "mountinfo").read_text():
                    found += [int(entry.name)] if (entry / "ns/mnt").readlink() != own else []
        return found


@pytest.fixture(scope="module")
def cable() -> Iterator[tuple[Machine, Machine]]:
    """A server and a client; one of its addresses is not of the lab."""
    with contextlib.ExitStack() as stack:
        here, there = Machine(), Machine()
        stack.callback(here.close)
        stack.callback(there.close)
        peer = ["peer", "name", "card0", "netns", str(there.pid)]
        here.run("ip", "link", "add", "lab0", "type", "veth", *peer)
        for machine, card, *addresses in (
            (here, "lab0", SERVER),
            (there, "card0", CLIENT, STRANGER),
        ):
            for address in addresses:
                machine.run("ip", "address", "add", f"{address}/24", "dev", card)
            machine.run("ip", "link", "set", card, "up")
        yield here, there


class Serving:
    """A behunt that serves in `machine`."""

    def __init__(self, machine: Machine, place: Path, address: str = SERVER) -> None:
        words = [sys.executable, "-c", SERVING, address, NETWORK, place]
        self.process = subprocess.Popen(
            machine.entering(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.place = place
        self.started = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=PATIENCE)

    def tell(self, *words: Any) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def do(self, *words: Any) -> Any:
        answer = self.tell(*words)
        assert "error" not in answer, answer
        return answer["done"]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture
def place(tmp_path: Path) -> Path:
    root = tiny_root(tmp_path / "root")
    (root / FILE_OF_ROOT).write_text(SECRET)
    (root / FILE_OF_ROOT).chmod(0o600)
    for name in ("stage", "upper", "work"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def serving(cable: tuple[Machine, Machine], place: Path) -> Iterator[Serving]:
    with Serving(cable[0], place) as serving:
        assert serving.started == {"done": None}
        yield serving


@pytest.fixture
def client(cable: tuple[Machine, Machine]) -> Client:
    return Client(cable[1])


class Client:
    """libnfs, root on its machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def read(self, path: str) -> str:
        return self.machine.run("nfs-cat", url(path))

    def write(self, path: str, content: Path) -> None:
        self.machine.run("nfs-cp", content, url(path))

    def handle(self, path: str, source: str = CLIENT) -> bytes:
        """Of the directory `path`, as a kernel asks for it."""
        with self._connected(20048, source) as stream:
            stream.sendall(mount3.request(path, 3, 7))
            return mount3.handle(record(stream), 3, 7)

    def attributes(self, handle: bytes) -> int:
        """The status of NFSv3's GETATTR for what has been mounted."""
        root = struct.pack(">2I", 1, 20) + bytes(20) + struct.pack(">2I", 0, 0)  # AUTH_SYS
        call = struct.pack(">6I", 8, 0, 2, mount3.NFS, 3, 1) + root
        call += struct.pack(">I", len(handle)) + handle + bytes(-len(handle) % 4)
        with self._connected(2049, CLIENT) as stream:
            stream.sendall(struct.pack(">I", 1 << 31 | len(call)) + call)
            answer = record(stream)
        status: int = struct.unpack_from(">I", answer, 4 + 24)[0]
        return status

    def over_udp(self, port: int, call: bytes) -> bytes:
        with self.machine.entered():
            own = socket.socket(type=socket.SOCK_DGRAM)
        with own:
            own.settimeout(PATIENCE)
            own.bind((CLIENT, 0))
            own.sendto(call, (SERVER, port))
            return own.recv(4096)

    def _connected(self, port: int, source: str) -> socket.socket:
        with self.machine.entered():
            return socket.create_connection((SERVER, port), PATIENCE, (source, 0))


def url(path: str) -> str:
    return f"nfs://{SERVER}{path}?uid=0&gid=0"


def record(stream: socket.socket) -> bytes:
    """One answer, with its length before it."""
    with stream.makefile("rb") as content:
        mark = content.read(4)
        return mark + content.read(struct.unpack(">I", mark)[0] & ~(1 << 31))


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_root_of_a_machine_is_root_of_its_clone(
    serving: Serving, client: Client, place: Path, tmp_path: Path, kind: str
) -> None:
    assert serving.do("share", "one", kind) == f"{SERVER}:/one"
    assert client.read(f"/one/{FILE_OF_ROOT}") == SECRET
    (tmp_path / "new").write_text("from the machine\n")
    client.write("/one/etc/new", tmp_path / "new")
    assert serving.do("get", "one", "/etc/new") == "from the machine\n"
    assert serving.do("run", "one", ["stat", "-c", "%u", "/etc/new"]) == "0\n"
    assert not (place / "root/etc/new").exists()


def test_what_is_put_into_the_clone_is_there_for_the_machine(
    serving: Serving, client: Client
) -> None:
    serving.do("share", "one", "memory")
    handle = client.handle("/one")
    serving.do("put", "one", "the test\n")
    assert client.read("/one/put") == "the test\n"
    with pytest.raises(subprocess.CalledProcessError):
        client.read("/one/etc/later")
    serving.do("run", "one", ["sh", "-c", "echo more >>/put; cp /put /etc/later"])
    assert client.read("/one/put") == client.read("/one/etc/later") == "the test\nmore\n"
    assert client.attributes(handle) == 0


def test_file_systems_below_a_mounted_clone_are_served_with_it(
    cable: tuple[Machine, Machine], place: Path, client: Client
) -> None:
    mounted = place / "mounted"
    mounted.mkdir()
    with contextlib.ExitStack() as stack:
        for at in (mounted, mounted / "usr"):
            cable[0].run("mount", "-t", "tmpfs", BELOW, at)
            stack.callback(cable[0].run, "umount", at)
            cable[0].run("cp", "-a", f"{place}/root/.", at)
            cable[0].run("mkdir", "-p", at / "usr")
        with Serving(cable[0], place) as serving:
            serving.do("share", "one", "mounted")
            below = f"usr/{FILE_OF_ROOT}"
            assert client.read(f"/one/{below}") == SECRET
            assert serving.do("get", "one", f"/{below}") == SECRET
            assert cable[0].holding(BELOW)
            serving.do("withdraw", "one")
            assert not cable[0].holding(BELOW)  # its dataset can be destroyed


def test_what_is_withdrawn_is_refused_to_whoever_has_it_mounted(
    serving: Serving, client: Client
) -> None:
    serving.do("share", "one", "memory")
    handle = client.handle("/one")
    assert client.attributes(handle) == 0
    serving.do("withdraw", "one")
    assert client.attributes(handle) == STALE
    with pytest.raises(mount3.RefusedError):
        client.handle("/one")
    serving.do("share", "one", "memory")
    assert client.attributes(handle) == STALE
    assert client.attributes(client.handle("/one")) == 0


def test_it_is_withdrawn_although_it_is_in_use(
    serving: Serving, client: Client, place: Path
) -> None:
    serving.do("share", "one", "memory")
    with (place / "big").open("wb") as big:
        big.truncate(1 << 32)
    writing = subprocess.Popen(
        client.machine.entering("nfs-cp", place / "big", url("/one/big")),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + PATIENCE
    while serving.do("run", "one", ["sh", "-c", "test -s /big || echo no"]):
        assert time.monotonic() < until
    serving.do("withdraw", "one")
    assert writing.wait(PATIENCE) != 0
    assert list((place / "server/exports").iterdir()) == []


def test_others_do_not_notice(serving: Serving, client: Client, place: Path) -> None:
    serving.do("share", "stays", "memory")
    content = secrets.token_bytes(1 << 20) * 64
    (place / "big").write_bytes(content)
    copying = subprocess.Popen(
        client.machine.entering("nfs-cp", place / "big", url("/stays/big")),
        stdout=subprocess.DEVNULL,
    )
    comings = 0
    while copying.poll() is None or not comings:
        serving.do("share", "goes", "memory")
        assert client.read(f"/goes/{FILE_OF_ROOT}") == SECRET
        serving.do("withdraw", "goes")
        comings += 1
    assert copying.returncode == 0
    digest = serving.do("run", "stays", ["sha256sum", "/big"]).split()[0]
    assert digest == hashlib.sha256(content).hexdigest()


def test_two_clones_of_one_are_apart(serving: Serving, client: Client, tmp_path: Path) -> None:
    for name in ("one", "two"):
        serving.do("share", name, "memory")
        (tmp_path / "new").write_text(name)
        client.write(f"/{name}/etc/new", tmp_path / "new")
    assert [serving.do("get", name, "/etc/new") for name in ("one", "two")] == ["one", "two"]


def test_nobody_else_is_served(
    serving: Serving, client: Client, cable: tuple[Machine, Machine]
) -> None:
    serving.do("share", "one", "memory")
    with pytest.raises(mount3.RefusedError):
        client.handle("/one", STRANGER)
    listening = cable[0].run("ss", "-H", "-l", "-n", "-t", "-u").split()[4::6]
    assert {name.rpartition(":")[0].strip("[]").removeprefix("::ffff:") for name in listening} == {
        SERVER
    }
    assert {name.rpartition(":")[2] for name in listening} == {"111", "2049", "20048"}


def test_old_loaders_ask_over_udp(serving: Serving, client: Client) -> None:
    serving.do("share", "one", "memory")
    asking = struct.pack(">6I", 5, 0, 2, mount3.PORTMAPPER, 2, 3) + bytes(16)
    answer = client.over_udp(111, asking + struct.pack(">4I", mount3.MOUNT, 3, 17, 0))
    (port,) = struct.unpack(">I", answer[-4:])
    mounting = mount3.request("/one", 3, 7)[4:]
    said = client.over_udp(port, mounting)
    assert mount3.handle(struct.pack(">I", 1 << 31 | len(said)) + said, 3, 7)


def test_mount_8_finds_its_way(serving: Serving, client: Client) -> None:
    serving.do("share", "one", "memory")
    assert client.machine.run("showmount", "--no-headers", "--exports", SERVER).split() == [
        "/one",
        NETWORK,
    ]


def test_who_mounts_is_told(serving: Serving, client: Client) -> None:
    serving.do("share", "one", "memory")
    client.handle("/one")
    for path, source in (("/other", CLIENT), ("/one", STRANGER)):
        with pytest.raises(mount3.RefusedError):
            client.handle(path, source)
    assert serving.do("mounts", "") == [
        ["/one", CLIENT, True],
        ["/other", CLIENT, False],
        ["/one", STRANGER, False],
    ]
    log = (serving.place / "server/ganesha.log").read_text()
    assert str(IPv4Address(CLIENT)) in log


def test_a_name_is_given_once(serving: Serving) -> None:
    serving.do("share", "one", "memory")
    for name in ("one", "../out", ""):
        assert "is taken, or no name" in serving.tell("share", name, "memory")["error"]
    serving.do("withdraw", "one")
    serving.do("share", "one", "memory")


def test_a_root_without_file_handles(
    serving: Serving, cable: tuple[Machine, Machine], place: Path, client: Client
) -> None:
    (place / "layered").mkdir()
    layers = f"lowerdir={place}/root:{place}/stage"
    cable[0].run("mount", "-t", "overlay", "-o", layers, "overlay", place / "layered")
    answer = serving.tell("share", "one", "layered")
    assert "does not export it" in answer["error"]
    serving.do("share", "two", "memory")
    assert client.read(f"/two/{FILE_OF_ROOT}") == SECRET


def test_an_address_that_is_not_ours(cable: tuple[Machine, Machine], place: Path) -> None:
    with Serving(cable[0], place, "10.77.0.9") as serving:
        assert serving.started["error"] == "10.77.0.9 is no address of this machine"


@pytest.mark.parametrize("port", [111, 2049, 20048])
def test_a_port_that_is_taken(cable: tuple[Machine, Machine], place: Path, port: int) -> None:
    with cable[0].entered():
        taken = socket.create_server((SERVER, port))
    with taken, Serving(cable[0], place) as serving:
        assert serving.started["error"] == f"port {port} of {SERVER} is taken"
        assert f"sport = :{port}" in serving.started["hint"]


def test_nothing_is_left_of_a_behunt_that_was_killed(
    cable: tuple[Machine, Machine], place: Path
) -> None:
    here, _ = cable
    with Serving(here, place) as serving:
        for name in ("one", "two"):
            serving.do("share", name, "memory")
        names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in here.others()}
        assert "ganesha.nfsd" in names
        assert here.holding(str(place))
        serving.process.send_signal(signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while (left := here.others() + here.holding(str(place))) and time.monotonic() < until:
        time.sleep(0.01)
    assert left == []
    assert str(place) not in Path(f"/proc/{here.pid}/mountinfo").read_text()
    with Serving(here, place / "again") as again:
        assert again.started == {"done": None}
