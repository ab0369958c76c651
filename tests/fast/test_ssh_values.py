"""What is sent to a host over ssh, through the shells that may read it there."""

from __future__ import annotations

import contextlib
import math
import os
import select
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_root import alive

from behunt.errors import UsageError
from behunt.hosts import remote_sh
from behunt.hosts.protocol import CLEAN_ENV, KEPT_OUTPUT, Completed
from behunt.hosts.remote_sh import Marks, Order, Told
from behunt.hosts.remote_tree import Way
from behunt.hosts.ssh import SshHost
from behunt.hosts.ssh_line import refusal

SHELLS = {"dash": ["dash"], "bash": ["bash"], "busybox": ["busybox", "sh"]}
MARKS = Marks("7" * 16, "5ec2e7" * 5)
BYTES = bytes(range(1, 256))  # all that an argument can hold


@dataclass
class Said:
    out: bytes
    told: Told


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    return SHELLS[request.param]


@pytest.fixture(params=Way)
def way(request: pytest.FixtureRequest, shell: list[str]) -> Way:
    if shell[0] == "busybox":
        return Way.PROC  # its own ps(1), which it prefers, shows no environment
    return Way(request.param)


@pytest.fixture
def marks() -> Marks:
    return Marks(uuid.uuid4().hex[:16], uuid.uuid4().hex)


def order(*argv: str, **more: object) -> Order:
    return Order(argv, CLEAN_ENV, **more)  # type: ignore[arg-type]


def run(
    shell: Sequence[str],
    asked: Order,
    marks: Marks,
    way: Way = Way.PROC,
    stdin: bytes = b"",
    *,
    hang_up: bytes = b"",
) -> Said:
    """As sshd runs it. Standard input is held open, until the output has `hang_up` in it."""
    script = remote_sh.command(asked, marks, way)
    lasting = "60" if asked.lifetime == math.inf else str(asked.lifetime)
    reaper = ["timeout", "-s", "KILL", lasting] if way is Way.REAPER else []
    reading = f'eval "$(dd ibs=1 count={len(script)} 2>/dev/null)"'
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [*reaper, *shell, "-c", reading],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        ) as process,
        ThreadPoolExecutor(1) as thread,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        writing = thread.submit(_write, process.stdin, script + stdin)
        out = b""
        while piece := os.read(process.stdout.fileno(), 1 << 16):
            out += piece
            if hang_up and hang_up in out:
                writing.result()
                process.stdin.close()
        process.wait()
        errors.seek(0)
        told = Told(marks.secret)
        told(errors.read())
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    return Said(out, told)


