"""A host reached by OpenSSH: a real sshd, its login shells, and the ways to lose it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pexpect
import pytest
import sshd
from running import below
from tiny_root import alive

from behunt.errors import HostError
from behunt.hosts.facts import facts
from behunt.hosts.protocol import Host
from behunt.hosts.ssh import SshHost

pytestmark = pytest.mark.real

HOSTILE = [
    "",
    "two words",
    "it's",
    'say "hi"',
    "new\nline",
    "!!",
    "!1 ^a^b",
    "$HOME",
    "$(id)",
    "`id`",
    "\\",
    "\\'",
    "a;b&c|d>e<f",
    "-n",
    "--",
    "~root",
    "{a,b}",
    "[a-z]*?",
    "#no comment",
    "%s",
    "Grüße 世界 🐡",
    "not UTF-8: \udcff\udc80",
]
SHELLS = ["/bin/sh", "/bin/bash", "/bin/csh", "/bin/tcsh"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[sshd.Server]:
    """root's login shell is csh, as on FreeBSD."""
    with sshd.running(tmp_path, shell="/bin/csh") as server:
        yield server


@pytest.fixture
def host(server: sshd.Server) -> Iterator[SshHost]:
    with server.host() as host:
        yield host


@pytest.fixture
def marker() -> str:
    return f"behunt-test-{uuid.uuid4().hex}"


def all_end(marker: str) -> None:
    while pids := alive(marker):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(pid)) as process:
                assert select.select([process], [], [], 30)[0], "something runs on"


@pytest.mark.parametrize("shell", SHELLS)
def test_no_login_shell_sees_what_is_asked(tmp_path: Path, shell: str) -> None:
    odd = tmp_path / "it's a $HOME!"
    odd.mkdir()
    script = r'cat; pwd; printf "%s\0" "$X"; for a; do printf "%s\0" "$a"; done'
    got = bytearray()
    with sshd.running(tmp_path, shell=shell) as server, server.host() as host:
        done = host.run(
            ["sh", "-c", script, "sh", *HOSTILE],
            env={"X": "".join(HOSTILE)},
            cwd=str(odd),
            stdin=b"given\n",
            sink=got.extend,
        )
        assert facts(host).system == "Linux"
    assert done.code == 0
    words = ["".join(HOSTILE), *HOSTILE, ""]
    assert os.fsdecode(bytes(got)) == f"given\n{odd}\n" + "\0".join(words)


@pytest.mark.parametrize("status", [1, 126, 127, 128, 254, 255])
def test_a_status_is_never_taken_for_one_of_ssh(host: SshHost, status: int) -> None:
    done = host.run(["sh", "-c", f"echo no command not found >&2; exit {status}"])
    assert (done.code, done.started, done.how) == (status, True, f"exit {status}")


def test_a_command_cannot_say_how_it_ended(host: SshHost) -> None:
    forged = 'printf "%s exited 0\n" "$BEHUNT_TREE" | tee /dev/stderr; exit 9'
    done = host.run(["sh", "-c", forged])
    assert done.code == 9
    assert done.err == done.out
    assert done.out.endswith(" exited 0\n")


def test_one_connection_serves_all_commands(server: sshd.Server) -> None:
    def one(number: int) -> str:
        with_own_value = SshHost(sshd.ALIAS, ("-F", str(server.config)))
        return with_own_value.run(["echo", str(number)]).out

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, range(40))) == [f"{n}\n" for n in range(40)]
    assert sum("Accepted publickey" in line for line in server.log) == 1


def test_more_commands_at_once_than_a_connection_takes(tmp_path: Path) -> None:
    with sshd.running(tmp_path, settings="MaxSessions 2\n") as server, server.host() as host:

        def one(number: int) -> tuple[str, str]:
            done = host.run(["sh", "-c", "echo $0; sleep 0.2", str(number)])
            return done.out, done.err

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(one, range(16))) == [(f"{n}\n", "") for n in range(16)]


def test_a_large_file_goes_there_and_back(host: SshHost, tmp_path: Path) -> None:
    sent, there, back = (tmp_path / name for name in ("sent", "there", "back"))
    with sent.open("wb") as content:
        for number in range(64):
            content.write(hashlib.sha256(b"%d" % number).digest() * (1 << 15))  # 1 MiB
    host.put(sent, PurePosixPath(there))
    host.get(PurePosixPath(there), back)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (sent, there, back)}
    assert len(digests) == 1


