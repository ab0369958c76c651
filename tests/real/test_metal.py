"""Machines of a lab, from the magic packet to the verdict: in a network namespace, in QEMU."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pexpect
import pytest
from behunt_cli import COMMAND, Behunt, executable
from homes import netbooting, sharing
from lab_net import ADDRESS, ELSEWHERE, LabNet, answering, neighbour
from lab_power import USER, Bmc, Switch, ipmi_simulator, redfish_emulator, wake_listener
from running import Start

from behunt import catalogue
from behunt.drive.installing import ensure
from behunt.drive.lab import opened
from behunt.netboot.ganesha_log import asked
from behunt.storage.home import Home

pytestmark = pytest.mark.real

RELEASES = ("debian-11-amd64", "debian-12-amd64", "debian-13-amd64")
KERNELS = ("5.10.", "6.1.", "6.12.")
METAL = ("--runner", "metal", "--retries", "0", "--fresh")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Home:
    return netbooting(tmp_path_factory.mktemp("metal") / "home", kept, RELEASES)


@pytest.fixture
def behunt(tmp_path: Path, home: Home, net: LabNet) -> Behunt:
    (tmp_path / "place").mkdir()
    return Behunt(tmp_path / "place", home.path, prefix=net.enter)


@pytest.fixture
def switch(net: LabNet) -> Iterator[Switch]:
    with Switch(net.metal(1)) as switch:
        yield switch


def woken(net: LabNet, switch: Switch) -> contextlib.AbstractContextManager[list[bytes]]:
    """Listen for the packet at the plug of the first machine, as its card does."""
    return wake_listener("plug1", net.mac(1), switch.on, enter=net.enter)


def by_wol(net: LabNet, number: int = 1) -> dict[str, object]:
    power = {"method": "wol"}
    return {"name": f"node{number}", "mac": net.mac(number), "patience": 120, "power": power}


def by_ipmi(net: LabNet, bmc: Bmc, number: int = 1) -> dict[str, object]:
    power = {"method": "ipmi", "address": "127.0.0.1", "port": bmc.port, "user": USER}
    power |= {"password_file": str(bmc.password_file), "deadline": 20}
    return {**by_wol(net, number), "power": power}


def by_command(net: LabNet, switch: Switch, number: int = 1) -> dict[str, object]:
    power = {verb: switch.words(verb) for verb in ("on", "off", "status")}
    return {**by_wol(net, number), "power": {"method": "command", **power}}


def gone(net: LabNet, seconds: float = 20) -> bool:
    """Whether nothing runs in the lab any more, in a while."""
    until = time.monotonic() + seconds
    while net.processes() and time.monotonic() < until:
        time.sleep(0.1)
    return not net.processes()


def test_the_answer_of_a_machine_that_a_packet_wakes(
    behunt: Behunt, net: LabNet, switch: Switch
) -> None:
    test = executable(
        behunt.place / "test.sh",
        'uname -r; id -u; cat beside; ls /lib/modules >"$BEHUNT_OUT/modules"; exit 3',
    )
    (behunt.place / "beside").write_text("laid beside it\n")
    words = ("--lab", net.write(by_wol(net)), "--file", "beside", "--json", "debian-12", test)
    with woken(net, switch):
        done = behunt("run", *METAL, *words)
    trial = done.json
    assert (trial["outcome"], trial["exit_code"]) == ("failed", 3), (done, net.console(1))
    assert trial["kernel"].startswith("6.1.")
    said = Path(trial["log"]).read_text().splitlines()
    assert said[0].startswith("6.1."), said
    assert said[1:] == ["0", "laid beside it"]
    (modules,) = Path(trial["out"]).iterdir()
    assert modules.read_text().strip() == said[0]
    assert switch.starts == 1
    assert not switch.is_on
    assert gone(net)


def test_uefi_and_redfish(behunt: Behunt, net: LabNet, tmp_path: Path) -> None:
    machine = {**by_wol(net), "firmware": "uefi"}
    with (
        Switch(net.metal(1, uefi=True)) as switch,
        redfish_emulator(tmp_path, switch, enter=net.enter) as service,
    ):
        machine["power"] = {
            "method": "redfish",
            "url": service.url,
            "user": USER,
            "password_file": str(service.password_file),
        }
        words = ("--lab", net.write(machine), "debian-13", "--", "test", "-d", "/sys/firmware/efi")
        done = behunt("run", *METAL, *words)
        assert done.code == 0, (done, net.console(1))
        assert not switch.is_on


def test_a_bisection_on_two_machines_at_once(
    behunt: Behunt, net: LabNet, tmp_path: Path, switch: Switch
) -> None:
    test = executable(behunt.place / "driver-test.sh", "case $(uname -r) in 6.12.*) exit 1 ;; esac")
    words = ("--os", "debian", "--from", "11", "--to", "13", "--jobs", "3", "--json", test)
    with Switch(net.metal(2)) as second, woken(net, switch):
        with ipmi_simulator(tmp_path, second, enter=net.enter) as bmc:
            file = net.write(by_wol(net, 1), by_ipmi(net, bmc, 2))
            done = behunt("bisect", *METAL, "--lab", file, *words)
        found = done.json
        assert (found["last_good"], found["first_bad"]) == RELEASES[1:], done
        kernels = {trial["release"]: trial["kernel"] for trial in found["trials"]}
        for release, kernel in zip(RELEASES, KERNELS, strict=True):
            assert kernels.get(release, kernel).startswith(kernel)
        assert switch.starts
        assert second.starts
    assert gone(net)


# A behunt that asks one release twice at once. Each test is told a word, keeps it in a file of its
# root, and reads that again when the other has done so too.
TWICE = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from behunt import catalogue
from behunt.drive.lab import Settings, opened
from behunt.drive.trial import answer
from behunt.model import Test

home, lab, address = sys.argv[1:]
release = catalogue.find(catalogue.load("debian"), "debian-12")
settings = Settings(lab=lab, retries=0, fresh=True)
server = socket.create_server((address, 0))
server.settimeout(120)
meet = '''
exec 3<>/dev/tcp/$0/$1 && read -r word <&3 && echo "$word" >/etc/mine && echo done >&3
read -r _ <&3 && cat /etc/mine
'''
test = Test("meet", ("bash", "-c", meet, address, str(server.getsockname()[1])))
with opened(Path(home), "metal", settings=settings) as here, ThreadPoolExecutor(2) as pool:
    asked = [pool.submit(answer, here, release, test) for _ in range(2)]
    there = [server.accept()[0] for _ in range(2)]
    for number, one in enumerate(there):
        one.sendall(b"word %d\\n" % number)
    for one in there:
        one.recv(100)
    for one in there:
        one.sendall(b"go on\\n")
    for trial in (one.result().trial for one in asked):
        print(trial.outcome, Path(trial.log).read_text(), sep=": ", end="")
"""


