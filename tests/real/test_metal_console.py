"""The console of a lab's machine: a panic told at once, evidence, and nothing that needs it."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from behunt_cli import Behunt, executable
from homes import netbooting
from lab_console import serial_port
from lab_net import LabNet
from lab_power import Switch, ipmi_simulator

from behunt.errors import HostError
from behunt.hosts.confined import Confined
from behunt.hosts.protocol import Completed
from behunt.hosts.sandbox import ALL_NAMESPACES, Sandbox
from behunt.netboot.lab import Machine
from behunt.netboot.power.protocol import State
from behunt.netboot.stages import Stage
from behunt.runners.lab.guest import MetalGuest
from behunt.runners.lab.job import JOB, REBOOTED, TOLD
from behunt.runners.lab.tree import Tree
from behunt.runners.lab.watching import Watch
from behunt.runners.vm.job import DONE, LINUX
from behunt.storage.home import Home

pytestmark = pytest.mark.real
METAL = ("--runner", "metal", "--retries", "0", "--fresh", "--json")
PANIC = b"[   12.345678] Kernel panic - not syncing: %s\r\n[   12.345679] CPU: 0 PID: 1\r\n"


# -- machines in QEMU


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Home:
    return netbooting(tmp_path_factory.mktemp("metal") / "home", kept, ["debian-12-amd64"])


@pytest.fixture
def behunt(tmp_path: Path, home: Home, net: LabNet) -> Behunt:
    (tmp_path / "place").mkdir()
    return Behunt(tmp_path / "place", home.path, prefix=net.enter)


def test_a_panic_by_serial_over_lan(behunt: Behunt, net: LabNet, tmp_path: Path) -> None:
    """Well before anything else would end it: the machine stands still for longer than we wait."""
    body = "echo before; echo 0 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger"
    test = executable(behunt.place / "test.sh", body)
    with (
        serial_port(net.enter, "tcp") as port,
        Switch(port.wired(net.metal(1), net.directory / "serial1")) as switch,
        ipmi_simulator(tmp_path, switch, enter=net.enter, sol=port.at) as bmc,
    ):
        node = {"name": "node1", "mac": net.mac(1), "console": "sol", "patience": 900}
        file = net.write({**node, "power": bmc.power})
        trial = behunt("run", *METAL, "--lab", file, "--timeout", "1h", "debian-12", test).json
        assert trial["outcome"] == "panicked", (trial, net.console(1))
        first, *screen = trial["reason"].splitlines()
        assert first == "Kernel panic - not syncing: sysrq triggered crash"
        assert "end Kernel panic - not syncing" in screen[-1], screen
        said = Path(trial["log"]).read_text()
        assert said.startswith("before\n[")
        assert re.search(r"^\[ +\d+\.\d+\] .*Linux version 6\.1\.", said, re.MULTILINE), said
        assert not trial["note"]
        assert not switch.is_on


def test_words_at_a_serial_port_that_are_no_panic(behunt: Behunt, net: LabNet) -> None:
    """Nor is yesterday's, which it has kept; and a test may say more than anybody reads."""
    words = "SeaBIOS (version 1)\\nNo bootable device.\\ngrub> \\nShell> \\n"
    body = f"printf '{words}' >/dev/console; yes flood | head -c 50000 >/dev/console; exit 3"
    test = executable(behunt.place / "test.sh", body)
    with (
        serial_port(net.enter, "pty") as port,
        Switch(port.wired(net.metal(1), net.directory / "serial1")) as switch,
    ):
        with port.machine() as metal:
            metal.sendall(PANIC % b"yesterday")
        power = {verb: switch.words(verb) for verb in ("on", "off", "status")}
        node = {"name": "node1", "mac": net.mac(1), "console": port.at, "patience": 120}
        file = net.write({**node, "power": {"method": "command", **power}})
        trial = behunt("run", *METAL, "--lab", file, "debian-12", test).json
        assert (trial["outcome"], trial["exit_code"]) == ("failed", 3), (trial, net.console(1))
        assert not trial["note"]
        assert "No bootable device" in net.console(1)