def test_a_file_that_becomes_shorter_is_no_whole_input(host: SshHost, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_bytes(b"x" * 50_000_000)

    def cut(_: bytes) -> None:
        os.truncate(given, 10)

    with pytest.raises(HostError, match="given became shorter"):
        host.run(["sh", "-c", "echo up; cat >/dev/null"], stdin=given, sink=cut)
    assert host.run(["echo", "next"]).out == "next\n"


def test_a_tar_streams_in(host: SshHost, tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from/it's").write_text("content")
    (tmp_path / "to").mkdir()
    archive = tmp_path / "from.tar"
    subprocess.run(["tar", "-C", tmp_path / "from", "-cf", archive, "."], check=True)
    host.run(["tar", "-xf", "-"], cwd=str(tmp_path / "to"), stdin=archive, check=True)
    assert (tmp_path / "to/it's").read_text() == "content"


def test_a_pasted_line_does_the_same(host: SshHost) -> None:
    line = shlex.join(host.wrap(["printf", "%s,", "it's", "$HOME", "a b", "*"]))
    done = subprocess.run(line, shell=True, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "it's,$HOME,a b,*,"


def test_wherever_home_is(server: sshd.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.delenv("PATH")
    with server.host() as host:
        assert host.run(["sh", "-c", "echo $HOME"]).out == "/root\n"


# --- refused -------------------------------------------------------------------------------------


def refused(host: Host) -> HostError:
    with pytest.raises(HostError) as caught:
        host.run(["true"])
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.hint
    return caught.value


def test_an_unknown_host_key(server: sshd.Server) -> None:
    (server.place / "known_hosts").write_text("")
    error = refused(server.host())
    assert error.message == f"the host key of {sshd.ALIAS} is not known here"
    assert f"ssh-keyscan -p {server.port} 127.0.0.1" in error.hint
    assert (server.place / "known_hosts").read_text() == ""


@pytest.mark.parametrize("checking", ["ask", "yes", "accept-new", "no"])
def test_a_changed_host_key_is_never_taken(server: sshd.Server, checking: str) -> None:
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(server.place / "other")]
    subprocess.run(keygen, check=True)
    other = (server.place / "other.pub").read_text()
    (server.place / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {other}")
    error = refused(server.host("-o", f"StrictHostKeyChecking={checking}"))
    assert error.message == f"the host key of {sshd.ALIAS} is not the one it had"
    assert "ssh-keygen -R" in error.hint


@pytest.mark.parametrize("checking", ["accept-new", "no"])
def test_a_new_host_key_is_taken_where_the_user_says_so(server: sshd.Server, checking: str) -> None:
    (server.place / "known_hosts").write_text("")
    with server.host("-o", f"StrictHostKeyChecking={checking}") as host:
        assert host.run(["true"]).code == 0
    assert f"[127.0.0.1]:{server.port} " in (server.place / "known_hosts").read_text()


def test_a_refused_login(server: sshd.Server) -> None:
    error = refused(server.host("-l", "nobody"))
    assert error.message == f"{sshd.ALIAS} refuses the login"


def test_a_name_that_is_no_host() -> None:
    error = refused(SshHost("behunt-test.invalid"))
    assert error.message == "there is no host called behunt-test.invalid"


def test_a_port_on_which_nothing_listens(server: sshd.Server) -> None:
    error = refused(server.host("-p", "1"))
    assert error.message == "nothing listens on port 1 of 127.0.0.1"


def test_a_port_on_which_nobody_answers(server: sshd.Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        error = refused(server.host("-p", str(port), "-o", "ConnectTimeout=1"))
    assert error.message == f"127.0.0.1 does not answer on port {port}"


def test_a_configuration_that_is_none(tmp_path: Path) -> None:
    error = refused(SshHost("h", ("-F", str(tmp_path / "missing"))))
    assert "missing" in error.message


@pytest.mark.parametrize(
    ("shell", "rc"), [("/bin/csh", ".cshrc"), ("/bin/bash", ".bashrc"), ("/usr/sbin/nologin", "x")]
)
def test_a_login_shell_that_talks(tmp_path: Path, shell: str, rc: str) -> None:
    with sshd.running(tmp_path, shell=shell) as server:
        (server.place / "home" / rc).write_text("echo Welcome\n")
        error = refused(server.host())
    assert "does not answer as a Unix system does" in error.message
    assert "login shell" in error.hint


def test_a_login_shell_that_complains_is_not_the_command(tmp_path: Path) -> None:
    with sshd.running(tmp_path, shell="/bin/csh") as server, server.host() as host:
        (server.place / "home/.cshrc").write_text("no-such-command\n")
        done = host.run(["sh", "-c", "echo out; echo err >&2"])
    assert (done.out, done.err) == ("out\n", "err\n")


# --- lost ----------------------------------------------------------------------------------------


def name_of(pid: int) -> str:
    """Empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def sessions(server: sshd.Server) -> list[int]:
    """Processes of sshd that serve a connection."""
    connections = below(server.process.pid)[1:]  # the first one listens
    return [pid for pid in connections if name_of(pid) == "sshd"]


def cut(server: sshd.Server) -> Callable[[bytes], None]:
    """A sink that loses the connection when the command is up."""

    def lose(_: bytes) -> None:
        for pid in sessions(server):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    return lose


@pytest.mark.parametrize("stdin", [b"", b"x" * 3_000_000])
def test_a_lost_connection_is_noticed_and_made_again(
    server: sshd.Server, host: SshHost, marker: str, stdin: bytes
) -> None:
    tree = "setsid sleep 1000 & cat >/dev/null; echo up; sleep 1000"
    with pytest.raises(HostError, match=r"connection to lab[.]test was lost") as lost:
        host.run(["sh", "-c", tree], env={"M": marker}, sink=cut(server), stdin=stdin)
    assert lost.value.hint
    all_end(marker)  # it notices by itself
    assert host.run(["echo", "again"]).out == "again\n"


def test_a_connection_lost_in_between_is_made_again(server: sshd.Server, host: SshHost) -> None:
    for word in ("first", "second", "third"):
        assert host.run(["echo", word]).out == f"{word}\n"
        cut(server)(b"")


def test_a_closed_host_opens_again(host: SshHost) -> None:
    assert host.run(["echo", "first"]).out == "first\n"
    host.close()
    assert host.run(["echo", "second"]).out == "second\n"


DRIVER = """
import sys
from behunt.hosts.ssh import SshHost
host = SshHost(sys.argv[1], ("-F", sys.argv[2]))
tree = "setsid sleep 1000 & (env -i setsid sleep 1000 &); echo up; sleep 1000"
host.run(["sh", "-c", tree], env={"M": sys.argv[3]}, sink=lambda data: print("up", flush=True))
"""

NEXT = """
import sys
from behunt.hosts.ssh import SshHost
SshHost(sys.argv[1], ("-F", sys.argv[2])).run(["true"], check=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_behunt(
    server: sshd.Server, marker: str, number: signal.Signals, tmp_path: Path
) -> None:
    sockets = tmp_path / "tmp"
    sockets.mkdir()
    command = [sys.executable, "-c", DRIVER, sshd.ALIAS, str(server.config), marker]
    environment = {**os.environ, "TMPDIR": str(sockets)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"up\n"
        fds = [os.pidfd_open(pid) for pid in below(driver.pid)]
        driver.send_signal(number)
    for fd in fds:
        assert select.select([fd], [], [], 30)[0], "something runs on here"
        os.close(fd)
    all_end(marker)
    # The socket of one that was killed is taken away by the next.
    subprocess.run([sys.executable, "-c", NEXT, *command[3:]], env=environment, check=True)
    assert list(sockets.iterdir()) == []


# --- a terminal ----------------------------------------------------------------------------------

ATTACH = """
import sys
from behunt.hosts.ssh import SshHost
config, *argv = sys.argv[1:]
with SshHost("lab.test", ("-F", config)) as host:
    print("code", host.attach(argv, env={"PS1": "there> ", "ENV": "", "X": "it's!"}, cwd="/tmp"))
"""


@pytest.fixture
def attach(server: sshd.Server) -> list[str]:
    return [sys.executable, "-c", ATTACH, str(server.config)]


def test_a_terminal_is_lent(attach: list[str]) -> None:
    program, *args = [*attach, "sh"]
    with pexpect.spawn(
        program,
        args,
        encoding="utf-8",
        timeout=30,
        dimensions=(31, 97),
        env={**os.environ, "TERM": "vt220"},
    ) as shell:
        shell.expect_exact("there> ")
        for line, answer in (
            ("stty size", "31 97"),
            ("echo $TERM", "vt220"),
            ("tty", "/dev/pts/"),
            ("pwd", "/tmp"),
            ("echo $X", "it's!"),
        ):
            shell.sendline(line)
            shell.expect_exact(answer)
            shell.expect_exact("there> ")
        shell.sendline("sleep 1000")
        shell.expect_exact("sleep 1000")
        shell.sendintr()
        shell.expect_exact("there> ")
        shell.sendline("exit 7")
        shell.expect_exact("code 7")


def test_without_a_terminal_the_streams_are_lent(attach: list[str]) -> None:
    script = 'cat; printf "%s," "$@"; test -t 0 || exit 6'
    done = subprocess.run(
        [*attach, "sh", "-c", script, "sh", "it's", "!!", "new\nline", ""],
        input="given\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "given\nit's,!!,new\nline,,code 6\n"


def test_a_death_on_the_terminal(attach: list[str]) -> None:
    done = subprocess.run(
        [*attach, "sh", "-c", "kill -KILL $$"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "code -9" in done.stdout
