"""The runner bhyve, on a host by ssh: docs/vm-hosts.md, and what goes wrong there.

The host is tests/stand_ins/freebsd-13.2. Its machines show what a real 13.2 showed.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import sshd
import vm_hosts
from behunt_cli import Done, executable
from release_sets import freebsd_world, kernel_file, manifest, split, txz
from running import Running
from vm_hosts import Lab

from behunt.hosts.local import LocalHost, Prefixed
from behunt.hosts.protocol import CLEAN_ENV
from behunt.model import Release
from behunt.runners.bhyve import BhyveRunner
from behunt.runners.vm import away, exchange_disk
from behunt.runners.vm.bhyve_root import InRoot
from behunt.runners.vm.exchange_disk import File
from behunt.storage.home import Home

pytestmark = pytest.mark.real

PAGE = vm_hosts.TESTS.parent / "docs/vm-hosts.md"
STORE = "zfs:zroot/behunt"
_MACHINES = "ls -A /dev/vmm /var/tmp | grep bh_"
_VOLUMES = "zfs list -H -t volume -o name"


def publish(directory: Path, version: str) -> None:
    at = directory / f"FreeBSD-Archive/old-releases/amd64/{version}-RELEASE"
    at.mkdir(parents=True)
    base = freebsd_world(directory.parent / f"world-{version}", version, runs=True)
    own = {
        "uname": f"echo {version}-RELEASE",
        "kldload": ":",
        "sysctl": "cat /panic.log >/dev/console; >/dev/reset; exec sleep 100",
    }
    vm_hosts.world(base, own)
    (base / "usr/sbin").mkdir()
    if version == "13.2":
        (base / "boot").mkdir(exist_ok=True)
        (base / "boot/loader.efi").write_text("loader.efi of 13.2\n")
    if version != "11.1":
        (base / "usr/sbin/named").symlink_to("/bin/true")
    panic = (vm_hosts.TESTS / "transcripts/console-panic-13.2.log").read_bytes()
    (base / "panic.log").write_bytes(panic[panic.index(b"panic: kdb") :])
    kernel = directory.parent / f"kernel-{version}"
    kernel_file(kernel / "boot/kernel/kernel", version)
    if version != "7.4":
        manifest(at, {"base": txz(at, "base", base), "kernel": txz(at, "kernel", kernel)})
    else:
        split(at / "base", "base", base, ["md5", "sha256"])
        (kernel / "boot/kernel").rename(kernel / "GENERIC")
        split(at / "kernels", "generic", kernel / "GENERIC", ["md5", "sha256"], top="GENERIC")


@pytest.fixture(scope="module")
def pub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sets") / "pub"
    for version in ("7.4", "9.3", "11.1", "13.2"):
        publish(place, version)
    return place


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One for all tests here: a release is installed once."""
    with vm_hosts.running(tmp_path_factory.mktemp("hosts"), "freebsd-13.2", STORE) as lab:
        yield lab


def run(lab: Lab, pub: Path, body: str, *words: str) -> list[str | Path]:
    test = executable(lab.behunt.place / "test.sh", body)
    asked = ("--runner", "bhyve", "--fresh", "--retries", "0", *words, "--mirror", pub)
    release = () if any(word.startswith("freebsd-") for word in words) else ("freebsd-9.3",)
    return ["run", *asked, *release, test]


