"""What goes over the wire when machines are switched: magic packets, and what BMCs are told."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from lab_power import (
    HERE,
    PASSWORD,
    SYSTEM,
    USER,
    Network,
    Switch,
    ipmi_simulator,
    network,
    redfish_emulator,
    wake_listener,
)

from behunt.errors import HostError
from behunt.netboot.power.ipmi import Ipmi
from behunt.netboot.power.protocol import State
from behunt.netboot.power.redfish import Redfish
from behunt.netboot.power.secret import Secret
from behunt.netboot.power.wol import Wol, magic

pytestmark = pytest.mark.real
MAC = "02:01:02:03:04:05"
OTHER = "02:01:02:03:04:06"
SECUREON = b"\x01\x02\x03\x04\x05\x06"
ETHERNET, IP_UDP = 14, 28  # bytes of headers


@pytest.fixture(scope="module")
def wire() -> Iterator[Network]:
    with network() as made:
        yield made


def test_the_frame_is_a_broadcast_that_wakes_one(
    wire: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECUREON", "01:02:03:04:05:06")
    woken = threading.Semaphore(0)
    with (
        wake_listener("lab0", MAC, woken.release, enter=wire.enter) as frames,
        wake_listener("lab0", OTHER, woken.release, enter=wire.enter) as others,
    ):
        Wol(MAC, wire.outside).on()
        Wol(MAC, wire.outside, Secret(variable="SECUREON")).on()
        assert woken.acquire(timeout=10)
        assert woken.acquire(timeout=10)
        Wol(OTHER, wire.outside).on()
        assert woken.acquire(timeout=10)
    plain, with_password = frames
    own = Path(f"/sys/class/net/{wire.outside}/address").read_text().strip()
    header = b"\xff" * 6 + bytes.fromhex(own.replace(":", "")) + b"\x08\x42"
    assert plain == header + magic(MAC)
    assert with_password == header + magic(MAC, SECUREON)
    assert [frame[ETHERNET:] for frame in others] == [magic(OTHER)]


def test_who_may_send_no_frames_sends_a_datagram(wire: Network) -> None:
    woken = threading.Semaphore(0)
    send = f"from behunt.netboot.power.wol import Wol; Wol({MAC!r}, {wire.outside!r}).on()"
    less = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"]
    with wake_listener("lab0", MAC, woken.release, enter=wire.enter) as frames:
        subprocess.run(
            [*less, sys.executable, "-c", send], check=True, cwd=Path(__file__).parents[2]
        )
        assert woken.acquire(timeout=10)
    (frame,) = frames
    assert frame[:6] == b"\xff" * 6
    assert frame[12:14] == b"\x08\x00"  # IPv4
    packet = frame[ETHERNET:]
    assert packet[16:20] == b"\xff" * 4  # to
    assert packet[22:24] == b"\x00\x09"  # its port
    assert packet[IP_UDP:] == magic(MAC)


def test_an_interface_that_is_down_is_named(wire: Network) -> None:
    down = f"dn{wire.outside[2:]}"
    subprocess.run(["ip", "tuntap", "add", "dev", down, "mode", "tap"], check=True)
    try:
        with pytest.raises(HostError, match=f"{down}: Network is down") as refused:
            Wol(MAC, down).on()
        assert refused.value.hint.startswith(f"`ip link show {down}`")
    finally:
        subprocess.run(["ip", "link", "delete", down], check=True)


def test_a_bmc_is_told_what_to_boot_only_where_that_is_wanted(tmp_path: Path) -> None:
    with Switch() as switch, ipmi_simulator(tmp_path, switch) as bmc:
        plain = Ipmi(HERE, bmc.port, USER, Secret(bmc.password_file), pxe=False)
        plain.on()
        assert (switch.is_on, bmc.boots()) == (True, "")
        plain.off()
        (bmc.directory / "boot").mkdir()  # it cannot keep what it is told
        for uefi in (False, True):
            with pytest.raises(HostError, match="does not take the network") as refused:
                replace(plain, pxe=True, uefi=uefi).on()
            assert "pxe = false" in refused.value.hint
        assert switch.starts == 1


def test_bmcs_are_asked_side_by_side(tmp_path: Path) -> None:
    def cycled(number: int) -> int:
        place = tmp_path / str(number)
        place.mkdir()
        with Switch() as switch, ipmi_simulator(place, switch) as bmc:
            power = Ipmi(HERE, bmc.port, USER, Secret(bmc.password_file))
            for _ in range(3):
                power.cycle()
            return switch.starts if power.state() is State.ON else 0

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(cycled, range(3))) == [3, 3, 3]


def test_a_certificate_is_checked(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bmc"]
    files = ["-addext", f"subjectAltName=IP:{HERE}", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*make, *files], check=True, capture_output=True)
    with (
        Switch() as switch,
        redfish_emulator(tmp_path, switch, certificate=(certificate, key)) as bmc,
    ):
        secret = Secret(bmc.password_file)
        with pytest.raises(HostError, match="certificate of https") as refused:
            Redfish(bmc.url, SYSTEM, USER, secret).on()
        assert "verify = " in refused.value.hint
        with pytest.raises(HostError, match="cannot ask https"):
            Redfish(bmc.url, SYSTEM, USER, secret, verify=str(tmp_path / "missing")).on()
        assert not switch.is_on
        for trusted in (str(certificate), False):
            assert Redfish(bmc.url, SYSTEM, USER, secret, trusted).state() is State.OFF
        Redfish(bmc.url, "", USER, secret, str(certificate)).on()  # it has one
        assert switch.is_on
        with pytest.raises(HostError, match="has no system nine") as refused:
            Redfish(bmc.url, "nine", USER, secret, str(certificate)).state()
        assert PASSWORD not in refused.value.message + refused.value.hint