def test_one_release_on_two_machines_at_once(behunt: Behunt, net: LabNet, switch: Switch) -> None:
    with Switch(net.metal(2)) as second:
        file = net.write(by_command(net, switch), by_command(net, second, 2))
        argv = [*net.enter, sys.executable, "-c", TWICE, behunt.home, file, ADDRESS]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        said = sorted(done.stdout.splitlines())
        assert said == ["passed: word 0", "passed: word 1"], (done, net.console(1), net.console(2))
        assert (switch.starts, second.starts) == (1, 1)
        assert not switch.is_on
        assert not second.is_on


def test_beside_another_dhcp_server(
    behunt: Behunt, net: LabNet, tmp_path: Path, switch: Switch
) -> None:
    lab = net.write(by_wol(net), dhcp="proxy")
    with neighbour(net, "10.77.0.2/24") as enter, woken(net, switch):
        leases = tmp_path / "leases"
        argv = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0"]
        argv += ["--interface=eth0", "--bind-interfaces", "--user=root"]
        argv += [f"--dhcp-leasefile={leases}", "--dhcp-range=10.77.0.60,10.77.0.69"]
        with subprocess.Popen([*enter, "setpriv", "--pdeathsig=KILL", *argv]) as theirs:
            done = behunt("run", *METAL, "--lab", lab, "debian-12", "--", "true")
            theirs.kill()
        assert done.code == 0, (done, net.console(1))
    assert net.mac(1) in leases.read_text()


def test_power_by_hand(behunt: Behunt, net: LabNet) -> None:
    """Of one that nobody switches on, whatever they say."""
    machine = {**by_wol(net), "power": {"method": "hand"}, "patience": 2}
    words = ["run", *METAL, "--lab", str(net.write(machine)), "debian-12", "--", "true"]
    argv = [*behunt.prefix, *COMMAND, *words]
    environment = {**behunt.environment(), "TERM": "xterm"}
    typed = pexpect.spawn(argv[0], argv[1:], env=environment, dimensions=(24, 200), timeout=60)
    try:
        for verb in ("on", "off"):
            typed.expect_exact(f"Switch the machine {net.mac(1)} {verb}. Then press Enter")
            typed.sendline()
        typed.expect_exact("no DHCP")
        typed.expect(pexpect.EOF)
    finally:
        typed.close(force=True)
    done = behunt(*words)
    assert "There is nobody to ask" in done.err


# -- what goes wrong, and where it stopped


