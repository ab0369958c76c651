"""However behunt ends, no process and no mount of a sandbox is left."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_root import alive, tiny_root

from behunt.errors import HostError
from behunt.hosts.confined import Confined
from behunt.hosts.local import LocalHost
from behunt.hosts.sandbox import Sandbox

pytestmark = pytest.mark.real

_PATIENCE = 30  # seconds for a process to die

# A behunt with a sandbox of each kind. In each run daemons and a command that is waited for; one
# more has ended, and its end was never read. Then it does as it is told on standard input.
BEHUNT = """
import os, select, sys, threading
from behunt.hosts.confined import Confined
from behunt.hosts.sandbox import ALL_NAMESPACES, Sandbox

root, stage, marker = sys.argv[1:]
DAEMONS = "setsid sleep 1000 & (setsid sh -c 'sleep 1000 & exec sleep 1000' &); sleep 1000 &"
KINDS = (
    Sandbox(),
    Sandbox(root=root),
    Sandbox(ALL_NAMESPACES, lower=(root,), stage=stage, tame=True),
    Sandbox(("mount", "net"), lower=(root,), stage=stage),
    Sandbox(("pid", "mount"), root=root),
)
open_ones = []
ready = threading.Barrier(len(KINDS) + 1)

def work(inside):
    inside.run(
        ["sh", "-c", f"trap '' TERM; {DAEMONS} echo up; exec sleep 1000"],
        env={"M": marker}, timeout=900, sink=lambda data: b"up" in data and ready.wait(),
    )

for sandbox in KINDS:
    threading.Thread(target=work, args=(Confined(sandbox),), daemon=True).start()
    unread = Confined(sandbox)
    open_ones.append(unread)
    ours, theirs = os.openpty()
    argv = ["sh", "-c", f"trap '' HUP; {DAEMONS}"]
    unread.session.start(argv, env={"M": marker, "PATH": "/bin:/usr/bin"}, cwd="/", tty=theirs)
    select.select([unread.session], [], [])
ready.wait()
print("up", flush=True)
for line in sys.stdin:
    with Confined(KINDS[2]) as inside:
        print(inside.run(line.split(), env={"M": marker}, timeout=900).code, flush=True)
"""

COMMANDS = 5 * (5 + 4)  # of each kind four daemons and a sleep, and four daemons alone
PROCESSES = 1 + 5 * 2 + COMMANDS  # the spawner, and of each kind two keepers


@pytest.fixture
def marker() -> str:
    return f"behunt-test-{uuid.uuid4().hex}"


@pytest.fixture
def behunt(tmp_path: Path, marker: str) -> Iterator[subprocess.Popen[str]]:
    root = tiny_root(tmp_path / "root")
    (tmp_path / "stage").mkdir()
    argv = [sys.executable, "-c", BEHUNT, str(root), str(tmp_path / "stage"), marker]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            while len(alive(marker)) < COMMANDS:
                assert process.poll() is None
            yield process
        finally:
            process.kill()


def below(pid: int) -> list[int]:
    """Every descendant."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(entry.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def held(pids: list[int]) -> dict[int, int]:
    """A pidfd of each, so that the end of just this one is seen."""
    found = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            found[pid] = os.pidfd_open(pid)
    return found


def dies(pidfd: int) -> bool:
    ready, _, _ = select.select([pidfd], [], [], _PATIENCE)
    os.close(pidfd)
    return bool(ready)


