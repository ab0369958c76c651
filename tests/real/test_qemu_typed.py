"""A machine that shows a login in the place of its job: Debian's own agetty, login(1) and bash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from homes import sharing

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import Lab, Settings, opened
from behunt.drive.trial import answer
from behunt.model import Metric, Outcome, Test, Trial
from behunt.runners.qemu import QemuRunner
from behunt.runners.vm.initrd import cpio
from behunt.runners.vm.made import INITRD

pytestmark = pytest.mark.real

RELEASE = catalogue.find(catalogue.load("debian"), "12", os="debian")
# The system starts no job; what would be done by hand is in its root, as it always is.
INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod "$module"; done
$b mount -t ext4 /dev/vda /root
$b mkdir -p /root/behunt
$b cp /job /root/behunt/.init
$b cp /rc /root/rc
$b sed -i 's/^root:[^:]*:/root:{password}:/' /root/etc/shadow
exec $b switch_root /root /rc
"""
RC = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
hostname -b typed
while :; do setsid /sbin/agetty -L 115200 ttyS0 vt220; done
"""
# A job that a system starts itself has no login.
ASKED = """
tr '\\0' '\\n' </proc/$PPID/environ | grep ^LOGNAME=
if [ $BEHUNT_BOOT = 1 ]; then
    echo it came back >"$BEHUNT_OUT/it"
    sync
    echo b >/proc/sysrq-trigger
    sleep 60
fi
echo answers 42 >>"$BEHUNT_METRICS"
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Iterator[Lab]:
    home = sharing(tmp_path_factory.mktemp("qemu") / "home", kept)
    with opened(home.path, "qemu", settings=Settings(fresh=True, retries=0)) as lab:
        yield lab


def logging_in(lab: Lab, machines: Path, password: str) -> Lab:
    """Where the machine of RELEASE asks for a login, and root's password is the one hashed."""
    assert isinstance(lab.runner, QemuRunner)
    bootenv = ensure(lab, RELEASE)
    with lab.store.clone(bootenv) as clone:
        lab.runner.prepare(RELEASE, clone)
    made = lab.home.machines.glob(f"{bootenv.identity[:24]}-????????/{INITRD}")
    for whole in (path.parent for path in made):
        place = machines / whole.name
        place.mkdir()
        for path in whole.iterdir():
            if path.is_file() and path.name not in {INITRD, "lock"}:
                (place / path.name).symlink_to(path)
        (place / INITRD).write_bytes((whole / INITRD).read_bytes() + cpio([], _files(password)))
    return replace(lab, runner=replace(lab.runner, machines=machines))


def _files(password: str) -> dict[str, tuple[int, bytes]]:
    init = INIT.format(password=password)
    return {"init": (0o755, init.encode()), "rc": (0o755, RC.encode())}


def asked(lab: Lab, script: str, *needs: str) -> tuple[Trial, str]:
    test = Test("t", ("sh", "-c", script), timeout=240, needs=frozenset(needs))
    trial = answer(lab, RELEASE, test).trial
    return trial, Path(trial.log).read_text(errors="replace")


def test_a_job_is_begun_by_hand_each_time_the_machine_boots(lab: Lab, tmp_path: Path) -> None:
    """It boots, is kept and resumed as any, and its test reboots it."""
    trial, log = asked(logging_in(lab, tmp_path, password=""), ASKED, "reboot")
    assert (trial.outcome, trial.reason) == (Outcome.PASSED, ""), log
    assert log == "LOGNAME=root\n" * 2
    assert trial.metrics == (Metric("answers", 42.0),)
    assert (Path(trial.out) / "it").read_text() == "it came back\n"
    assert len(list(tmp_path.glob("*/state-*"))) == 1


def test_what_looks_like_a_login_begins_nothing(lab: Lab, tmp_path: Path) -> None:
    """Nobody answers there, and what the job tells after it is heard all the same."""
    typed = logging_in(lab, tmp_path, password="")
    trial, log = asked(typed, f"printf '\\nlogin: ' >/dev/console{ASKED}exit 3", "reboot")
    assert (trial.outcome, trial.exit_code) == (Outcome.FAILED, 3), log
    assert log == "LOGNAME=root\n" * 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("s/ nullok//' /etc/pam.d/common-auth", "refused: Login incorrect"),
        ("s,^\\(root:.*:\\).*,\\1/bin/true,' /etc/passwd", "looping: asked 3 times: typed login:"),
    ],
)
def test_no_way_back_in_is_not_the_fault_of_the_system(
    lab: Lab, tmp_path: Path, change: str, why: str
) -> None:
    script = f"sed -i '{change}; sync; echo b >/proc/sysrq-trigger; sleep 60"
    trial, log = asked(logging_in(lab, tmp_path, password=""), script, "reboot")
    assert trial.outcome is Outcome.BROKEN, log
    assert trial.why == f"no job is begun at its login: {why}"


def test_a_login_that_refuses_is_broken_with_its_screen(lab: Lab, tmp_path: Path) -> None:
    trial, log = asked(logging_in(lab, tmp_path, password="x"), "true")
    assert trial.outcome is Outcome.BROKEN
    assert trial.why == "the test never started: did not boot: refused: Login incorrect"
    assert {"typed login: root", "Login incorrect"} <= {*trial.screen.splitlines()}
    assert "Login incorrect" in log
    assert not list(tmp_path.glob("*/state-*"))
