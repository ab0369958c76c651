"""`behunt be sharenfs`: a clone that clients of a network read and write, until it is ended."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from behunt_cli import Behunt, releases
from lab_net import ADDRESS, LabNet, lab
from running import PATIENCE
from tiny_root import tiny_root

from behunt.storage.home import Home

pytestmark = pytest.mark.real
NAME = "demo-1-amd64"


@pytest.fixture
def net(tmp_path: Path) -> Iterator[LabNet]:
    with lab(tmp_path / "lab") as net:
        net.write()
        yield net


@pytest.fixture
def behunt(tmp_path: Path, net: LabNet) -> Behunt:
    (tmp_path / "place").mkdir()
    root = tiny_root(tmp_path / "root")
    (root / "etc/beside").write_text("of the release\n")
    releases(tmp_path / "place/builds.toml", [1], source=str(root))
    return Behunt(tmp_path / "place", tmp_path / "home", prefix=net.enter)


SHARE = ("be", "sharenfs", "--catalogue", "builds.toml", "1")


def url(path: str, name: str = NAME) -> str:
    return f"nfs://{ADDRESS}/{name}/{path}?version=3&uid=0&gid=0"


def read(net: LabNet, path: str) -> str:
    return net.run("nfs-cat", url(path))


def refused(net: LabNet) -> bool:
    argv = [*net.enter, "timeout", "20", "nfs-ls", url("")]
    return subprocess.run(argv, capture_output=True, check=False).returncode != 0


def nothing_is_left(behunt: Behunt, net: LabNet) -> None:
    assert refused(net)
    assert net.processes() == set()
    home = Home(behunt.home)
    left = [*home.machines.iterdir(), *home.clones.iterdir(), *home.locks.glob("owner.*")]
    assert left == []
    assert str(behunt.home) not in Path("/proc/self/mountinfo").read_text()


def test_it_is_read_and_written_until_ctrl_c(behunt: Behunt, net: LabNet, tmp_path: Path) -> None:
    with behunt.start(*SHARE, "--lab", net.file) as serving:
        assert serving.stdout is not None
        line = serving.stdout.readline()
        assert line == f"mount -t nfs -o vers=3,tcp,nolock,noacl {ADDRESS}:/{NAME} /mnt\n"
        assert read(net, "etc/beside") == "of the release\n"
        (tmp_path / "new").write_text("of a client\n")
        net.run("nfs-cp", str(tmp_path / "new"), url("etc/new"))
        assert read(net, "etc/new") == "of a client\n"
        again = behunt(*SHARE, "--lab", net.file)
        assert (again.code, again.out) == (1, "")
        assert f"{NAME} is shared already" in again.err
        serving.send_signal(signal.SIGINT)
        _, err = serving.communicate(timeout=PATIENCE)
    assert serving.returncode == 0, err
    assert f"serving {NAME} to 10.77.0.0/24; Ctrl-C ends it" in err
    nothing_is_left(behunt, net)
    with behunt.start(*SHARE, "--lab", net.file) as serving:
        assert serving.stdout is not None
        serving.stdout.readline()
        assert "new" not in net.run("nfs-ls", url("etc")), "the clone is another"
        serving.terminate()
        serving.communicate(timeout=PATIENCE)


def test_it_goes_on_in_the_background(behunt: Behunt, net: LabNet) -> None:
    done = behunt(*SHARE, "--network", "10.77.0.0/25", "--background")
    assert (done.code, done.out) == (
        0,
        f"mount -t nfs -o vers=3,tcp,nolock,noacl {ADDRESS}:/{NAME} /mnt\n",
    )
    assert "`" not in done.err
    assert read(net, "etc/beside") == "of the release\n"
    said = behunt.fails(2, "be", "unsharenfs", "other", says="other is not shared")
    assert f"shared: {NAME}" in said
    assert behunt("be", "unsharenfs", "1").out == f"{NAME} is served no more\n"
    nothing_is_left(behunt, net)
    behunt.fails(2, "be", "unsharenfs", NAME, says=f"{NAME} is not shared")


def test_what_goes_wrong_in_the_background_is_told(behunt: Behunt) -> None:
    words = (*SHARE, "--background")
    behunt.fails(2, *words, "--network", "10.99.0.0/24", says="no address in 10.99.0.0/24")
    address = ("--address", "10.77.0.9", "--network", "10.77.0.0/24")
    behunt.fails(1, *words, *address, says="10.77.0.9")
    behunt.fails(2, "be", "unsharenfs", NAME, says=f"{NAME} is not shared")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--network", "0.0.0.0/0"), "served to everybody"),
        (("--network", "lab"), "'lab'"),
        (("--address", "10.77.0.300"), "10.77.0.300"),
        (("--address", "10.77.0.9"), "10.77.0.9 is no address of this machine"),
        (("--lab", "gone.toml"), "cannot read gone.toml"),
    ],
)
def test_a_network_that_cannot_be_served(behunt: Behunt, words: tuple[str, ...], says: str) -> None:
    behunt.fails(2, *SHARE, *words, says=says)


def test_one_that_was_killed_is_shared_no_more(behunt: Behunt, net: LabNet) -> None:
    with behunt.start(*SHARE, "--address", ADDRESS) as serving:
        assert serving.stdout is not None
        serving.stdout.readline()
        serving.kill()
        serving.communicate()
    behunt.fails(2, "be", "unsharenfs", NAME, says=f"{NAME} is not shared")
    done = behunt(*SHARE, "--address", ADDRESS, "--background")
    assert done.code == 0, done
    assert behunt("be", "unsharenfs", NAME).code == 0
    nothing_is_left(behunt, net)
