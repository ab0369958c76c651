"""What lab.toml says of power, the magic packet, and where passwords are, as values."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from behunt.errors import HostError, UsageError
from behunt.netboot import power
from behunt.netboot.power.command import Command
from behunt.netboot.power.hand import Hand
from behunt.netboot.power.ipmi import Ipmi
from behunt.netboot.power.libraries import library
from behunt.netboot.power.redfish import Redfish
from behunt.netboot.power.secret import Secret
from behunt.netboot.power.wol import Wol, magic, secureon_of

MAC = "02:01:02:03:04:05"
FILE = Secret(Path("/root/bmc"))


def ask(text: str) -> None:
    raise AssertionError(text)


def of(row: dict[str, Any], *, uefi: bool = False) -> object:
    return power.of(row, MAC, "lab0", ask, uefi=uefi)


@pytest.mark.parametrize(
    ("row", "made"),
    [
        ({"method": "wol"}, Wol(MAC, "lab0")),
        (
            {"method": "wol", "password_env": "SECUREON"},
            Wol(MAC, "lab0", Secret(variable="SECUREON")),
        ),
        (
            {"method": "ipmi", "address": "10.0.9.2", "user": "a", "password_file": "/root/bmc"},
            Ipmi("10.0.9.2", 623, "a", FILE, pxe=True, uefi=False, deadline=60.0),
        ),
        (
            {"method": "ipmi", "address": "bmc", "port": 6230, "pxe": False, "deadline": 5},
            Ipmi("bmc", 6230, pxe=False, deadline=5.0),
        ),
        (
            {"method": "redfish", "url": "https://10.0.9.2/", "user": "a"},
            Redfish("https://10.0.9.2", user="a", verify=True, pxe=True, deadline=60.0),
        ),
        (
            {"method": "redfish", "url": "http://b:8000", "system": "1", "verify": "/ca.pem"},
            Redfish("http://b:8000", "1", verify="/ca.pem"),
        ),
        (
            {"method": "command", "on": ["relay", "1"], "off": ["relay", "0"]},
            Command(("relay", "1"), ("relay", "0")),
        ),
        (
            {"method": "command", "on": ["a"], "off": ["b"], "status": ["c"], "deadline": 2.5},
            Command(("a",), ("b",), ("c",), deadline=2.5),
        ),
        ({"method": "hand"}, Hand(MAC, ask)),
    ],
)
def test_a_table_is_a_switch_that_can_be_sent_elsewhere(row: dict[str, Any], made: object) -> None:
    assert of(row) == made
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_machine_with_uefi_boots_the_network_by_it() -> None:
    assert of({"method": "ipmi", "address": "b"}, uefi=True) == Ipmi("b", uefi=True)
    assert of({"method": "redfish", "url": "http://b"}, uefi=True) == Redfish("http://b", uefi=True)


@pytest.mark.parametrize(
    ("row", "sentence", "hint"),
    [
        ({}, "there is no method None", "wol, ipmi, redfish, command, hand"),
        ({"method": ["wol"]}, r"there is no method \['wol'\]", ""),
        ({"method": "hand", "user": "a"}, "the method hand has no user", "its keys: none"),
        ({"method": "wol", "adress": "a"}, "has no adress", "its keys: password_env, password_"),
        ({"method": "ipmi"}, "the method ipmi needs address", ""),
        ({"method": "command", "on": ["a"]}, "the method command needs off", ""),
        ({"method": "command", "on": "a b", "off": ["c"]}, "on must be a list of words", ""),
        ({"method": "command", "on": [], "off": ["c"]}, "on must be a list of words", ""),
        ({"method": "ipmi", "address": "a", "port": 0}, "port must be a port", ""),
        ({"method": "ipmi", "address": "a", "port": True}, "port must be a port", ""),
        ({"method": "ipmi", "address": "a", "pxe": 1}, "pxe must be true or false", ""),
        ({"method": "ipmi", "address": "a", "deadline": -1}, "deadline must be a number", ""),
        ({"method": "redfish", "url": "10.0.9.2"}, "url must be like https://10.0.9.2", ""),
        ({"method": "redfish", "url": "http://b:x"}, "url must be like", ""),
        ({"method": "redfish", "url": "http://b", "verify": 1}, "verify must be true, false", ""),
        (
            {"method": "ipmi", "address": "a", "password_env": "A", "password_file": "b"},
            "password_file and password_env exclude each other",
            "",
        ),
    ],
)
def test_a_wrong_table_is_refused_in_a_sentence(
    row: dict[str, Any], sentence: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        of(row)
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    "row",
    [
        {"method": "ipmi", "address": "a", "password": "hunter2"},
        {"method": "wol", "password_file": ["hunter2"]},
        {"method": "redfish", "url": "https://admin:hunter2@10.0.9.2"},
    ],
)
def test_a_password_in_the_table_is_refused_and_not_repeated(row: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as refused:
        of(row)
    assert "hunter2" not in refused.value.message + refused.value.hint


def test_the_magic_packet() -> None:
    address = b"\x02\x01\x02\x03\x04\x05"
    assert magic(MAC) == b"\xff\xff\xff\xff\xff\xff" + 16 * address
    assert magic(MAC, b"pass") == magic(MAC) + b"pass"
    assert len(magic(MAC, b"secret")) == 108
    for wrong in (b"12345", b"1234567"):
        with pytest.raises(ValueError, match="4 or 6 bytes"):
            magic(MAC, wrong)
    with pytest.raises(ValueError, match="no address of a network card"):
        magic("02:01:02:03:04")


def test_a_secureon_password_is_written_as_a_mac_or_an_address(tmp_path: Path) -> None:
    def read(text: str) -> bytes:
        return secureon_of(kept(tmp_path / "password", text))

    assert read("01:02:03:04:05:0A\n") == b"\x01\x02\x03\x04\x05\x0a"
    assert read("01-02-03-04") == b"\x01\x02\x03\x04"
    assert read("1.2.3.200") == b"\x01\x02\x03\xc8"
    assert secureon_of(Secret()) == b""
    for wrong in ("1.2.3.999", "hunter2", "01:02:03:04:05"):
        with pytest.raises(HostError, match=str(tmp_path)) as refused:
            read(wrong)
        assert wrong not in refused.value.message


def test_a_password_is_the_first_line_of_a_file(tmp_path: Path) -> None:
    assert kept(tmp_path / "one", "it's $ecret \n# a comment\n").read() == "it's $ecret "
    assert kept(tmp_path / "two", "bare").read() == "bare"
    assert kept(tmp_path / "three", "windows\r\n").read() == "windows"
    assert Secret().read() == ""


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_password_that_others_may_read_is_not_used(tmp_path: Path, mode: int) -> None:
    secret = kept(tmp_path / "password", "hunter2")
    (tmp_path / "password").chmod(mode)
    with pytest.raises(HostError, match="open to others") as refused:
        secret.read()
    assert refused.value.hint == f"chmod 600 {tmp_path / 'password'}"


def test_no_password_where_one_was_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HostError, match="No such file"):
        Secret(tmp_path / "missing").read()
    with pytest.raises(HostError, match="there is no password in the first line"):
        kept(tmp_path / "empty", "\nsecond").read()
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    (tmp_path / "latin").chmod(0o600)
    with pytest.raises(HostError, match="not UTF-8"):
        Secret(tmp_path / "latin").read()
    monkeypatch.setenv("BMC", "")
    with pytest.raises(HostError, match="the environment has no BMC") as refused:
        Secret(variable="BMC").read()
    assert "password_file" in refused.value.hint


def test_a_password_can_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMC", "hunter2")
    secret = Secret(variable="BMC")
    assert secret.read() == "hunter2"
    assert str(secret) == "BMC"
    assert "hunter2" not in repr(secret)


def test_a_library_that_is_not_there_is_named_with_what_brings_it() -> None:
    with pytest.raises(HostError, match="no_such_library is not there") as missing:
        library("no_such_library.of.ours")
    assert missing.value.hint == "pip install 'behunt[netboot]'"


def kept(file: Path, text: str) -> Secret:
    file.touch(0o600)
    file.write_bytes(text.encode())
    return Secret(file)