@pytest.fixture
def broken(behunt: Behunt, net: LabNet) -> Callable[..., str]:
    """Why a run says nothing about its release."""

    def run(machine: dict[str, object], *words: str) -> str:
        asked = words or ("debian-12", "--", "true")
        done = behunt("run", *METAL, "--lab", net.write(machine), "--json", *asked)
        assert done.json["outcome"] == "broken", done
        return str(done.json["reason"])

    return run


@contextlib.contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do it beside the block, and come to its end."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        yield
        done.result()


def shown(net: LabNet, regex: str) -> None:
    """Wait until the machine has shown it on its console."""
    _until(lambda: re.search(regex, net.console(1)) is not None)


def server(net: LabNet, name: str, says: str = "") -> int:
    """The process of the run's, with `says` in its words."""
    (found,) = (
        process
        for process in net.processes()
        if Path(f"/proc/{process}/comm").read_text().strip() == name
        and says in Path(f"/proc/{process}/cmdline").read_text()
    )
    return found


def test_no_dhcp(broken: Callable[..., str], net: LabNet, switch: Switch) -> None:
    def fail() -> None:
        _until(lambda: switch.is_on)
        os.kill(server(net, "dnsmasq", "/dhcp.conf"), signal.SIGKILL)
        shown(net, "Configuring.*net0")
        switch.off()

    with meanwhile(fail):
        why = broken(by_command(net, switch))
    assert "no DHCP: nothing of it was seen" in why
    assert "behunt's dnsmasq for DHCP has ended here" in why


def test_power_that_does_not_come_on(
    broken: Callable[..., str], net: LabNet, tmp_path: Path
) -> None:
    with Switch(["false"]) as dead, ipmi_simulator(tmp_path, dead, enter=net.enter) as bmc:
        machine = by_ipmi(net, bmc)
        machine["power"] = {**machine["power"], "deadline": 2}  # type: ignore[dict-item]
        why = broken(machine)
    assert "was switched on, and is off" in why


def test_a_file_that_is_not_there(
    behunt: Behunt, net: LabNet, tmp_path: Path, kept: Path, switch: Switch
) -> None:
    """In a home whose machines boot from what is kept, but for one file."""
    home = sharing(tmp_path / "other", kept)
    with opened(home.path, "namespace") as here:
        ensure(here, catalogue.find(catalogue.load("debian"), "debian-12"))
    home.machines.unlink()
    for made in (kept / "machines").glob("*-net-*"):
        place = home.machines / made.name
        place.mkdir(parents=True)
        for file in made.iterdir():
            if file.name != "initrd":
                (place / file.name).symlink_to(file)
    words = ("--lab", net.write(by_command(net, switch)), "--json", "debian-12")

    def give_up() -> None:
        shown(net, "initrd.*ipxe.org")
        switch.off()

    with meanwhile(give_up):
        done = replace(behunt, home=home.path)("run", *METAL, *words, "--", "true")
    assert (
        "no TFTP: it asked for /52-54-00-77-00-01/initrd, which is not there"
        in (done.json["reason"])
    )


def test_a_root_that_is_withdrawn(
    broken: Callable[..., str], behunt: Behunt, net: LabNet, switch: Switch
) -> None:
    """When all has been fetched: of its configuration the server is left what goes before it."""

    def withdraw() -> None:
        shown(net, "initrd.*ok")
        (conf,) = Home(behunt.home).serving.glob("**/ganesha.conf")
        conf.write_text(conf.read_text().partition("\nEXPORT {")[0] + "\n")
        os.kill(server(net, "ganesha.nfsd"), signal.SIGHUP)
        log = conf.with_name("ganesha.log")
        _until(lambda: bool(list(asked(log.read_text().splitlines()))))
        switch.off()

    with meanwhile(withdraw):
        why = broken(by_command(net, switch))
    assert "no mount: it has fetched initrd, and not mounted its root" in why


# The job is process 1, which takes no signal that kills: what it executes is overwritten instead.
KILL = """\
echo before
sync
echo 1 >/proc/sys/kernel/panic # seconds until it reboots
kill -KILL $PPID
awk '$2 ~ /x/ && $6 ~ /^\\// { print $1 }' /proc/$PPID/maps | while IFS=- read -r from to; do
    from=$((0x$from / 4096)) to=$((0x$to / 4096))
    dd if=/dev/zero of=/proc/$PPID/mem bs=4096 seek=$from count=$((to - from)) conv=notrunc
done
exit 0
"""


def test_a_job_that_is_killed(behunt: Behunt, net: LabNet, switch: Switch) -> None:
    test = executable(behunt.place / "test.sh", KILL)
    words = ("--lab", net.write(by_command(net, switch)), "--json", "debian-12", test)
    trial = behunt("run", *METAL, *words).json
    assert trial["outcome"] == "panicked", (trial, net.console(1))
    assert "the machine went down under the test: it powered off" in trial["reason"]
    assert Path(trial["log"]).read_text().startswith("before\n")


