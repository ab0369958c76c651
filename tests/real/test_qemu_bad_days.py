"""Machines that panic, hang, fill up, say too much or go down early, and what takes them along."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from behunt_cli import Behunt
from homes import sharing
from running import Start, below, nothing_is_left

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import Lab, Settings, opened
from behunt.drive.trial import answer
from behunt.hosts.protocol import Sink
from behunt.model import Limits, Outcome, Test, Trial
from behunt.runners.qemu import QemuRunner

pytestmark = pytest.mark.real

RELEASE = catalogue.find(catalogue.load("debian"), "12", os="debian")
DOWN = "the machine went down under the test: "
# Nothing else in the machine gets a processor any more: the job neither.
HOG = 'chrt -f 99 sh -c "while :; do :; done"'
HANG = f"echo -1 >/proc/sys/kernel/sched_rt_runtime_us; for n in 1 2 3 4; do {HOG} & done; {HOG}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Iterator[Lab]:
    home = sharing(tmp_path_factory.mktemp("qemu") / "home", kept)
    with opened(home.path, "qemu", settings=Settings(fresh=True, retries=0)) as lab:
        yield lab


def asked(lab: Lab, script: str, sink: Sink | None = None, **more: object) -> tuple[Trial, str]:
    """(the answer, its log)."""
    test = Test("t", ("sh", "-c", script), **more)  # type: ignore[arg-type]
    trial = answer(lab, RELEASE, test, sink=sink).trial
    return trial, Path(trial.log).read_text(errors="replace")


@pytest.mark.parametrize(
    ("script", "why", "shown"),
    [
        (
            "echo before; echo c >/proc/sysrq-trigger; sleep 99",
            "Kernel panic - not syncing: sysrq triggered crash",
            "Kernel Offset: ",
        ),
        (
            "echo before; echo o >/proc/sysrq-trigger; sleep 99",
            f"{DOWN}it powered off",
            "Power Off",
        ),
        ("echo before; echo b >/proc/sysrq-trigger; sleep 99", f"{DOWN}it rebooted", "Resetting"),
    ],
)
def test_a_machine_that_goes_down(lab: Lab, script: str, why: str, shown: str) -> None:
    trial, log = asked(lab, script)
    assert (trial.outcome, trial.why) == (Outcome.PANICKED, why)
    assert log.startswith("before\n")
    assert shown in log
    assert shown in trial.screen
    last = {re.sub(r"^\[ *\d+\.\d{3}\] ", "", line) for line in log.splitlines()}
    assert {*trial.screen.splitlines()} <= last


@pytest.mark.parametrize(
    "script",
    [
        "sleep 600",
        HANG,
        "b() { b | b & }; b; sleep 600",
        "yes >/dev/console",
        "kill -STOP 1; kill -STOP $$",
    ],
    ids=["sleeps", "hangs", "forks", "floods", "stopped"],
)
def test_what_never_ends_is_ended(lab: Lab, script: str) -> None:
    trial, _ = asked(lab, script, timeout=3)
    assert (trial.outcome, trial.reason) == (Outcome.TIMEOUT, "no end within 3 s: killed")


def test_a_flood_hides_no_panic_and_leaves_a_small_log(lab: Lab) -> None:
    lines = "yes $(seq -s . 300) | head -c 2000000"
    flood = f"{lines} >/dev/console; echo c >/proc/sysrq-trigger; sleep 99"
    trial, log = asked(lab, flood)
    assert trial.outcome is Outcome.PANICKED
    assert "sysrq triggered crash" in trial.why
    assert "Kernel Offset: " in trial.screen
    assert "sysrq triggered crash" in log
    assert len(log) < 2 << 20


def test_a_full_disk_is_ours_unless_the_test_could_bear_it(lab: Lab) -> None:
    fill, small = "dd if=/dev/zero of=/full bs=1M", Limits(disk=32 << 20)
    trial, _ = asked(lab, f"{fill} || exit 3", limits=small)
    assert (trial.outcome, trial.reason) == (Outcome.BROKEN, "the clone's disk is full")
    trial, log = asked(lab, f"{fill}; exit 0", limits=small)
    assert trial.outcome is Outcome.PASSED
    assert "No space left on device" in log


def test_one_that_cannot_boot_is_broken(lab: Lab, tmp_path: Path) -> None:
    assert isinstance(lab.runner, QemuRunner)
    assert asked(lab, "true")[0].outcome is Outcome.PASSED
    but_root = shutil.ignore_patterns("root.img", "kernel", "*state*")
    made = lab.home.machines.glob(f"{ensure(lab, RELEASE).identity[:24]}-????????/made.json")
    for whole in (path.parent for path in made):
        place = tmp_path / whole.name
        shutil.copytree(whole, place, ignore=but_root)
        with (place / "root.img").open("wb") as nothing:
            nothing.truncate(1 << 20)
    rootless = replace(lab, runner=replace(lab.runner, machines=tmp_path))
    trial, log = asked(rootless, "true")
    assert trial.outcome is Outcome.BROKEN
    assert trial.reason.startswith("the test never started: did not boot: panicked: Kernel panic")
    assert "mount" in log
    assert not list(tmp_path.glob("*/state-*"))


def killer(number: signal.Signals) -> Sink:
    """Sends a signal to QEMU once the test prints something."""

    said = bytearray()

    def take(data: bytes) -> None:
        said.extend(data)  # which comes a byte at a time
        for pid in below(os.getpid()) if said == b"up\n" else ():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                if b"qemu-system" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                    os.kill(pid, number)

    return take


@pytest.mark.parametrize(
    ("number", "why"), [(signal.SIGKILL, "killed by SIGKILL"), (signal.SIGTERM, "host-signal")]
)
def test_a_qemu_that_is_killed_says_nothing_about_the_release(
    lab: Lab, number: signal.Signals, why: str
) -> None:
    trial, log = asked(lab, "echo up; sleep 600", sink=killer(number))
    assert (trial.outcome, trial.reason) == (
        Outcome.BROKEN,
        f"QEMU ended under the machine: {why}",
    )
    assert log.startswith("up\n")


# -- reboots that were asked for

MAY_REBOOT = frozenset({"reboot"})
REBOOT = "sync; echo b >/proc/sysrq-trigger; sleep 99"


def test_a_test_that_may_reboot_is_run_again_on_the_same_disk(lab: Lab) -> None:
    script = f"""
        echo $BEHUNT_BOOT | tee -a /seen >>"$BEHUNT_OUT/seen"
        echo "boot $BEHUNT_BOOT" >>"$BEHUNT_METRICS"
        test $BEHUNT_BOOT = 2 || {{ {REBOOT}; }}
        cat /seen
        exit 7
    """
    trial, log = asked(lab, script, needs=MAY_REBOOT)
    assert (trial.outcome, trial.exit_code, log) == (Outcome.FAILED, 7, "1\n2\n")
    assert (Path(trial.out) / "seen").read_text() == "1\n2\n"
    assert [metric.value for metric in trial.metrics] == [1.0, 2.0]


def test_one_that_does_nothing_else_has_failed(lab: Lab) -> None:
    assert isinstance(lab.runner, QemuRunner)
    impatient = replace(lab, runner=replace(lab.runner, boots=2))
    trial, log = asked(impatient, f"echo $BEHUNT_BOOT; {REBOOT}", needs=MAY_REBOOT)
    assert (trial.outcome, log) == (Outcome.FAILED, "1\n2\n")
    assert trial.reason == "it booted the machine more than 2 times"


def test_a_panic_is_no_reboot(lab: Lab) -> None:
    trial, log = asked(lab, "echo once; echo c >/proc/sysrq-trigger; sleep 99", needs=MAY_REBOOT)
    assert (trial.outcome, log.count("once\n")) == (Outcome.PANICKED, 1)


# -- behunt itself is killed


def until(happened: Callable[[], bool], pid: int) -> None:
    """Wait for it, as long as that process lives."""
    pidfd = os.pidfd_open(pid)
    while not happened():
        assert not select.select([pidfd], [], [], 0.05)[0], "it has ended before"
    os.close(pidfd)


def test_a_killed_behunt_leaves_nothing_of_a_machine(
    kept: Path, start: Start, behunt: Behunt
) -> None:
    home = sharing(behunt.home, kept)
    words = ("run", "--runner", "qemu", "debian-12", "--", "sh", "-c", "echo up; sleep 600")
    running = start(*words)
    assert running.process.stdout is not None
    assert running.process.stdout.readline() == "up\n"
    assert len(list(home.runs.glob("*/inside/.machine.*/serial"))) == 1
    running.signalled(signal.SIGKILL)
    nothing_is_left(behunt)
    assert not list(home.runs.glob("*/*/*"))


def test_a_behunt_that_is_killed_while_a_machine_boots(
    kept: Path, start: Start, behunt: Behunt
) -> None:
    home = sharing(behunt.home, kept)

    def made() -> set[Path]:
        return {*home.machines.glob(".make.*"), *home.machines.glob("*/.state.*/state/serial")}

    before = made()
    # A configuration whose state is never kept, because this is all that asks for it.
    words = ("--runner", "qemu", "--memory", "333M", "debian-12", "--", "true")
    running = start("run", *words)
    until(lambda: any(path.name == "serial" for path in made() - before), running.process.pid)
    running.signalled(signal.SIGKILL)
    nothing_is_left(behunt)
    assert made() <= before
