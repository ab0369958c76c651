"""What a virtual machine is told and tells, as values; its job, done by a real shell."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from behunt.hosts.console import Reached
from behunt.hosts.protocol import Completed
from behunt.runners.job import told
from behunt.runners.protocol import AT
from behunt.runners.vm.guest import Came, completed
from behunt.runners.vm.job import FREEBSD, LINUX, System, job, waiting

ENV = {"PATH": "/usr/bin:/bin", "A": "b 'c' $d"}


@pytest.mark.parametrize("system", [LINUX, FREEBSD])
def test_both_scripts_are_of_any_shell(system: System) -> None:
    argv = ["./t", "it's", "$HOME", "a b\n", ""]
    for script in (
        waiting(system, "/dev/vdb"),
        job(system, argv, ENV, "/a dir", run="1f", hostname="h"),
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


def done(machine: System, tmp_path: Path, *argv: str, cwd: str = "/") -> tuple[str, str]:
    """(what the job tells on the console, what it puts on the disk), below another /behunt."""
    at = tmp_path / "behunt"
    (at / "out").mkdir(parents=True)
    (at / "out/kept").write_text("kept")
    said = tmp_path / "console"
    disk = tmp_path / "disk"
    script = job(machine, argv, ENV, cwd, run="1f", hostname="h")
    around = f"""
        disk={disk}
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


@pytest.mark.parametrize(
    ("came", "said", "how"),
    [
        (Came({}, started=True), {"started": "", "exit": "0"}, "exit 0"),
        (Came({}, started=True, timed_out=True), {}, "timed out after 0 s"),
        (Came({}), {"failed": "cannot execute x: No such file"}, "cannot execute x: No such file"),
        (Came({}, end=reached("panicked", "Oops", dead=True)), {}, "did not boot: panicked: Oops"),
        (Came({}, silent="nothing came"), {}, "did not boot: nothing came"),
    ],
)
def test_how_the_command_ended(came: Came, said: dict[str, str], how: str) -> None:
    assert completed(("t",), came, said).how.startswith(how)


@pytest.mark.parametrize(
    ("end", "panic"),
    [
        (
            reached("panicked", "[    1.5] Kernel panic - not syncing: x", dead=True),
            "Kernel panic - not syncing: x",
        ),
        (reached("ended", "the console ended"), "the machine went down under the test: ended"),
    ],
)
def test_a_machine_that_goes_down_under_its_test(end: Reached, panic: str) -> None:
    done: Completed = completed(("t",), Came({"started": ""}, started=True, end=end), {})
    assert done.panic.startswith(panic)
    assert done.started
