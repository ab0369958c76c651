"""What a virtual machine is told and tells, as values; its job, done by a real shell."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from behunt.hosts.console import Reached
from behunt.runners.job import told
from behunt.runners.protocol import AT
from behunt.runners.vm.course import Came, completed
from behunt.runners.vm.job import FREEBSD, LINUX, System, job, waiting

ENV = {"PATH": "/usr/bin:/bin", "A": "b 'c' $d"}


@pytest.mark.parametrize("system", [LINUX, FREEBSD])
def test_both_scripts_are_of_any_shell(system: System) -> None:
    argv = ["./t", "it's", "$HOME", "a b\n", ""]
    for script in (
        waiting(system, "/dev/vdb"),
        job(system, argv, ENV, "/a dir", run="1f", hostname="h"),
        job(system, argv, ENV, "/a dir", run="1f", hostname="h", reboots=True),
    ):
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
        subprocess.run(["busybox", "sh", "-n"], input=script, text=True, check=True)


@pytest.fixture
def machine(tmp_path: Path) -> System:
    """A system whose serial ports and exchange disk are files, and which just exits."""
    for name in ("console", "output"):
        (tmp_path / name).touch()
    return replace(
        LINUX,
        console=str(tmp_path / "console"),
        output=str(tmp_path / "output"),
        session="setsid",
    )


def done(
    machine: System, tmp_path: Path, *argv: str, cwd: str = "/", reboots: bool = False
) -> tuple[str, str]:
    """(what the job tells on the console, what it puts on the disk), below another /behunt."""
    at = tmp_path / "behunt"
    (at / "out").mkdir(parents=True)
    (at / "out/kept").write_text("kept")
    said = tmp_path / "console"
    disk = tmp_path / "disk"
    script = job(machine, argv, ENV, cwd, run="1f", hostname="h", reboots=reboots)
    around = f"""
        disk={disk}
        boot=2
        say() {{ echo "behunt: $*" >>{said}; }}
        hostname() {{ :; }}
        off() {{ exit 0; }}
    """
    text = around + script.replace(str(AT), str(at)).replace(
        f">{machine.output}", f">>{machine.output}"
    )
    subprocess.run(["sh", "-c", text], check=True, timeout=30)
    listed = subprocess.run(["tar", "tf", str(disk)], check=True, capture_output=True, text=True)
    brought = ["tar", "xOf", str(disk), ".told"]
    on_disk = subprocess.run(brought, check=True, capture_output=True, text=True).stdout
    assert listed.stdout.splitlines()[-1] == ".told"
    assert "out/kept" in listed.stdout
    return said.read_text(), on_disk


def test_the_job_tells_on_the_console_and_on_the_disk(machine: System, tmp_path: Path) -> None:
    console, disk = done(machine, tmp_path, "sh", "-c", 'echo "$A"; exit 3')
    assert re.fullmatch(
        "behunt: 1f kernel .*\nbehunt: 1f started\nbehunt: 1f exit 3\nbehunt: 1f done\n", console
    )
    assert told(disk) | {"kernel": ""} == {"run": "1f", "kernel": "", "started": "", "exit": "3"}
    assert (tmp_path / "output").read_text() == "b 'c' $d\n"


@pytest.mark.parametrize(("reboots", "boot"), [(True, "2"), (False, "none")])
def test_a_test_that_may_reboot_is_told_which_boot_it_is(
    machine: System, tmp_path: Path, *, reboots: bool, boot: str
) -> None:
    done(machine, tmp_path, "sh", "-c", 'echo "${BEHUNT_BOOT-none} $A"', reboots=reboots)
    assert (tmp_path / "output").read_text() == f"{boot} b 'c' $d\n"


@pytest.mark.parametrize(
    ("argv", "cwd", "why"),
    [
        (["no-such-program"], "/", "cannot execute no-such-program: No such file"),
        (["true"], "/no/such/directory", "cannot change to the working directory"),
    ],
)
def test_what_cannot_start_is_no_answer(
    machine: System, tmp_path: Path, argv: list[str], cwd: str, why: str
) -> None:
    console, disk = done(machine, tmp_path, *argv, cwd=cwd)
    assert "started" not in console
    assert f"behunt: 1f failed {why}" in console
    assert told(disk)["failed"].startswith(why)


def reached(state: str, said: str, *, dead: bool = False) -> Reached:
    return Reached(state, said, "the screen", 1.0, dead)


GONE = reached("ended", "the console ended")
OOPS = reached("panicked", "[    1.5] Kernel panic - not syncing: x", dead=True)
MIXED = reached("panicked", "PID must b[    3.1] Kernel panic - not syncing: x", dead=True)
STARTED = {"started": ""}


@pytest.mark.parametrize(
    ("came", "said", "how"),
    [
        (Came(started=True), {**STARTED, "exit": "0"}, "exit 0"),
        (Came(started=True, end=GONE), {**STARTED, "exit": "4"}, "exit 4"),
        (Came(started=True, timed_out=True, seconds=7.1), STARTED, "timed out after 7 s"),
        (Came(), {"failed": "cannot execute x: No such file"}, "cannot execute x: No such file"),
        (Came(end=OOPS), {}, "did not boot: panicked: Kernel panic - not syncing: x"),
        (Came(end=MIXED), {}, "did not boot: panicked: Kernel panic - not syncing: x"),
        (Came(end=GONE, went="it powered off"), {}, "did not boot: it powered off"),
        (Came(end=GONE, lost="QEMU ended"), {}, "did not boot: QEMU ended"),
        (Came(silent="nothing came"), {}, "did not boot: nothing came"),
    ],
)
def test_how_the_command_ended(came: Came, said: dict[str, str], how: str) -> None:
    done = completed(("t",), came, said)
    assert (done.how, done.panic) == (how, "")


@pytest.mark.parametrize(
    ("came", "panic"),
    [
        (Came(end=OOPS), "Kernel panic - not syncing: x"),
        (Came(end=MIXED), "Kernel panic - not syncing: x"),
        (Came(end=GONE, went="it rebooted"), "the machine went down under the test: it rebooted"),
        (Came(silent="it takes nothing"), "the machine went down under the test: it takes nothing"),
        (Came(end=OOPS, screen="one\ntwo"), "Kernel panic - not syncing: x\none\ntwo"),
        (
            Came(end=GONE, went="it powered off", screen="Power down"),
            "the machine went down under the test: it powered off\nPower down",
        ),
    ],
)
def test_a_machine_that_goes_down_under_its_test(came: Came, panic: str) -> None:
    done = completed(("t",), came, STARTED)
    assert (done.panic, done.started, done.timed_out) == (panic, True, False)


@pytest.mark.parametrize(
    "came",
    [
        Came(started=True, end=GONE, lost="QEMU ended under the machine: it was killed"),
        Came(started=True, end=reached("ready", "behunt: ready"), endless=True),
    ],
)
def test_what_is_not_the_machines_doing_is_no_panic(came: Came) -> None:
    done = completed(("t",), came, STARTED)
    assert (done.panic, done.code, done.started) == ("", 1, True)