# -- a machine that is a thread: it has its root, and its console


class Metal:
    """Switched on, it does what `does` says; its console shows `kept` to whoever comes."""

    def __init__(self, root: int, does: Callable[[Metal], None], kept: bytes = b"") -> None:
        self.is_on = False
        self.wakes_only = False
        self.asked_off = threading.Event()
        self.noted: Callable[[str], bool] = lambda _: False
        self._root, self._does, self._kept = root, does, kept
        self._server = socket.create_server(("127.0.0.1", 0))
        self.console = f"tcp:127.0.0.1:{self._server.getsockname()[1]}"
        self._lines: queue.Queue[socket.socket] = queue.Queue()
        self._threads = [threading.Thread(target=self._answer)]
        self._threads[0].start()

    def on(self) -> None:
        self.is_on = True
        self._threads.append(threading.Thread(target=self._does, args=[self]))
        self._threads[-1].start()

    def off(self) -> None:
        self.asked_off.set()
        if self.wakes_only:
            raise HostError("wake-on-LAN cannot switch a machine off")
        self.is_on = False

    def cycle(self) -> None:
        raise NotImplementedError

    def state(self) -> State:
        if self.wakes_only:
            return State.UNKNOWN
        return State.ON if self.is_on else State.OFF

    def shows(self, data: bytes) -> None:
        line = self._lines.get(timeout=30)
        self._lines.put(line)
        line.sendall(data)

    def hangs_up(self) -> None:
        self._lines.get(timeout=30).close()

    def tells(self, *words: str) -> None:
        """As the job does, which knows its number."""
        job = self._open(JOB, os.O_RDONLY)
        with os.fdopen(job, encoding="utf-8") as file:
            run = re.search(r"^tell (run \w+)$", file.read(), re.MULTILINE)
        assert run
        with os.fdopen(self._open(TOLD, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a") as file:
            file.writelines(f"{word}\n" for word in (run[1], *words))

    def ended(self) -> None:
        """Nobody listens at its console any more."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        while not self._lines.empty():
            self._lines.get().close()

    def _open(self, name: str, flags: int) -> int:
        return os.open(f"behunt/{name}", flags, 0o644, dir_fd=self._root)

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._server.accept()
                line.sendall(self._kept)
                self._lines.put(line)


@dataclass
class Run:
    """What came of a run, its note, and what its log has."""

    done: Completed
    note: str
    log: str


Begin = Callable[..., Run]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Run a test in a machine that does so; before, do `before` to it."""
    for name in ("lower/etc", "stage", "exchange"):
        (tmp_path / name).mkdir(parents=True)
    sandbox = Sandbox(
        ALL_NAMESPACES,
        lower=(str(tmp_path / "lower"),),
        stage=str(tmp_path / "stage"),
        tame=True,
        exported=True,
    )
    with Confined(sandbox) as files, Tree(files) as tree:
        root = files.session.open_file("/", os.O_RDONLY | os.O_DIRECTORY)

        def run(
            does: Callable[[Metal], None],
            *,
            before: Callable[[Metal], None] = lambda _: None,
            kept: bytes = b"",
            patience: float = 60,
        ) -> Run:
            metal = Metal(root, does, kept)
            before(metal)
            machine = Machine("node1", "02:00:00:00:00:01", console=metal.console)
            guest = MetalGuest(
                metal,
                tree,
                files,
                LINUX,
                tmp_path / "exchange",
                "node1",
                patience,
                lambda _: (Stage.NO_JOB, "it said nothing"),
                lambda: Watch(machine, "debian", tmp_path / "said"),
            )
            metal.noted = lambda note: _until(lambda: guest.note == note)
            log = bytearray()
            try:
                done = guest.run(["test"], timeout=60, sink=log.extend)
            finally:
                metal.ended()
            return Run(done, guest.note, log.decode())

        yield run
        os.close(root)


def _until(what: Callable[[], bool]) -> bool:
    until = time.monotonic() + 30
    while not what() and time.monotonic() < until:
        time.sleep(0.02)
    return what()


def passes(metal: Metal) -> None:
    metal.tells("started", "exit 0", DONE)
    metal.is_on = False


def panics(metal: Metal) -> None:
    metal.tells("started")
    metal.shows(PANIC % b"today")


def test_a_panic_is_told_with_its_screen(begin: Begin) -> None:
    run = begin(panics)
    assert run.done.panic.splitlines()[0] == "Kernel panic - not syncing: today"
    assert run.done.panic.endswith("CPU: 0 PID: 1")
    assert "CPU: 0 PID: 1" in run.log
    assert not run.note


def test_a_panic_before_the_test_says_nothing_about_it(begin: Begin) -> None:
    run = begin(lambda metal: metal.shows(PANIC % b"no root"))
    assert not run.done.started
    assert run.done.failure.startswith("did not boot: panicked: Kernel panic - not syncing: no roo")


def test_what_the_test_has_told_counts_more_than_its_console(begin: Begin) -> None:
    def does(metal: Metal) -> None:
        metal.tells("started", "exit 4")
        metal.shows(PANIC % b"on its way down")

    run = begin(does)
    assert (run.done.code, run.done.panic) == (4, "")


def test_the_panic_of_an_earlier_run_is_forgotten(begin: Begin) -> None:
    run = begin(passes, kept=PANIC % b"yesterday")
    assert (run.done.code, run.done.started, run.note) == (0, True, "")


def test_firmware_may_find_nothing_and_try_again(begin: Begin) -> None:
    def does(metal: Metal) -> None:
        metal.shows(3 * b"SeaBIOS (version 1.16.2)\r\nNo bootable device.\r\ngrub> \r\nShell> ")
        metal.shows(9 * b"\r\nnode1 login: \r\n")
        passes(metal)

    assert begin(does).done.code == 0


def test_a_console_that_refuses_is_a_note(begin: Begin) -> None:
    run = begin(passes, before=lambda metal: metal.ended())
    assert (run.done.code, run.done.started) == (0, True)
    assert re.fullmatch(
        r"its console could not be opened: cannot connect to the console 127\.0\.0\.1:\d+: "
        "Connection refused",
        run.note,
    )


def test_a_console_that_breaks_off_is_a_note(begin: Begin) -> None:
    def does(metal: Metal) -> None:
        metal.tells("started")
        metal.hangs_up()
        assert metal.noted("its console broke off after 0 s")
        passes(metal)

    run = begin(does)
    assert (run.done.code, run.note) == (0, "its console broke off after 0 s")


def test_a_console_that_ends_with_the_power_is_none(begin: Begin) -> None:
    def does(metal: Metal) -> None:
        passes(metal)
        metal.hangs_up()

    run = begin(does)
    assert (run.done.code, run.note) == (0, "")


def test_a_console_that_floods_takes_no_verdict(begin: Begin) -> None:
    def does(metal: Metal) -> None:
        metal.tells("started")
        with pytest.raises(OSError):  # noqa: PT011, PT012 - in the end nobody listens
            for number in range(1_000_000):
                metal.shows(b"flood" * 20_000 + b"\r\n")
                if number == 20:
                    passes(metal)

    run = begin(does)
    assert (run.done.code, run.done.started, run.note) == (0, True, "")


def woken_only(metal: Metal) -> None:
    metal.wakes_only = True


def test_one_that_is_woken_only_powers_off_once_it_is_back(begin: Begin) -> None:
    def does(metal: Metal) -> None:
        panics(metal)
        assert metal.asked_off.wait(60)
        metal.tells(REBOOTED)

    run = begin(does, before=woken_only)
    assert run.done.panic.startswith("Kernel panic")
    assert not run.note


def test_one_that_is_woken_only_and_stays_down_is_a_note(begin: Begin) -> None:
    run = begin(panics, before=woken_only, patience=2)
    assert run.done.panic.startswith("Kernel panic")
    assert run.note == "its power could not be cut: wake-on-LAN cannot switch a machine off"
