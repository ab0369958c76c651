"""What every Runner must do. A new one is one more name in LOCAL or OVER_SSH.

They enter a real Debian: its archive is kept between runs of the tests. Those over a host do so
through a real sshd, in a clone that is mounted there. Jails need FreeBSD: what their runner does
with its programs is in tests/real/test_remote_runners.py.
"""

from __future__ import annotations

import contextlib
import os
import platform
import struct
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sshd

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import Lab, opened
from behunt.errors import InstallError
from behunt.hosts.protocol import Host
from behunt.model import Limits, Release
from behunt.runners import runners
from behunt.runners.protocol import AT, CAPABILITIES, Inside, Runner, Setup
from behunt.storage.home import Home
from behunt.storage.protocol import Clone

pytestmark = pytest.mark.real

HOSTNAME = "debian-12-amd64"
LOCAL = ("none", "chroot", "namespace", "uml", "qemu")
OVER_SSH = ("chroot over ssh", "namespace over ssh")


def release_called(name: str) -> Release:
    return catalogue.find(catalogue.load("debian"), name, os="debian")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Iterator[Lab]:
    """One for all tests here: a Debian is unpacked once."""
    home = tmp_path_factory.mktemp("runners") / "home"
    (home / "cache").mkdir(parents=True)
    for name in ("installed", "uml", "machines"):
        (kept / name).mkdir(exist_ok=True)
        (home / "cache" / name).symlink_to(kept / name)
    with opened(Home(home).make().path, "none") as lab:
        yield lab


