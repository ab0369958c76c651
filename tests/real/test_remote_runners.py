"""Runners over a Host: jails, on programs that do as FreeBSD 13.2's do, and what they share.

tests/stand_ins/freebsd-13.2 tells what those programs are. The conformance suite of runners asks
chroot and namespace the rest.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import sshd
from tiny_root import alive, tiny_root

from behunt.errors import HostError
from behunt.hosts.local import LocalHost, Prefixed
from behunt.hosts.protocol import CLEAN_ENV, Host
from behunt.model import BootEnv, Limits, Release
from behunt.runners import remote_exchange, runners
from behunt.runners.jail import JailRunner, vnet
from behunt.runners.jails import jails, reap
from behunt.runners.protocol import Inside, Setup
from behunt.runners.remote import Remote, shared_kernel
from behunt.runners.remote_host import Attaching
from behunt.storage.home import Home
from behunt.storage.protocol import Clone

pytestmark = pytest.mark.real

STAND_INS = Path(__file__).parents[1] / "stand_ins" / "freebsd-13.2"
TOKEN = "4711x6af0de"
NAMED = {"NAME": "it's me"}
RELEASE = Release(id="freebsd-9.3-amd64", os="freebsd", version="9.3", arch="amd64")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """What the programs of the host remember."""
    state = tmp_path / "state"
    (state / "jails").mkdir(parents=True)
    (state / "mounts").touch()
    return state


@pytest.fixture
def freebsd(state: Path) -> Callable[..., Host]:
    def host(**settings: str) -> Host:
        path = f"{STAND_INS}:{CLEAN_ENV['PATH']}"
        words = {"PATH": path, "STAND_IN_STATE": str(state), **settings}
        prefix = ("env", *(f"{name}={value}" for name, value in words.items()))
        return Prefixed(LocalHost(), prefix, "fbsd.lab")

    return host


@pytest.fixture
def runner(freebsd: Callable[..., Host]) -> JailRunner:
    return JailRunner(freebsd())


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    root = tiny_root(tmp_path / "it's a root")
    return Clone("c", BootEnv("c", RELEASE.id, root), root=str(root))


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    exchange = tmp_path / "run" / "inside"
    (exchange / "test").mkdir(parents=True)
    (exchange / "out").mkdir()
    return Setup(exchange, RELEASE.id, TOKEN, home="1f")


def log(state: Path) -> list[str]:
    return (state / "log").read_text().splitlines()


def script(setup: Setup, text: str) -> str:
    """A test `./run` of this text; its working directory inside."""
    (setup.exchange / "test/run").write_text(text)
    (setup.exchange / "test/run").chmod(0o755)
    return "/behunt/test"


# Jails


def test_a_run_in_a_jail_leaves_nothing_behind(
    runner: JailRunner, clone: Clone, setup: Setup, state: Path
) -> None:
    cwd = script(setup, '#!/bin/sh\necho "$1"; pwd; echo kept >../out/kept; exit 7\n')
    with runner.enter(clone, setup) as inside:
        [jail] = jails(runner.host)
        assert jail.path == clone.root
        done = inside.host.run(["./run", "it's"], cwd=cwd)
        assert (done.code, done.out, done.started) == (7, "it's\n/behunt/test\n", True)
        assert inside.kernel() == "13.2-RELEASE"
    assert (setup.exchange / "out/kept").read_text() == "kept\n"
    assert jails(runner.host) == []
    assert (state / "mounts").read_text() == ""
    assert not Path(clone.root, "behunt").exists()
    created = log(state)[0]
    assert f"name=bh_1f_{TOKEN}_" in created
    assert "osrelease=9.3-RELEASE osreldate=903000" in created
    assert "ip4=disable ip6=disable" in created


def test_a_jail_with_a_network_stack_of_its_own(
    freebsd: Callable[..., Host], clone: Clone, setup: Setup, state: Path
) -> None:
    """The ifconfig of 13.2 has no -j, so the one of the world brings lo0 up."""
    ifconfig = Path(clone.root, "sbin/ifconfig")
    ifconfig.parent.mkdir(exist_ok=True)
    ifconfig.unlink(missing_ok=True)
    ifconfig.write_text('#!/bin/sh\necho "$@" >/ifconfig\n')
    ifconfig.chmod(0o755)
    runner = vnet(freebsd())
    assert runner.missing() == ""
    assert runner.capabilities >= {"isolation", "loopback", "network"}
    with runner.enter(clone, setup):
        assert "vnet" in log(state)[0].split()
        assert Path(clone.root, "ifconfig").read_text() == "lo0 inet 127.0.0.1/8 up\n"
    with runner.enter(clone, replace(setup, network=True)):
        assert "ip4=inherit" in log(state)[-1].split()
    assert jails(runner.host) == []


def test_a_jail_whose_loopback_stays_down_is_not_entered(
    freebsd: Callable[..., Host], clone: Clone, setup: Setup
) -> None:
    runner = vnet(freebsd())
    Path(clone.root, "sbin/ifconfig").unlink(missing_ok=True)
    with pytest.raises(HostError, match="cannot bring up lo0"), runner.enter(clone, setup):
        pass
    assert jails(runner.host) == []


def test_the_worlds_own_header_tells_its_osreldate(
    runner: JailRunner, clone: Clone, setup: Setup, state: Path
) -> None:
    include = Path(clone.root, "usr/include")
    include.mkdir(parents=True)
    (include / "osreldate.h").write_text("#undef x\n#define __FreeBSD_version 903507\n")
    with runner.enter(clone, replace(setup, network=True)):
        pass
    assert "osreldate=903507" in log(state)[0]
    assert "ip4=inherit ip6=inherit allow.raw_sockets" in log(state)[0]


@pytest.mark.parametrize("code", [1, 125, 126, 127])
def test_a_tests_own_status_is_not_taken_for_one_of_jexec(
    runner: JailRunner, clone: Clone, setup: Setup, code: int
) -> None:
    with runner.enter(clone, setup) as inside:
        done = inside.host.run(["sh", "-c", f"exit {code}"])
        assert (done.code, done.started) == (code, True)
        lost = inside.host.run(["sh", "-c", f"rm -rf /behunt; exit {code}"])
        assert (lost.code, lost.started) == (code, True)
    assert list(setup.exchange.iterdir()) == []


def test_what_jexec_itself_cannot_do_is_no_answer(
    runner: JailRunner, clone: Clone, setup: Setup
) -> None:
    with runner.enter(clone, setup) as inside:
        [jail] = jails(runner.host)
        assert inside.host.run(["true"]).started
        runner.host.run(["jail", "-R", jail.name], check=True)
        done = inside.host.run(["true"], sink=bytearray().extend)
        assert not done.started
        assert f'jexec: jail "{jail.name}" not found' in done.failure


def test_a_test_that_lies_in_its_mark_gains_nothing(
    runner: JailRunner, clone: Clone, setup: Setup, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("missing\n")
    tricks = [
        "rm .entered; mkfifo .entered; exit 1",
        f"rm .entered; ln -s '{tmp_path}/secret' .entered; exit 1",
        f"cd /; rm -r behunt; ln -s '{tmp_path}' behunt; cp '{tmp_path}/secret' .entered; exit 1",
    ]
    for trick in tricks:
        with runner.enter(clone, setup) as inside:
            done = inside.host.run(["sh", "-c", f"cd /behunt; {trick}"], timeout=30)
            assert (done.code, done.started) == (1, True)
        assert (tmp_path / "secret").exists()
        (setup.exchange / "test").mkdir(exist_ok=True)


def test_death_by_a_signal(runner: JailRunner, clone: Clone, setup: Setup) -> None:
    with runner.enter(clone, setup) as inside:
        assert inside.host.run(["sh", "-c", "kill -SEGV $$"]).code in {-11, 128 + 11}


def test_a_deadline_removes_the_jail_and_the_next_run_has_one(
    runner: JailRunner, clone: Clone, setup: Setup, state: Path
) -> None:
    with runner.enter(clone, setup) as inside:
        done = inside.host.run(
            ["sh", "-c", "(setsid sleep 1000 &); sleep 1000"], env={"MARK": str(state)}, timeout=1
        )
        assert done.timed_out
        assert alive(str(state)) == []
        assert inside.host.run(["sh", "-c", "exit 4"]).code == 4
    assert [line.split()[0] for line in log(state)] == ["-c", "-R", "-c", "-R"]


def test_what_a_test_leaves_running_dies_with_the_jail(
    runner: JailRunner, clone: Clone, setup: Setup, state: Path
) -> None:
    with runner.enter(clone, setup) as inside:
        daemon = "setsid sleep 1000 >/dev/null 2>&1 </dev/null &"
        assert inside.host.run(["sh", "-c", daemon], env={"MARK": str(state)}).code == 0
    assert alive(str(state)) == []


def test_what_the_removal_of_its_jail_missed_dies_as_well(
    freebsd: Callable[..., Host], clone: Clone, setup: Setup
) -> None:
    runner = JailRunner(freebsd(STAND_IN_ESCAPES="1"))
    command = ["chroot", clone.root, "sh", "-c", "echo in; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as escaped:
        try:
            with runner.enter(clone, setup):
                assert escaped.stdout is not None
                assert escaped.stdout.readline() == b"in\n"
            assert escaped.wait(30) == -signal.SIGKILL
        finally:
            escaped.kill()
    assert jails(runner.host) == []


def test_a_jail_that_cannot_be_made_is_told_in_its_words(
    runner: JailRunner, clone: Clone, setup: Setup
) -> None:
    gone = replace(clone, root=f"{clone.root}.gone")
    with pytest.raises(HostError, match=r"cannot copy the test into .*gone"):
        contextlib.ExitStack().enter_context(runner.enter(gone, setup))
    unhappy = replace(setup, home="1f", owner="no.token")
    with (
        pytest.raises(
            HostError, match=r'cannot make a jail in .*: jail: jail "bh_1f_no" not found'
        ),
        runner.enter(clone, unhappy),
    ):
        pass
    assert jails(runner.host) == []
    assert not Path(clone.root, "behunt").exists()


def test_something_in_the_way_of_the_test_is_refused_and_kept(
    runner: JailRunner, clone: Clone, setup: Setup, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    Path(clone.root, "behunt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match="File exists"), runner.enter(clone, setup):
        pass
    assert Path(clone.root, "behunt").is_symlink()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_too_many_bytes_are_not_fetched(
    runner: JailRunner, clone: Clone, setup: Setup, state: Path
) -> None:
    with runner.enter(clone, setup) as inside:
        inside.host.run(["truncate", "-s", str(1 << 40), "/behunt/out/hole"], check=True)
        with pytest.raises(HostError, match="left more than 1 MiB"):
            remote_exchange.get(runner.host, clone.root, setup.exchange, most=1 << 20)
        inside.host.run(["rm", "/behunt/out/hole"], check=True)
    assert (state / "mounts").read_text() == ""


# Limits


def test_limits_are_refused_where_racct_is_off(
    runner: JailRunner, clone: Clone, setup: Setup
) -> None:
    assert "limits" not in runner.capabilities
    limited = replace(setup, limits=Limits(processes=50))
    with pytest.raises(HostError, match="cannot limit a test") as refused:
        contextlib.ExitStack().enter_context(runner.enter(clone, limited))
    assert "kern.racct.enable=1 to /boot/loader.conf" in refused.value.hint
    with runner.enter(clone, replace(setup, limits=Limits(disk=1 << 20))):
        pass  # of the clone's own disk


def test_limits_are_rules_of_the_jail_and_go_with_it(
    freebsd: Callable[..., Host], clone: Clone, setup: Setup, state: Path
) -> None:
    runner = JailRunner(freebsd(STAND_IN_RACCT="1"))
    assert "limits" in runner.capabilities
    with runner.enter(clone, replace(setup, limits=Limits(processes=50))):
        [jail] = jails(runner.host)
    said = log(state)
    assert said[1] == f"rctl -a jail:{jail.name}:maxproc:deny=50"
    assert said[2:] == [f"rctl -r jail:{jail.name}", f"-R {jail.name}"]


# Leftovers


@pytest.mark.parametrize("old", ["", "1"])
def test_jails_of_dead_owners_are_reaped_and_no_others(
    freebsd: Callable[..., Host], clone: Clone, state: Path, old: str
) -> None:
    host = freebsd(STAND_IN_OLD=old)
    names = ["bh_1f_1xaaaaaa_0", "bh_1f_2xbbbbbb_0", "bh_2f_1xaaaaaa_0", "www"]
    for name in names:
        argv = ["jail", "-c", f"name={name}", f"path={clone.root}", "persist"]
        host.run(argv, check=True)
    (state / "mounts").write_text(f"{clone.root}/dev\n/be/other/dev\n")
    assert reap(host, "1f", lambda token: token == "2xbbbbbb") == ["bh_1f_1xaaaaaa_0"]
    assert {jail.name for jail in jails(host)} == {*names} - {"bh_1f_1xaaaaaa_0"}
    assert (state / "mounts").read_text() == "/be/other/dev\n"
    assert reap(host, "1f", lambda _: True) == []


def test_a_host_without_jails_has_none() -> None:
    assert jails(LocalHost()) == []


# What a host can do


@pytest.mark.parametrize(
    ("version", "arch", "why"),
    [
        ("9.3", "amd64", ""),
        ("4.11", "i386", ""),
        ("14.0", "amd64", "newer than the host's kernel, which is 13.2-RELEASE"),
        ("2.2.8", "i386", "from before 4.0"),
        ("13.2", "arm64", "for arm64, and the host is amd64"),
    ],
)
def test_a_freebsd_host_tells_what_it_can_enter(
    runner: JailRunner, version: str, arch: str, why: str
) -> None:
    assert runner.missing() == ""
    told = runner.unfit(replace(RELEASE, version=version, arch=arch))
    assert why in told
    assert bool(told) is bool(why)


def test_debian_needs_another_host(runner: JailRunner) -> None:
    debian = Release(id="debian-12-amd64", os="debian", version="12", arch="amd64")
    assert "Linux kernel" in runner.unfit(debian)


def test_linux_has_no_jails(tmp_path: Path) -> None:
    runner = runners(Home(tmp_path))["jail"]
    assert runner.missing() == (
        "the runner jail needs a FreeBSD host: give one with --host root@HOST"
    )
    assert runner.unfit(RELEASE) == ""
    assert "from before 4.0" in runner.unfit(replace(RELEASE, version="3.4", arch="i386"))


def test_runners_of_this_machine_say_that_they_are(freebsd: Callable[..., Host]) -> None:
    known = runners(Home(Path("/nowhere")), freebsd())
    assert known["jail"].missing() == ""
    for name in ("none", "uml"):
        assert "on this machine only, not on fbsd.lab" in known[name].missing()
    assert "needs Linux, and fbsd.lab runs FreeBSD" in known["namespace"].missing()


def test_a_clone_that_is_mounted_nowhere_cannot_be_entered_there(
    runner: JailRunner, clone: Clone, setup: Setup
) -> None:
    layers = replace(clone, root="", lower=("/a", "/b"))
    with pytest.raises(HostError, match=r"enters what is mounted on fbsd.lab"):
        contextlib.ExitStack().enter_context(runner.enter(layers, setup))


# What chroot and namespace do on Linux, over a host


@pytest.fixture(params=["chroot", "namespace"])
def shared(request: pytest.FixtureRequest) -> Remote:
    return {runner.name: runner for runner in shared_kernel(LocalHost())}[request.param]


@contextlib.contextmanager
def entered(runner: Remote, clone: Clone, setup: Setup) -> Iterator[Inside]:
    with runner.enter(clone, setup) as inside:
        yield inside


def test_root_in_there_is_tame(shared: Remote, clone: Clone, setup: Setup) -> None:
    """It cannot mount, nor open a device that it makes, nor change a node of the host."""
    mode = Path("/dev/null").stat().st_mode
    tries = """
        mount -t tmpfs none /tmp && echo mounted
        mknod /tmp/mem c 1 1 && cat /tmp/mem >/tmp/copy && echo read
        chmod 600 /dev/null; chmod 600 /proc/keys
        echo 1 >/proc/sys/kernel/panic && echo written
        chroot /proc/1/root true && echo escaped
    """
    with entered(shared, clone, setup) as inside:
        assert inside.host.run(["sh", "-c", tries]).out == ""
    assert Path("/dev/null").stat().st_mode == mode


@pytest.mark.parametrize("name", ["proc", "dev", "sys"])
def test_links_in_the_root_are_not_mounted_on(
    shared: Remote, clone: Clone, setup: Setup, tmp_path: Path, name: str
) -> None:
    point = Path(clone.root, name)
    shutil.rmtree(point)
    point.symlink_to(tmp_path)
    with entered(shared, clone, setup) as inside:
        done = inside.host.run(["true"])
        assert not done.started
        assert f"{name} is a link" in done.failure


def test_nothing_that_a_chroot_leaves_running_survives(
    shared: Remote, clone: Clone, setup: Setup, state: Path
) -> None:
    with entered(shared, clone, setup) as inside:
        daemon = "setsid sleep 1000 >/dev/null 2>&1 </dev/null &"
        assert inside.host.run(["sh", "-c", daemon], env={"MARK": str(state)}).code == 0
    assert alive(str(state)) == []


# A user's terminal


def test_what_is_lent_to_the_user_comes_through(
    clone: Clone, setup: Setup, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with sshd.running(tmp_path) as server, server.host() as host:
        chroot, _ = shared_kernel(host)
        with chroot.enter(clone, setup) as inside:
            lent = cast("Attaching", inside.host)
            code = lent.attach(["sh", "-c", 'echo "$NAME in $PWD"; exit 5'], env=NAMED, cwd="/tmp")
            assert code == 5
            with pytest.raises(HostError, match="cannot execute nosuch: No such file"):
                lent.attach(["nosuch"], env={}, cwd="/")
    assert "it's me in /tmp" in capfd.readouterr().out