def _write(pipe: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        pipe.write(data)
        pipe.flush()


def test_what_the_login_shell_parses_has_nothing_of_the_users_in_it() -> None:
    script = remote_sh.command(order("echo", "it's $HOME"), MARKS, Way.PROC)
    assert remote_sh.command_line(script, MARKS.tree, Way.PROC, 12.5) == (
        f"exec env -i BEHUNT_ROOT={MARKS.tree} PATH={CLEAN_ENV['PATH']} "
        f"sh -c 'eval \"$(dd ibs=1 count={len(script)} 2>/dev/null)\"'"
    )


def test_on_freebsd_the_shell_is_below_a_reaper_that_has_a_deadline() -> None:
    line = remote_sh.command_line(b"7 bytes", MARKS.tree, Way.REAPER, 12.5)
    assert " timeout -s KILL 13 sh -c 'eval \"$(dd ibs=1 count=7 " in line
    assert " timeout -s KILL 0 sh " in remote_sh.command_line(b"", MARKS.tree, Way.REAPER)


def test_arguments_arrive_byte_for_byte(shell: list[str], marks: Marks, way: Way) -> None:
    args = [os.fsdecode(BYTES), "", "-n", "--", "a=b", "'", "\n\n", "*", "\\", "!!"]
    asked = order("sh", "-c", r'for a; do printf "%s\0" "$a"; done', "sh", *args)
    said = run(shell, asked, marks, way)
    assert said.out == b"".join(os.fsencode(arg) + b"\0" for arg in args)
    assert said.told.end == ("exited", "0")


def test_the_environment_is_the_given_one(shell: list[str], marks: Marks) -> None:
    env = {"PATH": CLEAN_ENV["PATH"], "a.b": "no name for a shell", "X": os.fsdecode(BYTES)}
    said = run(shell, Order(("env", "-0"), env), marks)
    expected = {f"BEHUNT_TREE={marks.tree}", *(f"{name}={value}" for name, value in env.items())}
    assert set(os.fsdecode(said.out).split("\0")) == {*expected, ""}


@pytest.mark.parametrize("status", [0, 1, 124, 125, 126, 127, 128, 255])
def test_any_status_comes_back(shell: list[str], marks: Marks, way: Way, status: int) -> None:
    said = run(shell, order("sh", "-c", f"exit {status}"), marks, way)
    assert said.told.end[:2] == ("exited", str(status))


@pytest.mark.parametrize(("signal", "status"), [("SEGV", 139), ("TERM", 143), ("KILL", 137)])
def test_a_death_comes_back_with_the_name_of_the_signal(
    shell: list[str], marks: Marks, way: Way, signal: str, status: int
) -> None:
    said = run(shell, order("sh", "-c", f"kill -{signal} $$"), marks, way)
    assert said.told.end == ("exited", str(status), signal)
    assert said.told.text() == ""  # the shell's own words about it are not the command's


def test_what_cannot_run_is_told_apart(shell: list[str], marks: Marks, tmp_path: Path) -> None:
    for name, text, mode in (("old", "#!/no/such/perl -w\n", 0o755), ("plain", "x", 0o644)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    cases = {
        "no-such-program": ("exec", "ENOENT"),
        "./missing": ("exec", "ENOENT"),
        f"{tmp_path}/plain": ("exec", "EACCES"),
        f"{tmp_path}": ("exec", "EACCES"),
        "./old": ("interpreter", "ENOENT"),
        "": ("exec", "ENOENT"),
        "x=y": ("exec", "ENOENT"),
    }
    for program, why in cases.items():
        said = run(shell, order(program, cwd=str(tmp_path)), marks)
        assert said.told.end == ("failed", *why), program
    said = run(shell, order("true", "x" * 200_000), marks)
    assert said.told.end == ("failed", "exec", "E2BIG")


@pytest.mark.parametrize(
    ("name", "why"), [("missing", "ENOENT"), ("plain", "ENOTDIR"), ("-", ""), ("it's $HOME", "")]
)
def test_the_working_directory(
    shell: list[str], marks: Marks, tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "-").mkdir()
    (tmp_path / "it's $HOME").mkdir()
    said = run(shell, order("pwd", cwd=f"{tmp_path}/{name}"), marks)
    assert said.told.end == (("failed", "cwd", why) if why else ("exited", "0"))
    assert said.out == (b"" if why else f"{tmp_path}/{name}\n".encode())


def test_a_name_with_an_equals_sign_is_a_program(
    shell: list[str], marks: Marks, tmp_path: Path
) -> None:
    (tmp_path / "x=y").write_text('#!/bin/sh\necho "ran $1"\n')
    (tmp_path / "x=y").chmod(0o755)
    assert run(shell, order("./x=y", "it's", cwd=str(tmp_path)), marks).out == b"ran it's\n"


def test_input_follows_the_script(shell: list[str], marks: Marks, way: Way) -> None:
    sent = BYTES * 8000
    said = run(shell, order("cat", stdin=len(sent)), marks, way, sent)
    assert (said.out, said.told.end) == (sent, ("exited", "0"))
    unread = run(shell, order("true", stdin=7), marks, way, b"7 bytes")
    assert unread.told.end == ("exited", "0")


DAEMONS = "setsid sleep 1000 & (setsid sh -c 'sleep 1000 & exec >&- 2>&-; sleep 1000' &) ; "
ALSO_CLEAN = "env -i sleep 1000 & (env -i sleep 1000 &) ; "


def left(way: Way) -> str:
    """A timeout(1) that is no reaper, as Linux has it, reaches its own process group."""
    return ALSO_CLEAN if way is Way.REAPER else DAEMONS + ALSO_CLEAN


def all_end(marker: str) -> None:
    """Wait until nothing with `marker` runs. Who ends a tree by itself has nobody to tell."""
    while pids := alive(marker):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(pid)) as process:
                assert select.select([process], [], [], 20)[0], "something runs on"


def test_what_a_command_leaves_is_killed(shell: list[str], marks: Marks, way: Way) -> None:
    said = run(shell, order("sh", "-c", f"{left(way)} echo done"), marks, way)
    assert (said.out, said.told.end) == (b"done\n", ("exited", "0"))
    all_end(marks.tree)


@pytest.mark.parametrize("stdin", [b"", b"x"])
def test_a_hung_up_line_ends_the_tree(
    shell: list[str], marks: Marks, way: Way, stdin: bytes
) -> None:
    script = f"trap '' TERM HUP; {left(way)} echo up; sleep 1000"
    asked = order("sh", "-c", script, stdin=len(stdin))
    said = run(shell, asked, marks, way, stdin, hang_up=b"up\n")
    assert said.told.end == ()
    all_end(marks.tree)


def test_a_tree_that_nobody_ends_does_so_itself(shell: list[str], marks: Marks, way: Way) -> None:
    """Also while the input is not taken, and nobody sees that the line was hung up."""
    asked = order("sh", "-c", f"{left(way)} sleep 1000", stdin=1_000_000, lifetime=0.5)
    run(shell, asked, marks, way, b"x" * 60_000)
    all_end(marks.tree)


def test_a_script_that_was_cut_short_does_nothing(shell: list[str], tmp_path: Path) -> None:
    script = remote_sh.command(order("touch", str(tmp_path / "done")), MARKS, Way.PROC)
    text = os.fsdecode(script.rstrip())
    for length in range(1, len(text), 29):
        done = subprocess.run(
            [*shell, "-c", text[:length]],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
        )
        assert done.returncode > 0
        assert MARKS.secret.encode() + b" " not in done.stderr.replace(text.encode(), b"")
    assert list(tmp_path.iterdir()) == []


def test_a_script_in_words_that_old_csh_can_take(shell: list[str], tmp_path: Path) -> None:
    asked = Order(("printf", "%s", os.fsdecode(BYTES)), CLEAN_ENV, cwd=str(tmp_path))
    line = remote_sh.spelled(remote_sh.lent(asked))
    assert max(map(len, line.split())) < 1000
    assert line.isascii()
    assert "!" not in line
    done = subprocess.run([*shell, "-c", line], check=True, capture_output=True)
    assert done.stdout == BYTES


def told(*data: bytes) -> Told:
    listening = Told(MARKS.secret)
    for piece in data:
        listening(piece)
    return listening


def line(words: str) -> bytes:
    return f"{MARKS.secret} {words}\n".encode()


@given(st.lists(st.integers(0, 200)))
def test_the_end_is_found_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    whole = b"motd\n" + line("started") + b"said\nand no newline" + line("exited 139 SEGV")
    places = [0, *sorted(cuts), len(whole)]
    heard = told(*(whole[a:b] for a, b in pairwise(places)))
    assert heard.end == ("exited", "139", "SEGV")
    assert (heard.text(), heard.started) == ("said\nand no newline", True)


def test_a_flood_is_cut_and_its_end_heard() -> None:
    heard = told(line("started"), *[b"x" * 60_000] * 40, line("exited 0"))
    assert heard.end == ("exited", "0")
    assert heard.text() == "x" * KEPT_OUTPUT


def test_without_the_secret_nothing_is_told() -> None:
    heard = told(line("started"), b"exited 0\n", f"{MARKS.tree} exited 0\n".encode())
    assert heard.end == ()


@pytest.mark.parametrize(
    ("argv", "env", "cwd"),
    [
        ([], {}, "/"),
        (["a\0b"], {}, "/"),
        (["a"], {"": "x"}, "/"),
        (["a"], {"a=b": "x"}, "/"),
        (["a"], {"a": "\0"}, "/"),
        (["a"], {}, "/\0"),
    ],
)
def test_what_no_command_can_be_is_not_sent(argv: list[str], env: dict[str, str], cwd: str) -> None:
    nowhere = SshHost("host.invalid").run(argv, env=env, cwd=cwd)
    assert (nowhere.code, nowhere.started) == (127, False)
    assert "Invalid argument" in nowhere.how


@pytest.mark.parametrize(
    "name",
    ["", "-oProxyCommand=id", "a b", "a\nb", "a;b", "$(id)", "`id`", "a'b", "tab\t", "é\x00"],
)
def test_what_is_no_host_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        SshHost(name)
    assert refused.value.hint


@pytest.mark.parametrize(
    "name",
    ["fbsd", "root@fbsd.lab", "ssh://root@fbsd.lab:2222", "root@[fe80::1%eth0]", "DOM\\me@h"],
)
def test_a_host_is_a_value(name: str) -> None:
    host = SshHost(name, ("-p", "22"))
    assert host == SshHost(name, ("-p", "22"))
    assert len({host, SshHost(name, ("-p", "22"))}) == 1
    assert host.name == name


def test_a_line_that_can_be_pasted() -> None:
    host = SshHost("root@fbsd", ("-p", "22"))
    assert host.wrap(["echo", "it's"]) == [
        *("ssh", "-p", "22", "--", "root@fbsd"),
        "echo 'it'\"'\"'s'",
    ]


@pytest.mark.parametrize(
    ("err", "message", "hint"),
    [
        (
            "No ED25519 host key is known for h.\nHost key verification failed.",
            "the host key of root@h is not known here",
            "ssh-keyscan -p 2222 10.0.0.9",
        ),
        (
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "the host key of root@h is not the one it had",
            "ssh-keygen -R '[10.0.0.9]:2222'",
        ),
        (
            "root@h: Permission denied (publickey).",
            "root@h refuses the login",
            "ssh-copy-id root@h",
        ),
        (
            "ssh: Could not resolve hostname h: Name or service not known",
            "there is no host called 10.0.0.9",
            "address",
        ),
        (
            "ssh: connect to host h port 22: Connection refused",
            "nothing listens on port 2222 of 10.0.0.9",
            "start sshd",
        ),
        (
            "ssh: connect to host h port 22: Connection timed out",
            "10.0.0.9 does not answer on port 2222",
            "firewall",
        ),
        ("banner\nwhat is this", "cannot connect to root@h: what is this", "`ssh root@h`"),
        ("", "cannot connect to root@h: exit 255", "by hand"),
    ],
)
def test_each_refusal_is_one_sentence_and_says_what_to_do(
    err: str, message: str, hint: str
) -> None:
    known = {"hostname": "10.0.0.9", "port": "2222"}
    said = refusal("root@h", Completed(("ssh",), 255, err=err), known)
    assert said.message == message
    assert hint in said.hint