def spawner_of(process: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    (spawner,) = children.read_text(encoding="ascii").split()
    return int(spawner)


def assert_nothing_is_left(processes: dict[int, int], marker: str, stage: Path) -> None:
    assert len(processes) >= PROCESSES
    assert [pid for pid, pidfd in processes.items() if not dies(pidfd)] == []
    assert alive(marker) == []
    assert str(stage) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    assert list(stage.iterdir()) == []


def test_a_killed_behunt(behunt: subprocess.Popen[str], marker: str, tmp_path: Path) -> None:
    processes = held(below(behunt.pid))
    behunt.kill()
    assert_nothing_is_left(processes, marker, tmp_path / "stage")


def test_a_killed_spawner_is_replaced_and_its_sandboxes_go_on(
    behunt: subprocess.Popen[str], marker: str, tmp_path: Path
) -> None:
    processes = held(below(behunt.pid))
    spawner = spawner_of(behunt)
    os.kill(spawner, signal.SIGKILL)
    assert dies(processes.pop(spawner))
    assert all(not select.select([pidfd], [], [], 0)[0] for pidfd in processes.values())
    assert behunt.stdin is not None
    assert behunt.stdout is not None
    behunt.stdin.write("false\n")
    behunt.stdin.flush()
    assert behunt.stdout.readline() == "1\n"
    processes |= {spawner: os.pidfd_open(spawner_of(behunt))}
    behunt.kill()
    assert_nothing_is_left(processes, marker, tmp_path / "stage")


def test_control_c(behunt: subprocess.Popen[str], marker: str, tmp_path: Path) -> None:
    assert behunt.stdin is not None
    behunt.stdin.write("sleep 1000\n")  # what it waits for while it is interrupted
    behunt.stdin.flush()
    while len(found := below(behunt.pid)) < PROCESSES + 2:  # its keeper, and the sleep
        assert behunt.poll() is None
    processes = held(found)
    behunt.send_signal(signal.SIGINT)
    assert behunt.wait(_PATIENCE) != 0
    assert_nothing_is_left(processes, marker, tmp_path / "stage")


@pytest.mark.parametrize("kind", ["tree", "chroot", "namespaces"])
def test_a_killed_keeper_is_an_error_and_its_orphans_die(
    tmp_path: Path, marker: str, kind: str
) -> None:
    """The out-of-memory killer does not know a keeper when it sees one."""
    box = {
        "tree": Sandbox(),
        "chroot": Sandbox(root=str(tiny_root(tmp_path / "root"))),
        "namespaces": Sandbox(("pid", "mount")),
    }[kind]
    orphans: dict[int, int] = {}

    def kill_the_keeper(_: bytes) -> None:
        while len(found := alive(marker)) < 3:  # one that is being executed has no environment
            os.sched_yield()
        orphans.update(held(found))
        parents = {Path(f"/proc/{pid}/stat").read_text("ascii").split()[3] for pid in orphans}
        (keeper,) = {int(parent) for parent in parents} - set(orphans)
        os.kill(keeper, signal.SIGKILL)

    script = "setsid sleep 1000 & (setsid sleep 1000 &); echo up; exec sleep 1000"
    with Confined(box) as inside, pytest.raises(HostError, match="died"):
        inside.run(["sh", "-c", script], env={"M": marker}, sink=kill_the_keeper)
    assert len(orphans) == 3
    assert [pid for pid, pidfd in orphans.items() if not dies(pidfd)] == []
    assert LocalHost().run(["true"]).code == 0


def test_a_chain_of_processes_longer_than_any_stack_is_killed(marker: str) -> None:
    class EnoughError(Exception):
        pass

    def stop(data: bytes) -> None:
        if b"up" in data:
            raise EnoughError

    script = '[ $1 = 0 ] && { echo up; exec sleep 1000; }; sh -c "$S" sh $(($1-1)); :'
    env = {"M": marker, "S": script}
    with Confined(Sandbox()) as inside, pytest.raises(EnoughError):
        inside.run(["sh", "-c", script, "sh", "1200"], env=env, sink=stop)
    assert alive(marker) == []


def test_two_hundred_runs_leave_no_descriptor_and_no_child() -> None:
    assert LocalHost().run(["true"]).code == 0  # the spawner is there
    before = set(Path("/proc/self/fd").iterdir())
    others = set(below(os.getpid()))  # the spawner, and what other tests keep
    for turn in range(200):
        run = LocalHost().run(["sh", "-c", "cat; exit $0", str(turn % 3)], stdin=b"x", timeout=60)
        assert run.code == turn % 3
    assert LocalHost().run(["no-such-program"]).started is False
    with pytest.raises(HostError):
        Confined(Sandbox(root="/no/such/root"))
    assert set(Path("/proc/self/fd").iterdir()) == before
    ending = held([pid for pid in below(os.getpid()) if pid not in others])
    assert [pid for pid, pidfd in ending.items() if not dies(pidfd)] == []


def test_a_controller_with_thousands_of_descriptors_can_run_commands() -> None:
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(1200)]  # select(2) ends at 1023
    try:
        assert LocalHost().run(["cat"], stdin=b"in").out == "in"
    finally:
        for fd in files:
            os.close(fd)
