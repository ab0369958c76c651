"""Boot environments of another machine, which has its base system, OpenZFS and sshd: no Python."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from be_operator import Operator, hunt, own_releases, pub, working
from behunt_cli import Behunt, executable
from guest import Machine, started

from behunt.hosts.ssh import SshHost
from behunt.storage.home import Home

# The first builds the machine, if it is not kept.
pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

HOST = ("--host", "root@guest")
ROOT = "tank/remote"
NEWEST = "demo-3-amd64"  # is asked first
# Has behunt read our configuration of ssh as if it were this machine's.
CONFIGURED = 'mount --bind "$1" /etc/ssh/ssh_config; shift; exec "$@"'
# Something that the inside sees, and that this test decides: until it is 1 release 3 runs on.
GATE = "/proc/sys/kernel/printk_ratelimit"
ASKS = f"""\
v=$(cat /etc/version)
[ $v != 3 ] || until [ $(cat {GATE}) = 1 ]; do sleep 0.1; done
[ $v -lt 3 ]
"""
# Who runs inside release 3, once somebody does.
INSIDE = """\
until pid=$(grep -ls BEHUNT_VERSION=3 /proc/[0-9]*/environ | head -n 1) && [ -n "$pid" ]
do sleep 0.1; done
pid=${pid#/proc/}; pid=${pid%/environ}
"""
LATEST = 900.0  # seconds until somebody does, with a lot of others on this machine
# Ends the connection that it came by.
DROP = """\
while [ "$(cat /proc/$pid/comm)" != sshd-session ]; do read -r _ _ _ pid _ </proc/$pid/stat; done
kill -9 $pid
"""
KERNEL_NFS = "modprobe nfsd; mount -t nfsd nfsd /proc/fs/nfsd; rpcbind; rpc.mountd; rpc.nfsd -N 4 2"
LEFT = "grep -ls BEHUNT_VERSION /proc/[0-9]*/environ; ls -d /run/behunt/*/*:*"


@pytest.fixture(scope="module")
def far() -> Iterator[Machine]:
    with started() as far:
        far.run(["sh", "-c", "rm -f /usr/bin/python3* /usr/local/bin/python3*"])
        assert far.run(["python3", "-c", ""], check=False).code == 127
        yield far


@pytest.fixture(scope="module")
def machine(far: Machine) -> Iterator[SshHost]:
    with SshHost("guest", ("-F", str(far.ssh_config))) as host:
        yield host


@pytest.fixture
def behunt(far: Machine, tmp_path: Path) -> Behunt:
    return configured(Behunt.below(tmp_path), far.ssh_config)


@pytest.fixture
def operator(behunt: Behunt, machine: SshHost) -> Iterator[Operator]:
    with working(behunt, machine, ROOT, *HOST) as operator:
        yield operator


def configured(behunt: Behunt, config: Path) -> Behunt:
    prefix = ("unshare", "--mount", "sh", "-c", CONFIGURED, "sh", str(config))
    return replace(behunt, prefix=prefix)


def test_the_life_of_a_boot_environment(operator: Operator, tmp_path: Path) -> None:
    name = f"{ROOT}/test"
    operator.machine.run(["mkdir", "-p", "/srv"])  # empty, and the layout has one as well
    assert operator.be("create", "-l", "linux", name).out == f"created {name}\n"
    words = ("-o", "FreeBSD", "-r", "11.1", "-p", pub(tmp_path), name)
    assert operator.be("install", *words).out.startswith("test  ")
    where = operator.be("mount", name).out.strip()
    assert "11.1-RELEASE" in operator.read(f"{where}/bin/freebsd-version")
    assert operator.read(f"{where}/lib/a file") == "with a blank in its name\n"
    operator.write(f"{where}/var/log/mine", "kept\n")
    row = operator.rows()["test"]
    assert (row["state"], row["release"]) == ("installed", "freebsd-11.1-amd64")
    assert row["mountpoint"] == where
    operator.be("umount", name)
    assert operator.mounts() == []
    assert operator.be("snapshot", f"{name}@before").out == f"{name}@before\n"
    operator.refused("destroy", name, says="before")
    operator.be("destroy", "--force", name)
    assert operator.datasets() == []
    assert operator.has("/srv")


def test_what_boots_next(operator: Operator) -> None:
    name = f"{ROOT}/test"
    operator.be("create", "-l", "flat", name)
    try:
        assert f"{name} boots next" in operator.be("activate", name).out
        assert operator.rows()["test"]["active"] == "R"
        operator.refused("destroy", name, says=f"boots from {name}")
    finally:
        operator.machine.run(["zpool", "set", "bootfs=", "tank"], check=True)


def test_a_hunt_that_is_killed_and_then_loses_its_connection(
    operator: Operator, far: Machine, tmp_path: Path
) -> None:
    far.run(["tee", GATE], stdin=b"5")
    test = executable(tmp_path / "test.sh", ASKS)
    words = hunt(operator, own_releases(tmp_path, range(2, 4)), test)
    with operator.behunt.start(*words) as hunting:
        far.run(["sh", "-c", INSIDE], timeout=LATEST)
        hunting.kill()
        hunting.communicate()
    assert any(":run." in name for name in operator.datasets())
    assert list(operator.rows()) == [NEWEST]  # whatever starts next clears away
    assert operator.datasets() == [NEWEST]
    assert operator.mounts() == []
    assert operator.machine.run(["sh", "-c", LEFT]).out == ""

    with operator.behunt.start(*words, "--json") as hunting:
        far.run(["sh", "-c", INSIDE + DROP], timeout=LATEST)
        far.run(["tee", GATE], stdin=b"1")
        out, err = hunting.communicate()
    assert hunting.returncode == 0, err
    assert "broken: the connection to root@guest was lost, once more" in err
    assert json.loads(out)["first_bad"] == NEWEST
    assert {row["state"] for row in operator.rows().values()} == {"installed"}
    assert operator.mounts() == []
    entered = operator.be("chroot", f"{ROOT}/{NEWEST}", "--", "cat", "/etc/version")
    assert entered.out == "3"


def test_it_shares_a_clone_itself(operator: Operator, far: Machine, tmp_path: Path) -> None:
    name = f"{ROOT}/test"
    operator.be("create", "-l", "flat", name)
    operator.be("install", "-o", "FreeBSD", "-r", "11.1", "-p", pub(tmp_path), name)
    words = ("--network", "10.0.2.0/24", name)
    operator.refused("sharenfs", *words, says="add --zfs")
    operator.refused("sharenfs", "--zfs", *words, says="does not run on root@guest", code=1)
    far.run(["sh", "-ec", KERNEL_NFS])
    told = operator.be("sharenfs", "--zfs", "--background", *words).out
    mount = told.removesuffix(" /mnt\n")
    assert f"10.0.2.15:/run/behunt/{Home(operator.behunt.home).id}/run." in mount
    read = far.run(["sh", "-c", f"{mount} /mnt; cat /mnt/bin/freebsd-version; umount /mnt"])
    assert "11.1-RELEASE" in read.out
    assert operator.behunt("be", "unsharenfs", name).code == 0
    assert far.run(["exportfs", "-s"]).out == ""
    assert operator.datasets() == ["test"]


def test_a_release_is_installed_by_its_name(operator: Operator, tmp_path: Path) -> None:
    words = (*operator.store[-2:], "--catalogue", own_releases(tmp_path, [3]), "demo-3")
    assert operator.be("install", *words).out.startswith(NEWEST)
    assert operator.rows()[NEWEST]["state"] == "installed"


def test_what_is_not_ours_stays(operator: Operator) -> None:
    operator.zfs("create", "-o", "mountpoint=none", ROOT)
    operator.zfs("create", f"{ROOT}/foreign")
    operator.refused("destroy", f"{ROOT}/foreign", says="is not behunt's")
    operator.refused("create", "nopool/x/test", says="pool nopool", code=1)
    assert operator.datasets() == ["foreign"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"UserKnownHostsFile": "/dev/null"}, "the host key of root@guest is not known here"),
        ({"UserKnownHostsFile": "{other}"}, "the host key of root@guest is not the one it had"),
        ({"Port": "{closed}"}, "nothing listens on port"),
        ({"PubkeyAuthentication": "no"}, "root@guest refuses the login"),
    ],
)
def test_a_host_that_cannot_be_reached_is_told(
    behunt: Behunt, far: Machine, tmp_path: Path, given: dict[str, str], says: str
) -> None:
    other = tmp_path / "other"
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIJxUUlUYz1Tu8SYYeUDKbU0kHSUcjpXJPIkAUjUCHCLG"
    other.write_text(f"[127.0.0.1]:{far.port} ssh-ed25519 {key}\n")
    with socket.create_server(("127.0.0.1", 0)) as asked:
        closed = str(asked.getsockname()[1])
    changed = [
        f"  {name} {value.format(other=other, closed=closed)}" for name, value in given.items()
    ]
    config = tmp_path / "ssh_config"
    # the first value counts
    config.write_text("\n".join(["Host guest", *changed, far.ssh_config.read_text()]))
    words = ("be", "list", *HOST, "--store", f"zfs:{ROOT}")
    configured(behunt, config).fails(1, *words, says=says)