def test_a_test_that_hangs_is_cut_off(
    behunt: Behunt, net: LabNet, tmp_path: Path, switch: Switch
) -> None:
    with ipmi_simulator(tmp_path, switch, enter=net.enter) as bmc:
        words = ("--lab", net.write(by_ipmi(net, bmc)), "--timeout", "2s", "--json")
        trial = behunt("run", *METAL, *words, "debian-12", "--", "sleep", "600").json
        assert trial["outcome"] == "timeout"
        assert not switch.is_on


# -- safety


def test_nobody_else_is_served_and_nothing_is_left(
    behunt: Behunt, net: LabNet, switch: Switch
) -> None:
    test = executable(behunt.place / "test.sh", "sleep 600")
    words = ("run", *METAL, "--lab", net.write(by_wol(net)), "debian-12", test)
    with woken(net, switch), behunt.start(*words) as running:
        _until(lambda: re.search("initrd.*ok", net.console(1)) is not None)
        heard = net.run("ss", "--listening", "--tcp", "--udp", "--numeric", "--no-header")
        local = [row.split()[4] for row in heard.splitlines()]
        ports = {address.rpartition(":")[2] for address in local}
        assert {"67", "69", "111", "2049", "20048"} <= ports
        shown = json.loads(net.run("ip", "-json", "address", "show", "dev", "lab0"))
        own = {one["local"] for one in shown[0]["addr_info"]}
        for address in local:
            host = address.rpartition(":")[0].strip("[]").removeprefix("::ffff:")
            assert host in own or "%lab0" in address, heard
        for port in ports:
            assert not _answers(net, "127.0.0.1", port)
        of_all = {f"udp {port}" for port in ("67", "69", "111", "2049", "20048")}
        of_all |= {f"tcp {port}" for port in ports - {"67", "69"}}
        with neighbour(net, "10.77.0.9/24") as enter:
            assert answering(enter, ADDRESS, ports, net.mac(1)) == of_all
        with neighbour(net, "10.78.0.9/24", "other0") as enter:
            assert answering(enter, ELSEWHERE, ports, net.mac(1)) == set()
        running.kill()
        running.communicate()
        switch.off()
        assert _until_true(lambda: net.processes() <= _listeners(net))
    assert behunt("be", "list").code == 0  # whoever comes next reaps
    assert list(Home(behunt.home).serving.iterdir()) == []


def test_two_runs_never_share_a_machine(
    behunt: Behunt, start: Start, net: LabNet, switch: Switch
) -> None:
    words = ("run", *METAL, "--lab", net.write(by_wol(net)), "debian-12")
    with woken(net, switch):
        first = start(*words, "--", "sleep", "600")
        _until(lambda: "iPXE" in net.console(1))
        done = behunt(*words, "--", "true", timeout=60)
        assert done.code != 0
        assert "in use: node1" in done.err
        first.process.terminate()
        first.process.wait()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"interface": "other0"}, "other0 does not have the address 10.77.0.1/24"),
        ({"interface": "lab7"}, "there is no interface lab7"),
        ({"address": "10.77.0.2/24"}, "lab0 does not have the address 10.77.0.2/24"),
        ({"dhcp": "partial"}, "dhcp = 'partial' must be like full or proxy"),
    ],
)
def test_it_refuses_to_answer_elsewhere(
    behunt: Behunt, net: LabNet, changed: dict[str, str], says: str
) -> None:
    done = behunt("run", *METAL, "--lab", net.write(by_wol(net), **changed), "debian-12", "--", "x")
    assert done.code in {1, 2}
    assert says in done.err


def test_an_interface_that_leads_to_the_internet_is_refused(behunt: Behunt, net: LabNet) -> None:
    net.run("ip", "route", "add", "default", "via", "10.77.0.254")
    done = behunt("run", *METAL, "--lab", net.write(by_wol(net)), "debian-12", "--", "x")
    assert done.code == 1
    assert "lab0 leads to this machine's default gateway" in done.err


def _listeners(net: LabNet) -> set[int]:
    """This test's own, which listen for packets."""
    found = set()
    for process in net.processes():
        with contextlib.suppress(OSError):
            if b"AF_PACKET" in Path(f"/proc/{process}/cmdline").read_bytes():
                found.add(process)
    return found


def _answers(net: LabNet, address: str, port: str) -> bool:
    script = f"import socket; socket.create_connection(({address!r}, {port}), 1)"
    argv = [*net.enter, "python3", "-c", script]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def _until(what: Callable[[], bool], seconds: float = 120) -> None:
    assert _until_true(what, seconds)


def _until_true(what: Callable[[], bool], seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while not what() and time.monotonic() < until:
        time.sleep(0.1)
    return what()