@dataclass
class Place:
    """Enters clones of a release with one runner."""

    lab: Lab
    runner: Runner
    release: Release
    exchange: Path

    @contextlib.contextmanager
    def enter(self, *, limits: Limits | None = None, network: bool = False) -> Iterator[Inside]:
        setup = Setup(
            self.exchange,
            HOSTNAME,
            self.lab.owner.token,
            limits=limits or Limits(),
            network=network,
        )
        with contextlib.ExitStack() as stack:
            clone = None
            if self.runner.needs_root_tree:
                clone = stack.enter_context(self.lab.store.clone(ensure(self.lab, self.release)))
                self.runner.prepare(self.release, clone)
            yield stack.enter_context(self.runner.enter(clone, setup))

    @contextlib.contextmanager
    def neighbour(self, marker: str) -> Iterator[None]:
        """A process of the host with `marker` among its words."""
        wait = [sys.executable, "-c", "print(flush=True); input()", marker]
        with subprocess.Popen(wait, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            yield
            process.communicate(b"\n")


@dataclass
class FarPlace(Place):
    """The same over `host`, which mounts the clone."""

    host: Host

    @contextlib.contextmanager
    def enter(self, *, limits: Limits | None = None, network: bool = False) -> Iterator[Inside]:
        size = limits.disk if limits else None
        setup = Setup(
            self.exchange,
            HOSTNAME,
            self.lab.owner.token,
            limits=replace(limits or Limits(), disk=None),
            network=network,
        )
        with self.mounted(size) as clone, self.runner.enter(clone, setup) as inside:
            yield inside

    @contextlib.contextmanager
    def neighbour(self, marker: str) -> Iterator[None]:
        # Not of the command's own tree, which ends with it: it has left once it says its number.
        script = """
            echo "$(env -i setsid sh -c 'echo $$; exec >&2; sleep 1000; :' "$1" \\
                </dev/null 2>/dev/null &)"
        """
        process = self.host.run(["sh", "-c", script, "sh", marker], check=True).out.strip()
        yield
        self.host.run(["kill", process], check=True)

    @contextlib.contextmanager
    def mounted(self, size: int | None) -> Iterator[Clone]:
        bootenv = ensure(self.lab, self.release)
        stage = f"/run/clone.{uuid.uuid4().hex}"
        words = [stage, str(bootenv.path), str(size or "50%")]
        self.host.run(["sh", "-ec", MOUNT, "sh", *words], check=True)
        try:
            yield Clone("far", bootenv, root=f"{stage}/m")
        finally:
            self.host.run(["umount", f"{stage}/m", stage], check=True)


MOUNT = """
    mkdir "$1"; mount -t tmpfs -o "size=$3" none "$1"; cd "$1"; mkdir u w m
    mount -t overlay -o "lowerdir=$2,upperdir=$1/u,workdir=$1/w" none m
"""
Places = Callable[..., Place]


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """This machine, reached by ssh. What is mounted there is gone with its sshd."""
    with sshd.running(tmp_path_factory.mktemp("far")) as server, server.host() as host:
        yield host


@pytest.fixture
def places(lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> Places:
    exchange = tmp_path / "exchange"
    exchange.mkdir()

    def place(runner: str, release: str = "12") -> Place:
        name = runner.removesuffix(" over ssh")
        if name == runner:
            return Place(lab, runners(lab.home)[runner], release_called(release), exchange)
        host: Host = request.getfixturevalue("far")
        known = runners(lab.home, host)
        return FarPlace(lab, known[name], release_called(release), exchange, host)

    return place


@pytest.fixture(params=[*LOCAL, *OVER_SSH])
def place(request: pytest.FixtureRequest, places: Places) -> Place:
    return places(request.param)


@pytest.fixture
def limited(place: Place) -> Place:
    if "limits" not in place.runner.capabilities:
        pytest.skip("it has no limits")
    return place


@pytest.fixture(params=[*(name for name in LOCAL if name != "none"), *OVER_SSH])
def rooted(request: pytest.FixtureRequest, places: Places) -> Place:
    """With a runner that enters an installed root."""
    return places(request.param)


def test_it_says_what_it_can_do(place: Place) -> None:
    assert place.runner.capabilities <= CAPABILITIES.keys()
    assert place.runner.missing() == ""
    assert place.runner.unfit(place.release) == ""


@pytest.mark.parametrize("code", [0, 125, 127])
def test_an_exit_code_comes_back(place: Place, code: int) -> None:
    with place.enter() as inside:
        done = inside.host.run(["sh", "-c", f"exit {code}"])
    assert (done.code, done.started, done.timed_out, done.panic) == (code, True, False, "")


def test_death_by_a_signal_is_a_failure(place: Place) -> None:
    with place.enter() as inside:
        done = inside.host.run(["sh", "-c", "kill -KILL $$"])
    assert done.code in {-9, 128 + 9}  # a machine of its own knows it by the shell's word
    assert done.started
    assert not done.timed_out


def test_output_comes_as_it_is(place: Place) -> None:
    said = bytearray()
    script = r"printf 'one\r\n\377\200\0\033[1m'; printf 'two\n' >&2; printf three"
    with place.enter() as inside:
        inside.host.run(["sh", "-c", script], sink=said.extend)
    assert said == b"one\r\n\xff\x80\x00\x1b[1mtwo\nthree"


def test_a_flood_of_output_comes_whole(place: Place) -> None:
    lengths: list[int] = []
    with place.enter() as inside:
        script = "yes | head -c 3000000; echo flood >/dev/console 2>/dev/null; exit 7"
        done = inside.host.run(["sh", "-c", script], sink=lambda data: lengths.append(len(data)))
    assert done.code == 7
    assert sum(lengths) == 3_000_000


def test_arguments_and_environment_come_unchanged(place: Place) -> None:
    words = ["it's", "$HOME", "a b", '"', "x;y", "*", "\\n", "", "é"]
    with place.enter() as inside:
        env = {"WORD": "a 'b' $c\nd"}
        argv = ["sh", "-c", 'printf "%s\\0" "$@" "$WORD" "$HOME"', "sh", *words]
        done = inside.host.run(argv, env=env)
    assert done.out.split("\0") == [*words, env["WORD"], "/root", ""]


def test_files_of_the_exchange_directory_are_seen_inside_and_back(place: Place) -> None:
    (place.exchange / "work/sub").mkdir(parents=True)
    (place.exchange / "work/sub/data").write_bytes(b"\0\xff")
    script = place.exchange / "work/run"
    script.write_text('#!/bin/sh\ncat sub/data >answer; pwd; stat -c %a run; exit "$1"\n')
    script.chmod(0o750)
    with place.enter() as inside:
        done = inside.host.run(["./run", "3"], cwd=str(inside.at / "work"))
        assert inside.files.run(["cat", str(inside.at / "work/run")]).out == script.read_text()
        at = inside.at
    assert (done.code, done.out) == (3, f"{at}/work\n750\n")
    assert (place.exchange / "work/answer").read_bytes() == b"\0\xff"
    assert (at == AT) == place.runner.needs_root_tree


def test_the_release_is_what_is_entered_and_the_installed_root_stays_as_it_is(
    rooted: Place,
) -> None:
    for _ in range(2):
        with rooted.enter() as inside:
            script = "cat /etc/debian_version; ls /new 2>/dev/null; echo x >/new; rm /etc/passwd"
            done = inside.host.run(["sh", "-c", script], check=True)
            assert done.out.startswith("12.")
            assert "new" not in done.out


def test_a_root_can_be_entered_only_in_a_clone(rooted: Place) -> None:
    setup = Setup(rooted.exchange, HOSTNAME, "nobody")
    with pytest.raises(ValueError, match="needs a clone"), rooted.runner.enter(None, setup):
        pass


def test_a_program_that_is_not_there_never_started(place: Place) -> None:
    with place.enter() as inside:
        done = inside.host.run(["/nowhere/program"])
        assert (done.started, done.code) == (False, 127)
        assert "/nowhere/program" in done.failure
        assert inside.host.run(["true"]).code == 0


def test_neither_did_one_for_another_processor(place: Place) -> None:
    foreign = place.exchange / "foreign"
    s390x = 22
    header = b"\x7fELF" + bytes([2, 2, 1]) + bytes(9) + struct.pack(">HHI", 2, s390x, 1)
    foreign.write_bytes(header + bytes(200))
    foreign.chmod(0o755)
    with place.enter() as inside:
        done = inside.host.run(["./foreign"], cwd=str(inside.at))
    assert not done.started
    assert "Exec format error" in done.failure


def test_neither_did_one_in_a_directory_that_is_not_there(place: Place) -> None:
    with place.enter() as inside:
        done = inside.host.run(["true"], cwd="/nowhere")
    assert not done.started
    assert "directory" in done.failure


def test_the_kernel_that_answers_is_told(place: Place) -> None:
    with place.enter() as inside:
        said = inside.host.run(["uname", "-r"], check=True).out.strip()
        assert inside.kernel() == said
    own = "own_kernel" in place.runner.capabilities
    assert (said != platform.release()) == own


def test_isolation_is_what_it_says(place: Place) -> None:
    isolated = "isolation" in place.runner.capabilities
    marker = uuid.uuid4().hex
    with place.neighbour(marker), place.enter() as inside:
        pattern = f"[{marker[0]}]{marker[1:]}"  # does not match itself
        seen = inside.host.run(["sh", "-c", f"grep -q '{pattern}' /proc/[0-9]*/cmdline"]).code == 0
        name = inside.host.run(["uname", "-n"]).out.strip()
    assert (seen, name) == ((False, HOSTNAME) if isolated else (True, platform.node()))


def interfaces(inside: Inside) -> set[str]:
    rows = inside.host.run(["cat", "/proc/net/dev"], check=True).out.splitlines()[2:]
    return {row.split(":")[0].strip() for row in rows}


def test_there_is_no_network_unless_asked_for(place: Place) -> None:
    here = set(os.listdir("/sys/class/net"))  # noqa: PTH208
    own_kernel = "own_kernel" in place.runner.capabilities
    with place.enter() as inside:
        assert interfaces(inside) == ({"lo"} if place.runner.needs_root_tree else here)
    if "network" in place.runner.capabilities:
        with place.enter(network=True) as inside:
            assert interfaces(inside) == ({"lo", "eth0"} if own_kernel else here)


def test_too_much_memory_is_the_end_and_is_told(limited: Place) -> None:
    with limited.enter(limits=Limits(memory=96 << 20)) as inside:
        done = inside.host.run(["sh", "-c", "tail /dev/zero"], timeout=60)
        assert done.code not in {0, 125}
        assert not done.timed_out
        assert inside.exceeded() == f"out of memory: the limit is {96 << 20} bytes"
        assert inside.exhausted() == ""


def test_too_many_processes_are_refused(limited: Place) -> None:
    script = "i=0; while [ $i -lt 60 ]; do sleep 100 & i=$((i+1)); done; echo all"
    with limited.enter(limits=Limits(processes=30)) as inside:
        done = inside.host.run(["sh", "-c", script], timeout=60)
    assert "all" not in done.out
    assert done.code != 0
    with limited.enter(limits=Limits(processes=90)) as inside:
        assert "all" in inside.host.run(["sh", "-c", script], timeout=60).out


def test_a_limit_that_is_not_reached_is_not_told(limited: Place) -> None:
    with limited.enter(limits=Limits(memory=256 << 20, processes=100, cpus=1.5)) as inside:
        assert inside.host.run(["sh", "-c", "exit 3"]).code == 3
        assert inside.exceeded() == ""


def test_a_deadline_ends_all_and_the_next_run_works(place: Place) -> None:
    marker = uuid.uuid4().hex
    script = "trap '' TERM; (setsid sleep 1000 &) ; echo up; sleep 1000"
    said = bytearray()
    with place.enter() as inside:
        done = inside.host.run(
            ["sh", "-c", script], env={"MARKER": marker}, timeout=1, sink=said.extend
        )
        assert done.timed_out
        assert said == b"up\n"
        assert inside.host.run(["sh", "-c", "exit 4"]).code == 4
        assert processes_with(marker) == []


def test_what_is_left_running_is_dead_on_leaving(place: Place) -> None:
    marker = uuid.uuid4().hex
    with place.enter() as inside:
        script = "setsid sleep 1000 >/dev/null 2>&1 & (sleep 1000 >/dev/null 2>&1 &)"
        assert inside.host.run(["sh", "-c", script], env={"MARKER": marker}).code == 0
    assert processes_with(marker) == []


def processes_with(marker: str) -> list[str]:
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if marker.encode() in environ.read_bytes():
                found.append(environ.parent.name)
    return found


def test_a_full_clone_is_told_as_ours(rooted: Place) -> None:
    # A machine keeps its memory there too.
    disk = (640 if "own_kernel" in rooted.runner.capabilities else 16) << 20
    with rooted.enter(limits=Limits(disk=disk)) as inside:
        assert inside.exhausted() == ""
        done = inside.host.run(["sh", "-c", "cat /dev/zero >/big"])
        assert done.code != 0
        assert inside.exhausted() == "the clone's disk is full"


# The machine of its own


@pytest.fixture(params=["uml", "qemu"])
def machine(request: pytest.FixtureRequest, places: Places) -> Place:
    return places(request.param)


@pytest.mark.parametrize("runner", ["uml", "qemu"])
@pytest.mark.parametrize("name", ["11", "13", "sid"])
def test_the_kernels_of_other_releases_boot(places: Places, name: str, runner: str) -> None:
    place = places(runner, name)
    with place.enter() as inside:
        done = inside.host.run(["sh", "-c", "uname -r; id -u"], check=True)
        assert done.out.split() == [inside.kernel(), "0"]
        assert inside.kernel() != platform.release()
        # uses all the registers that the processor has
        done = inside.host.run(["sh", "-c", "echo '#!/bin/sh' | sed 's/^#!//'"], check=True)
        assert done.out == "/bin/sh\n"


def test_a_panic_is_told_with_what_the_kernel_said(machine: Place) -> None:
    said = bytearray()
    with machine.enter() as inside:
        script = "echo before; echo c >/proc/sysrq-trigger; sleep 100"
        done = inside.host.run(["sh", "-c", script], sink=said.extend)
        first, *screen = done.panic.splitlines()
        assert first == "Kernel panic - not syncing: sysrq triggered crash"
        assert said.startswith(b"before\n")
        assert b"sysrq triggered crash" in said
        assert 10 < len(screen) <= 25
        assert screen[-1].encode() in said
        assert inside.host.run(["true"]).panic == ""


def test_a_machine_that_is_switched_off_under_the_test_is_a_panic(machine: Place) -> None:
    with machine.enter() as inside:
        done = inside.host.run(["sh", "-c", "echo o >/proc/sysrq-trigger; sleep 100"])
    assert done.started
    assert done.panic.startswith("the machine went down under the test")


def test_memory_that_nobody_limited_is_not_the_tests_fault(machine: Place) -> None:
    with machine.enter() as inside:
        done = inside.host.run(["sh", "-c", "tail /dev/zero"])
        assert done.code != 0
        assert inside.exceeded() == ""
        assert "memory" in inside.exhausted()


def test_a_console_full_of_noise_does_not_hide_the_answer(machine: Place) -> None:
    with machine.enter() as inside:
        script = "yes noise | head -c 2000000 >/dev/kmsg; yes | head -c 2000000 >/dev/tty0; exit 5"
        assert inside.host.run(["sh", "-c", script]).code == 5


def test_a_release_without_the_package_says_so(lab: Lab, machine: Place) -> None:
    place = machine
    bootenv = ensure(lab, place.release)
    before = half_made(lab)  # what is kept between runs may have some of a run that was killed
    with lab.store.clone(bootenv) as clone:
        # Its apt finds nothing: as in a release that has no such package.
        no_apt = place.exchange / "layer"
        (no_apt / "etc/apt").mkdir(parents=True)
        (no_apt / "etc/apt/sources.list").write_text("")
        bare = replace(clone, lower=(str(no_apt), *clone.lower))
        unknown = replace(bare, bootenv=replace(bootenv, identity="no kernel is kept for it"))
        with pytest.raises(InstallError, match="cannot fetch the kernel of debian-12-amd64"):
            place.runner.prepare(place.release, unknown)
        assert place.runner.prepared(unknown.bootenv) is None
    assert half_made(lab) == before


def half_made(lab: Lab) -> set[Path]:
    return {*lab.home.kernels.glob(".fetch.*"), *lab.home.machines.glob(".make.*")}
