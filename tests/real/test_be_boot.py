"""`behunt be boot`: a user sits at a machine that is a clone, with its own kernel."""

from __future__ import annotations

import signal
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pexpect
import pytest
from behunt_cli import COMMAND, Behunt
from homes import sharing
from running import PATIENCE, Start, nothing_is_left
from tiny_root import tiny_root

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import opened
from behunt.hosts.dialogue import Row
from behunt.runners.vm.interactive import Order, started
from behunt.runners.vm.seat import Terminal
from behunt.storage.protocol import Clone

pytestmark = pytest.mark.real

PROMPT = "root@debian-12-amd64:~# "
BOOT = 120  # seconds, on a machine however busy
Sitting = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture(scope="module")
def behunt(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Behunt:
    """One for all: what is installed once is never changed, as the tests show."""
    made = Behunt.below(tmp_path_factory.mktemp("boot"))
    sharing(made.home, kept)
    return made


@pytest.fixture
def sits(behunt: Behunt) -> Iterator[Sitting]:
    """A user who has typed `behunt be boot …`; what still runs in the end is killed."""
    with ExitStack() as stack:

        def types(*words: str) -> pexpect.spawn[str]:
            program, *args = [*COMMAND, "be", "boot", *words]
            user = pexpect.spawn(
                program,
                args,
                cwd=str(behunt.place),
                env={**behunt.environment(), "TERM": "xterm"},
                encoding="utf-8",
                timeout=BOOT,
                dimensions=(31, 97),
            )
            return stack.enter_context(user)

        yield types


def asked(user: pexpect.spawn[str], line: str) -> list[str]:
    """What the shell shows, without its echo."""
    user.sendline(line)
    user.expect_exact(f"{line}\r\n")
    user.expect_exact(PROMPT)
    shown = str(user.before).replace("\x1b[?2004h", "").replace("\x1b[?2004l\r", "")
    return [line for line in shown.splitlines() if line]


def ended(user: pexpect.spawn[str]) -> int | None:
    user.expect(pexpect.EOF)
    user.wait()
    return user.exitstatus


def test_a_user_looks_around_reboots_and_leaves(behunt: Behunt, sits: Sitting) -> None:
    user = sits("debian-12")
    user.expect_exact("behunt: booting debian-12-amd64; Ctrl-] leaves and ends it")
    user.expect_exact(PROMPT)
    (release,) = asked(user, "uname -r")
    assert release.startswith("6.1.")
    assert asked(user, "test -d /lib/modules/$(uname -r)/kernel && id -u; cat /proc/1/comm") == [
        "0",
        "alone",
    ]
    assert asked(user, "tty; stty size; echo $TERM") == ["/dev/ttyS0", "31 97", "xterm"]
    user.sendline("sh -c 'echo up; exec sleep 1000'")
    user.expect_exact("\rup\r\n")
    user.sendintr()
    user.expect_exact(PROMPT)
    assert asked(user, "echo $?; echo made >/etc/made") == ["130"]
    assert asked(user, "hostname; ls /sys/class/net") == ["debian-12-amd64", "lo"]

    user.sendline("echo b >/proc/sysrq-trigger")
    user.expect_exact("No /sbin/init here")
    user.expect_exact(PROMPT)
    assert asked(user, "cat /etc/made; cat /etc/hostname") == ["made", "debian-12-amd64"]

    user.send("\x1d")
    user.expect_exact("behunt: left debian-12-amd64")
    assert ended(user) == 0
    assert termios.tcgetattr(user.child_fd)[3] & termios.ECHO, "the terminal is as it was"
    root = behunt.home / "be/debian-12-amd64/root"
    assert (root / "etc/debian_version").is_file()
    assert not (root / "etc/made").exists()
    nothing_is_left(behunt)


def test_the_end_of_the_shell_is_the_machine_s(behunt: Behunt, sits: Sitting) -> None:
    user = sits("--memory", "512M", "--network", "debian-12")
    user.expect_exact(PROMPT)
    assert asked(user, "ls -x /sys/class/net; cat /etc/resolv.conf") == [
        "eth0  lo",
        "nameserver 10.0.2.3",
    ]
    assert asked(user, "read -r _ kib _ </proc/meminfo; echo $((kib < 524288))") == ["1"]
    user.sendline("exit")
    user.expect_exact("behunt: the end of debian-12-amd64")
    assert ended(user) == 0
    nothing_is_left(behunt)


def test_a_panic_ends_it_with_what_the_kernel_said(behunt: Behunt, sits: Sitting) -> None:
    user = sits("debian-12")
    user.expect_exact(PROMPT)
    user.sendline("echo c >/proc/sysrq-trigger")
    user.expect_exact("behunt: debian-12-amd64 went down: sysrq triggered crash")
    assert ended(user) == 1
    nothing_is_left(behunt)


def test_without_a_terminal_it_is_shown_and_sigkill_leaves_nothing(
    behunt: Behunt, start: Start
) -> None:
    running = start("be", "boot", "debian-12")
    running.tells_of("behunt: booting debian-12-amd64; Ctrl-C ends it")
    assert running.process.stdout is not None
    assert any("No /sbin/init here" in line for line in running.process.stdout)
    running.signalled(signal.SIGKILL)
    nothing_is_left(behunt)


def test_a_clone_that_the_store_mounts_is_the_root_itself(tmp_path: Path, kept: Path) -> None:
    """As those of ZFS are. Of behunt's own it gets the directory that modules are mounted on."""
    release = catalogue.find(catalogue.load("debian"), "12", os="debian")
    (tmp_path / "scratch").mkdir()
    with opened(sharing(tmp_path / "home", kept).path, "qemu") as lab:
        bootenv = ensure(lab, release)
        before = {path.relative_to(bootenv.path) for path in bootenv.path.rglob("*")}
        clone = Clone("clone", bootenv, root=str(bootenv.path))
        order = Order("named", Terminal())
        with started(release, clone, order, lab.home.machines, tmp_path / "scratch") as running:
            running.monitor.go_on()
            typed = [
                Row(text="root@named:~# ", send="echo 'it''s' >/srv/written; exit\r", times=1),
                Row(text="logout", reached="left"),
            ]
            end = running.console.play(typed, time.monotonic() + BOOT)
            assert end.state == "left"
            assert running.monitor.ended(PATIENCE) == "guest-shutdown"
        (modules,) = bootenv.path.glob("lib/modules/*")
        assert [*modules.iterdir()] == []
        after = {path.relative_to(bootenv.path) for path in bootenv.path.rglob("*")}
    assert {*map(str, after - before)} == {
        "srv/written",
        "root/.bash_history",
        "usr/lib/modules",
        f"usr/lib/modules/{modules.name}",
    }
    assert (bootenv.path / "etc/hostname").read_text() != "named\n"
    assert (bootenv.path / "srv/written").read_text() == "its\n"


def test_what_cannot_be_booted_is_said_in_one_sentence(behunt: Behunt) -> None:
    root = tiny_root(behunt.place / "root")
    own = behunt.place / "own.toml"
    own.write_text(f'os = "debian"\n[[release]]\nversion = "12.99"\nsource = "{root}"\n')
    said = behunt.fails(
        1, "be", "boot", "--catalogue", own, "debian-12.99", says="cannot fetch the kernel"
    )
    assert "linux-image-amd64" in said
    behunt.fails(1, "be", "boot", "openbsd-7.5", says="cannot boot openbsd-7.5-amd64")
    behunt.fails(2, "be", "boot", "nosuch-1", says="nosuch")
    behunt.fails(2, "be", "boot", "--memory", "512", "debian-12", says="less than a megabyte")
    behunt.fails(2, "be", "boot", "-w", "debian-12", says="keeps no datasets")
    nothing_is_left(behunt)