def blocks(kind: str) -> list[str]:
    """What the page has between ```kind and ```, in order."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_page_is_typed_as_it_stands(lab: Lab, pub: Path) -> None:
    [script] = [block for block in blocks("sh") if block.startswith("#!")]
    (lab.behunt.place / "test.sh").write_text(script)
    (lab.behunt.place / "test.sh").chmod(0o755)
    typed: dict[str, Done] = {}
    for line in "".join(blocks("sh")).splitlines():
        if line.startswith("behunt "):
            _, *words = shlex.split(line.replace(" /pub", f" {pub}"))
            typed[line] = done = lab(*words)
            # What lies between the two releases is not there; doctor looks at this machine, too.
            codes = {0, 1} if "doctor" in line else {3} if "bisect" in line else {0}
            assert done.code in codes, (line, done.err)
    [hunt] = [done for line, done in typed.items() if "bisect" in line]
    assert "Broke after FreeBSD 9.3 and by FreeBSD 11.1" in hunt.out
    assert re.search(r"^ *ok +bhyve ", typed["behunt doctor"].out, re.MULTILINE)
    assert lab("be", "destroy", "zroot/behunt/freebsd-11.1-amd64").code == 0


def asked(lab: Lab, pub: Path, body: str, *words: str) -> dict[str, Any]:
    """How a run in FreeBSD 9.3 ended; nothing is left of it on the host."""
    done = lab(*run(lab, pub, body, "--json", *words))
    assert done.out, done.err
    assert lab.there(_MACHINES) == []
    [volume] = lab.there(_VOLUMES)
    assert volume.startswith("zroot/behunt/freebsd-9.3-amd64:disk.")
    return dict(done.json)


def test_the_kernel_is_the_releases_own(lab: Lab, pub: Path) -> None:
    trial = asked(lab, pub, 'echo "$BEHUNT_RUNNER on $(uname -r)" >"$BEHUNT_OUT/it"')
    assert (trial["outcome"], trial["kernel"]) == ("passed", "9.3-RELEASE")
    assert (Path(trial["out"]) / "it").read_text() == "bhyve on 9.3-RELEASE\n"


def test_what_is_printed_is_the_tests(lab: Lab, pub: Path) -> None:
    trial = asked(lab, pub, "seq 20000; printf 'no newline: behunt: '; exit 3")
    assert (trial["outcome"], trial["exit_code"]) == ("failed", 3)
    printed = "".join(f"{n}\n" for n in range(1, 20001))
    assert Path(trial["log"]).read_text() == f"{printed}no newline: behunt: "


@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        ("sysctl debug.kdb.panic=1", "panicked", "panic: kdb_sysctl_panic"),
        ("halt -p", "panicked", "the machine went down under the test: it powered off"),
        ("reboot", "panicked", "the machine went down under the test: it rebooted"),
        ("pkill -9 -f bhyve; sleep 100", "timeout", ""),
        ("yes", "timeout", ""),
    ],
)
def test_how_a_machine_can_end(lab: Lab, pub: Path, body: str, outcome: str, reason: str) -> None:
    trial = asked(lab, pub, body, "--timeout", "4s")
    assert trial["outcome"] == outcome
    assert reason in trial["reason"]


def test_a_machine_that_does_not_boot(lab: Lab, pub: Path) -> None:
    """The loader waits at its prompt for somebody to tell it of a kernel."""
    trial = asked(lab, pub, "true", "--set", "base")
    assert trial["outcome"] == "broken"
    assert "did not boot: unbootable: can't load 'kernel'" in trial["reason"]


@pytest.mark.parametrize(
    ("vmm", "says"),
    [
        ("none", "the kernel of fbsd.lab has not loaded vmm"),
        ("emulated", "makes no virtual machine (vm_create: Device not configured)"),
    ],
)
def test_a_host_that_makes_no_machines(tmp_path: Path, vmm: str, says: str) -> None:
    words = (f"PATH={vm_hosts.STAND_INS}/freebsd-13.2:{CLEAN_ENV['PATH']}", f"STAND_IN_VMM={vmm}")
    host = Prefixed(LocalHost(), ("env", *words), "fbsd.lab")
    assert says in BhyveRunner(host, home=Home(tmp_path)).missing()


def test_an_exchange_disk_goes_there_and_back(tmp_path: Path) -> None:
    disk, there = tmp_path / "disk", tmp_path / "there"
    exchange_disk.write(disk, [File("a", os.urandom(3 << 20))], 100 << 20)
    content = disk.read_bytes()
    carried = away.OnDisk(LocalHost(), PurePosixPath(there))
    carried.send(disk)
    assert there.read_bytes() == content
    carried.fetch(disk)
    assert disk.read_bytes() == content
    assert disk.stat().st_blocks * 512 < 5 << 20


def test_an_exchange_disk_may_be_a_directory_of_a_root(tmp_path: Path) -> None:
    disk, inside = tmp_path / "disk", tmp_path / "root/behunt"
    inside.mkdir(parents=True)
    (inside / ".init").touch()
    carried = InRoot(LocalHost(), PurePosixPath(tmp_path / "root"))
    exchange_disk.write(disk, [File(".job", b"exit"), File("a b", b"1")], 100 << 20)
    carried.send(disk)
    assert {path.name for path in inside.iterdir()} == {".init", ".job", "a b"}
    (inside / "out").mkdir()
    (inside / "out/-x").write_text("2")
    (inside / "secret").symlink_to("/etc/shadow")
    os.mkfifo(inside / "fifo")
    assert came(carried, disk, tmp_path / "one") == {"a b", "out/-x"}
    inside.rename(tmp_path / "elsewhere")
    inside.symlink_to(tmp_path / "elsewhere")  # what it leads to is the host's
    assert came(carried, disk, tmp_path / "two") == set()


def came(carried: InRoot, disk: Path, found: Path) -> set[str]:
    found.mkdir()
    carried.fetch(disk)
    return set(exchange_disk.read(disk, found).files)


def test_what_a_killed_behunt_left_goes_with_the_next(lab: Lab, pub: Path) -> None:
    place = ("--host", sshd.ALIAS, "--store", STORE)
    with Running(lab.behunt, *run(lab, pub, "sleep 4711", *place)) as running:
        lab.there("until pgrep -f '[s]leep 4711'; do sleep 0.1; done")
        running.signalled(signal.SIGKILL)
    lab.there("while pgrep -f '[s]leep 4711'; do sleep 0.1; done")
    left = lab.there(f"{_MACHINES}; {_VOLUMES}")
    assert [name for name in left if name.startswith("bh_")]
    assert [name for name in left if name.endswith(":disk")]
    assert lab("be", "list").code == 0
    assert lab.there(_MACHINES) == []
    assert not [name for name in lab.there(_VOLUMES) if name.endswith(":disk")]


def test_ctrl_c_leaves_nothing(lab: Lab, pub: Path) -> None:
    place = ("--host", sshd.ALIAS, "--store", STORE)
    with Running(lab.behunt, *run(lab, pub, "sleep 4711", *place)) as running:
        lab.there("until pgrep -f '[s]leep 4711'; do sleep 0.1; done")
        assert running.signalled(signal.SIGINT).code == 130
    assert lab.there(_MACHINES) == []
    assert not [name for name in lab.there(_VOLUMES) if name.endswith(":disk")]


# -- UEFI

NEW = "freebsd-13.2-amd64"


def test_with_the_hosts_firmware_its_own_loader_boots_it(lab: Lab, pub: Path) -> None:
    firmware = "/usr/local/share/uefi-firmware"
    disks = []
    for make in ("true", f"/bin/mount -t tmpfs none /usr/local/share && mkdir {firmware}"):
        lab.there(f"{make}; test ! -d {firmware} || echo >{firmware}/BHYVE_UEFI.fd")
        done = lab(*run(lab, pub, "uname -r", "--json", NEW))
        assert done.json["outcome"] == "passed", done
        disks.append(lab.there(f"zfs list -H -t volume -o name | grep '{NEW}:disk'"))
    lab.there("/bin/umount /usr/local/share")
    assert len(disks[0]) == len(disks[1]) == 1
    assert disks[0] != disks[1]
    assert lab("be", "destroy", f"zroot/behunt/{NEW}").code == 0
    assert lab("be", "list").code == 0


# -- a root by NFS

OLD = "freebsd-7.4-amd64"
# Interfaces, what is exported, what is mounted for it, machines and their places
_LEFT = (
    f"{_MACHINES}; ls /run/freebsd/taps; cat /run/freebsd/exports; "
    "grep /var/tmp/bh_ /proc/mounts; zfs list -H -o name | grep :disk$"
)


def by_nfs(lab: Lab, pub: Path, body: str, *words: str) -> dict[str, Any]:
    done = lab(*run(lab, pub, body, "--json", *words, OLD))
    assert done.out, done.err
    assert lab.there(_LEFT) == []
    return dict(done.json)


def test_where_bhyve_has_no_disk_the_root_comes_by_nfs(lab: Lab, pub: Path) -> None:
    body = 'seq 3; uname -r >"$BEHUNT_OUT/it"; cat /etc/fstab >"$BEHUNT_OUT/fstab"; exit 3'
    trial = by_nfs(lab, pub, body)
    assert (trial["outcome"], trial["exit_code"]) == ("failed", 3), trial
    assert trial["kernel"] == "7.4-RELEASE"
    assert Path(trial["log"]).read_text() == "1\n2\n3\n"
    out = Path(trial["out"])
    assert (out / "it").read_text() == "7.4-RELEASE\n"
    root = r"198\.18\.0\.1:/var/tmp/bh_\w+\.root / nfs rw 0 0\n"
    assert re.fullmatch(root, (out / "fstab").read_text())


def test_each_run_has_a_root_of_its_own(lab: Lab, pub: Path) -> None:
    body = "test ! -e /etc/mine && echo >/etc/mine"
    assert [by_nfs(lab, pub, body)["outcome"] for _ in range(2)] == ["passed", "passed"]
    [made] = lab.there(f"zfs list -H -o name | grep '{OLD}:disk'")
    assert lab.there(f"zfs get -H -o value mountpoint {made}") == ["none"]


def test_what_a_machine_leaves_that_dies_comes_with_its_root(lab: Lab, pub: Path) -> None:
    trial = by_nfs(lab, pub, 'echo here >"$BEHUNT_OUT/it"; sysctl debug.kdb.panic=1')
    assert trial["outcome"] == "panicked"
    assert "panic: kdb_sysctl_panic" in trial["reason"]
    assert (Path(trial["out"]) / "it").read_text() == "here\n"


def test_what_a_killed_behunt_left_of_a_root_goes_too(lab: Lab, pub: Path) -> None:
    place = ("--host", sshd.ALIAS, "--store", STORE)
    with Running(lab.behunt, *run(lab, pub, "sleep 4712", *place, OLD)) as running:
        lab.there("until pgrep -f '[s]leep 4712'; do sleep 0.1; done")
        running.signalled(signal.SIGKILL)
    lab.there("while pgrep -f '[s]leep 4712'; do sleep 0.1; done")
    left = lab.there(_LEFT)
    assert "tap0" in left
    assert [row for row in left if "-maproot=root -network=198.18.0.0/30" in row]
    assert lab("be", "list").code == 0
    assert lab.there(_LEFT) == []


@pytest.mark.parametrize(
    ("nfs", "lacks"), [("none", "rpcbind and mountd and nfs_server"), ("tcp", "nfs_server")]
)
def test_a_host_that_serves_no_nfs(tmp_path: Path, nfs: str, lacks: str) -> None:
    words = (f"PATH={vm_hosts.STAND_INS}/freebsd-13.2:{CLEAN_ENV['PATH']}", f"STAND_IN_NFS={nfs}")
    host = Prefixed(LocalHost(), ("env", *words), "fbsd.lab")
    runner = BhyveRunner(host, home=Home(tmp_path))
    assert f"for a root by NFS {lacks} must run on fbsd.lab" in runner.unfit(
        Release(OLD, "freebsd", "7.4", "amd64")
    )
    assert runner.unfit(Release("freebsd-8.0-amd64", "freebsd", "8.0", "amd64")) == ""
