"""What a User-mode Linux machine is told and tells, as values."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from behunt.hosts.protocol import Completed
from behunt.runners.job import told
from behunt.runners.uml_machine import arguments, completed, job_script
from behunt.runners.uml_registers import DOUBT, doubt, without_xstate

JOB = PurePosixPath("/behunt/.job")


def test_the_command_line_of_the_kernel() -> None:
    argv = arguments(JOB, 96 << 20)
    assert argv[0] == "linux.uml"
    assert {"mem=96M", "init=/behunt/.job", "rootfstype=hostfs", "panic=-1"} < set(argv)


@pytest.mark.parametrize("argv", [["./t", "it's", "$HOME", "a b\n", ""], ["true"]])
def test_the_job_is_a_shell_script_whatever_the_words(argv: list[str]) -> None:
    env = {"PATH": "/bin", "A": "b 'c' $d"}
    script = job_script(argv, env, "/a dir", JOB, hostname="h", timeout=1.5, processes=7)
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert shlex.join(argv) in script
    assert "sleep 1.500" in script
    assert "threads-max" in script
    assert "threads-max" not in job_script(argv, env, "/", JOB, hostname="h", timeout=1)


def test_what_the_job_told_first_counts() -> None:
    assert told("kernel 6.1.176\nstarted\nexit 3\nexit 4\n\n") == {
        "kernel": "6.1.176",
        "started": "",
        "exit": "3",
        "": "",
    }
    assert told("") == {}


PANIC = "[    1.0] Kernel panic - not syncing: VFS: oops\n[    1.0] CPU: 0\n"
DEAD = Completed(("linux.uml",), -11)
LATE = Completed(("linux.uml",), -9, timed_out=True)
OFF = Completed(("linux.uml",), 0)


@pytest.mark.parametrize(
    ("machine", "said", "console", "how"),
    [
        (OFF, {"started": "", "exit": "0"}, "", "exit 0"),
        (OFF, {"started": "", "exit": "3"}, PANIC, "exit 3"),
        (LATE, {"started": "", "exit": "3"}, "", "exit 3"),
        (OFF, {"started": "", "late": ""}, "", "timed out after 0 s"),
        (LATE, {"started": ""}, "", "timed out after 0 s"),
        (OFF, {"failed": "cannot execute x: Exec format error"}, "", "cannot execute x: Exec"),
        (OFF, {}, "", "did not boot: it said nothing"),
        (LATE, {"kernel": "6.1"}, "one\ntwo\n", "did not boot: two"),
        (DEAD, {}, PANIC, "did not boot: [    1.0] CPU: 0"),
    ],
)
def test_ends_of_a_machine(
    machine: Completed, said: dict[str, str], console: str, how: str
) -> None:
    done = completed(["t"], machine, said, console)
    assert done.how.startswith(how)
    assert done.argv == ("t",)
    assert done.panic == ""
    assert done.started == ("started" in said)


@pytest.mark.parametrize(
    ("machine", "console", "panic"),
    [
        (OFF, PANIC, f"[    1.0] Kernel panic - not syncing: VFS: oops\n{PANIC.strip()}"),
        (LATE, PANIC, f"[    1.0] Kernel panic - not syncing: VFS: oops\n{PANIC.strip()}"),
        (
            DEAD,
            "\x1b[1mlast\x1b[m words\r\n\n",
            "the machine went down under the test: last words\nlast words",
        ),
        (OFF, "", "the machine went down under the test: it said nothing"),
    ],
)
def test_panics(machine: Completed, console: str, panic: str) -> None:
    done = completed(["t"], machine, {"started": ""}, console)
    assert (done.panic, done.timed_out, done.code) == (panic, False, 1)


@pytest.mark.parametrize(("flags", "told"), [("sse2 avx512f", ""), ("avx512f amx_tile", DOUBT)])
def test_a_processor_with_amx_leaves_a_doubt(tmp_path: Path, flags: str, told: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"model name\t: amx_tile_like\nflags\t\t: fpu {flags}\n")
    assert doubt(tmp_path / "cpuinfo") == told
    assert doubt(tmp_path / "none") == ""


def test_the_filter_is_a_whole_program() -> None:
    assert len(without_xstate()) % 8 == 0
