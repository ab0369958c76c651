"""A real mountd is asked for a handle, which its NFS server then knows: nfs-ganesha's."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from behunt.errors import HostError
from behunt.hosts.local import LocalHost, Prefixed
from behunt.hosts.protocol import Host
from behunt.netboot import mount3
from behunt.netboot.mount3 import NFS, RefusedError, Service
from behunt.runners.vm.nfs_root import asked, handle_of

pytestmark = pytest.mark.real

SERVER = "198.18.0.1"
_CONF = """
NFS_CORE_PARAM {{
  Protocols=3; Bind_addr={server}; mount_path_pseudo=true; Enable_NLM=false; Enable_RQUOTA=false;
}}
EXPORT_DEFAULTS {{ Access_Type=RW; Squash=No_Root_Squash; SecType=sys; Transports=TCP; }}
EXPORT {{ Export_Id=1; Path={place}/be; Pseudo={place}/be; FSAL {{ Name=VFS; }} }}
EXPORT {{
  Export_Id=2; Path={place}/other; Pseudo={place}/other; FSAL {{ Name=VFS; }} Access_Type=NONE;
  CLIENT {{ Clients=198.18.0.2; Access_Type=RW; }}
}}
"""
# Of its own network, and its own places for what daemons leave. It ends with its standard input.
_START = """
mount -t tmpfs none /run && mkdir /run/rpcbind /run/ganesha || exit
mount -t tmpfs none /var/lib/nfs && mkdir /var/lib/nfs/ganesha || exit
ip link set lo up && ip addr add "$2/30" dev lo && rpcbind -w || exit
ganesha.nfsd -F -f "$1/conf" -L "$1/log" -p /run/ganesha.pid <&- >&- 2>&- &
echo $$
read -r end
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("server")
    for name in ("be", "other"):
        (place / name).mkdir()
    (place / "conf").write_text(_CONF.format(server=SERVER, place=place))
    return place


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Host]:
    """A host that serves NFS to 198.18.0.0/30."""
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with contextlib.ExitStack() as ending:
        daemons = ending.enter_context(
            subprocess.Popen(
                [*argv, "sh", "-c", _START, "sh", str(place), SERVER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        ending.callback(daemons.kill)
        assert daemons.stdout
        daemons.stdout.readline()
        [child] = Path(f"/proc/{daemons.pid}/task/{daemons.pid}/children").read_text().split()
        enter = ("nsenter", "--net", "--mount", "--pid", "--target", child)
        host = Prefixed(LocalHost(), enter, "server")
        deadline = time.monotonic() + 60
        log = place / "log"
        while not log.exists() or "NFS SERVER INITIALIZED" not in log.read_text():
            assert time.monotonic() < deadline, host.run(["rpcinfo", "-p"])
            assert daemons.poll() is None
        yield host


def listed(host: Host) -> dict[Service, int]:
    return mount3.services(host.run(["rpcinfo", "-p"]).out)


def said(host: Host, port: int, call: bytes) -> bytes:
    pieces: list[bytes] = []
    script = '{ cat; sleep 1; } | nc -N -w 10 -s "$1" -p 599 "$1" "$2"'
    host.run(["sh", "-c", script, "sh", SERVER, str(port)], stdin=call, sink=pieces.append)
    return b"".join(pieces)


def test_a_handle_is_that_of_the_directory(server: Host, place: Path) -> None:
    handle = handle_of(server, SERVER, f"{place}/be", 3)
    padded = handle + bytes(-len(handle) % 4)
    head = (9, 0, 2, NFS, 3, 1)  # GETATTR, as root
    call = struct.pack(">16I", *head, 1, 20, 0, 0, 0, 0, 0, 0, 0, len(handle)) + padded
    port = listed(server)[Service(NFS, 3, "tcp")]
    answer = said(server, port, struct.pack(">I", 1 << 31 | len(call)) + call)
    # A mark, the head of a reply, and fattr3 (RFC 1813, 2.6): a directory, and its inode
    assert struct.unpack_from(">9I", answer)[1:] == (9, 1, 0, 0, 0, 0, 0, 2)
    [inode] = struct.unpack_from(">Q", answer, 32 + 52)
    assert inode == (place / "be").stat().st_ino


def test_what_is_not_exported_has_none(server: Host, place: Path) -> None:
    with pytest.raises(RefusedError, match="it is not exported to who asked"):
        asked(server, SERVER, f"{place}/other", 3)
    with pytest.raises(RefusedError, match="mountd gives no handle"):
        asked(server, SERVER, "/nowhere", 3)


def test_a_version_that_it_does_not_serve(server: Host, place: Path) -> None:
    """The call is understood as one of MOUNT 1, of which this mountd has no MNT."""
    with pytest.raises(HostError, match=r"does not do that call \(3\)"):
        asked(server, SERVER, f"{place}/be", 2)
