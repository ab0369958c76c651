"""`behunt be bootnfs`: a user sits at a machine whose root is a clone, by NFS."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from behunt_cli import COMMAND, Behunt
from homes import sharing
from running import Start, nothing_is_left

from behunt.storage.home import Home

pytestmark = pytest.mark.real
BOOT = 90  # seconds, on a machine however busy
ALONE = "No /sbin/init here: a shell of root's."


@pytest.fixture(scope="module")
def behunt(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Behunt:
    made = Behunt.below(tmp_path_factory.mktemp("bootnfs"))
    sharing(made.home, kept)
    return made


@pytest.fixture
def user(behunt: Behunt) -> Iterator[pexpect.spawn[str]]:
    """Who has typed `behunt be bootnfs debian-12`."""
    program, *args = [*COMMAND, "be", "bootnfs", "debian-12"]
    with pexpect.spawn(
        program,
        args,
        cwd=str(behunt.place),
        env={**behunt.environment(), "TERM": "xterm"},
        encoding="utf-8",
        timeout=BOOT,
    ) as user:
        yield user


def up(user: pexpect.spawn[str]) -> None:
    user.expect_exact(ALONE)
    user.expect_exact("# ")


def asked(user: pexpect.spawn[str], line: str) -> list[str]:
    """What the shell shows, without its echo and its prompt."""
    user.sendline(f"{line}; echo end-$?")
    user.expect(r"echo end-\$\?\r\n(.*?)end-(\d+)\r\n")
    assert user.match is not None
    shown, code = user.match.groups()
    assert code == "0", shown
    return str(shown).splitlines()


def test_a_user_looks_around_reboots_and_leaves(behunt: Behunt, user: pexpect.spawn[str]) -> None:
    user.expect_exact("behunt: booting debian-12-amd64; Ctrl-] leaves and ends it")
    up(user)
    (root,) = asked(user, "grep ' / nfs ' /proc/mounts")
    assert root.startswith("10.0.2.2:/debian-12-amd64 / nfs rw,")
    assert asked(user, "id -u; hostname; test -d /lib/modules/$(uname -r)") == [
        "0",
        "debian-12-amd64",
    ]
    assert asked(user, "cp -p /etc/passwd /etc/made; sed -i s/root/made/ /etc/made") == []
    asked(user, "sync")
    user.sendline("echo b >/proc/sysrq-trigger")
    up(user)
    assert asked(user, "head -n 1 /etc/made | cut -d : -f 1") == ["made"]
    user.sendline("exit")
    user.expect_exact("behunt: the end of debian-12-amd64")
    user.expect(pexpect.EOF)
    user.wait()
    assert user.exitstatus == 0
    assert not (behunt.home / "be/debian-12-amd64/root/etc/made").exists()
    nothing_is_left(behunt)


def test_without_a_terminal_it_is_shown_and_sigkill_leaves_nothing(
    behunt: Behunt, start: Start
) -> None:
    running = start("be", "bootnfs", "debian-12")
    running.tells_of("behunt: booting debian-12-amd64; Ctrl-C ends it")
    assert running.process.stdout is not None
    assert any(ALONE in line for line in running.process.stdout)
    running.signalled(signal.SIGKILL)
    nothing_is_left(behunt)
    own = f".serving.{running.process.pid}x*"
    assert list(Home(behunt.home).machines.glob(own)) == []


def test_what_cannot_be_booted_so(behunt: Behunt) -> None:
    behunt.fails(1, "be", "bootnfs", "freebsd-13.2", says="freebsd has a loader of its own")
    behunt.fails(1, "be", "bootnfs", "openbsd-7.5", says="cannot boot openbsd-7.5-amd64 over NFS")
