"""The runner vmm, on a host by ssh: tests/stand_ins/openbsd-7.7. Boot environments are here."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bsd_sets
import pytest
import sshd
import vm_hosts
from behunt_cli import executable
from running import Running
from tiny_root import tiny_root
from vm_hosts import Lab

from behunt.hosts.local import LocalHost, Prefixed
from behunt.hosts.protocol import CLEAN_ENV
from behunt.runners.vmm import VmmRunner
from behunt.storage.home import Home

pytestmark = pytest.mark.real

VERSION = "5.4"  # the last that nobody had to sign
_LEFT = "ls -A /var/tmp; vmctl status | grep bh_; vnconfig -l | grep bh_; grep bh_ /proc/mounts"
_KEPT = "ls /var/db/behunt/*"


def publish(directory: Path) -> None:
    sets = directory / f"pub/OpenBSD/{VERSION}/amd64"
    bsd_sets.openbsd(sets, VERSION)
    world = tiny_root(directory / "world")
    vm_hosts.world(world, {"uname": f"echo {VERSION}"})
    (world / "dev").mkdir(exist_ok=True)
    executable(world / "dev/MAKEDEV", 'test "$1" = all && touch made')
    base = sets / "base54.tgz"
    base.unlink()
    bsd_sets.run("tar", "--owner=0", "--group=0", "-C", world, "-czf", base, ".")
    bsd_sets.digests(sets, "sha256sum", "SHA256")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One for all tests here: a release is installed once."""
    place = tmp_path_factory.mktemp("hosts")
    publish(place)
    with vm_hosts.running(place, "openbsd-7.7") as lab:
        yield lab


def run(lab: Lab, body: str, *words: str) -> list[str | Path]:
    test = executable(lab.behunt.place / "test.sh", body)
    asked = ("--runner", "vmm", "--fresh", "--retries", "0", *words)
    pub = lab.behunt.place.parent
    return ["run", *asked, "--set", "bsd", "--set", "base", "-p", pub, "openbsd-5.4", test]


def asked(lab: Lab, body: str, *words: str) -> dict[str, Any]:
    """How a run ended; nothing but what is kept is left of it."""
    done = lab(*run(lab, body, "--json", *words))
    assert done.out, done.err
    assert lab.there(_LEFT) == []
    assert [name.partition(".")[2] for name in lab.there(_KEPT)] == ["bsd", "qcow2"]
    return dict(done.json)


def test_the_kernel_is_the_releases_own(lab: Lab) -> None:
    trial = asked(lab, 'echo "$BEHUNT_RUNNER on $(uname -r)" >"$BEHUNT_OUT/it"')
    assert (trial["outcome"], trial["kernel"]) == ("passed", VERSION)
    assert (Path(trial["out"]) / "it").read_text() == "vmm on 5.4\n"


def test_what_is_printed_is_the_tests(lab: Lab) -> None:
    trial = asked(lab, "seq 5000; exit 3")
    assert (trial["outcome"], trial["exit_code"]) == ("failed", 3)
    assert Path(trial["log"]).read_text() == "".join(f"{n}\n" for n in range(1, 5001))


@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        ("halt -p", "panicked", "the machine went down under the test: it powered off"),
        ("reboot", "panicked", "behunt: ready"),
        ("sleep 100", "timeout", ""),
    ],
)
def test_how_a_machine_can_end(lab: Lab, body: str, outcome: str, reason: str) -> None:
    trial = asked(lab, body, "--timeout", "4s")
    assert trial["outcome"] == outcome
    assert reason in trial["reason"]


def test_a_host_without_vmd(tmp_path: Path) -> None:
    words = (f"PATH={vm_hosts.STAND_INS}/openbsd-7.7:{CLEAN_ENV['PATH']}", "STAND_IN_VMD=none")
    host = Prefixed(LocalHost(), ("env", *words), "obsd.lab")
    said = VmmRunner(host, home=Home(tmp_path)).missing()
    assert "vmd does not answer on obsd.lab (vmctl: connect: /var/run/vmd.sock: No such" in said


def test_what_a_killed_behunt_left_goes_with_the_next(lab: Lab) -> None:
    with Running(lab.behunt, *run(lab, "sleep 4711", "--host", sshd.ALIAS)) as running:
        lab.there("until pgrep -f '[s]leep 4711'; do sleep 0.1; done")
        running.signalled(signal.SIGKILL)
    assert any("running bh_" in line for line in lab.there(_LEFT))
    assert asked(lab, "true")["outcome"] == "passed"
