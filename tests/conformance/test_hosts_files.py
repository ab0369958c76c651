"""What every Host must do with files."""

from __future__ import annotations

from pathlib import Path

import pytest
from backends import Backend

from behunt.errors import HostError
from behunt.hosts.protocol import Host

CONTENT = bytes(range(256)) * 5000


@pytest.mark.parametrize("mode", [0o644, 0o755, 0o600, 0o604, 0o750])
def test_a_file_goes_there_and_back(
    backend: Backend, host: Host, tmp_path: Path, mode: int
) -> None:
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(CONTENT)
    sent.chmod(mode)
    there = backend.place / "it's; $HOME"
    host.put(sent, there)
    listed = host.run(["ls", "-l", str(there)], check=True).out
    host.get(there, back)
    assert back.read_bytes() == CONTENT
    assert back.stat().st_mode & 0o7777 == mode
    assert listed.startswith("-" + "".join(_sign(mode, bit) for bit in range(8, -1, -1)))


def _sign(mode: int, bit: int) -> str:
    return "xwr"[bit % 3] if mode >> bit & 1 else "-"


def test_a_file_is_replaced_with_its_mode(backend: Backend, host: Host, tmp_path: Path) -> None:
    there, back = backend.place / "file", tmp_path / "back"
    for content, mode in ((b"long and first", 0o644), (b"second", 0o700)):
        (tmp_path / "sent").write_bytes(content)
        (tmp_path / "sent").chmod(mode)
        host.put(tmp_path / "sent", there)
    host.get(there, back)
    assert (back.read_bytes(), back.stat().st_mode & 0o777) == (b"second", 0o700)


def test_an_empty_file(backend: Backend, host: Host, tmp_path: Path) -> None:
    (tmp_path / "sent").touch()
    host.put(tmp_path / "sent", backend.place / "empty")
    host.get(backend.place / "empty", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


@pytest.mark.parametrize(
    "make",
    ["mkfifo x", "mkdir x", ":", "ln -s nowhere x", "ln -s . x", "ln -s x x", "ln -s /dev x"],
)
def test_what_is_not_a_file_is_not_fetched(
    backend: Backend, host: Host, tmp_path: Path, make: str
) -> None:
    host.run(["sh", "-c", make], cwd=str(backend.place), check=True)
    with pytest.raises(HostError, match="x"):
        host.get(backend.place / "x", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    "link",
    [
        "/etc/shadow",
        "../../../../../../../../../../etc/shadow",
        "/proc/self/root/etc/shadow",
        "/proc/1/root/etc/shadow",
        "/proc/self/fd/2",
        "/proc/self/fd/5",
        "/proc/self/cwd/etc/shadow",
    ],
)
def test_a_link_leads_to_no_file_of_the_controller(
    backend: Backend, host: Host, tmp_path: Path, link: str
) -> None:
    if not backend.rooted:
        return  # it is the controller
    host.run(["ln", "-s", link, str(backend.place / "x")], check=True)
    with pytest.raises(HostError):
        host.get(backend.place / "x", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("make", ["mkfifo x", "mkdir x", "ln -s /no/such/directory/x x"])
def test_what_is_not_a_file_is_not_written(
    backend: Backend, host: Host, tmp_path: Path, make: str
) -> None:
    host.run(["sh", "-c", make], cwd=str(backend.place), check=True)
    (tmp_path / "sent").write_text("sent", encoding="ascii")
    with pytest.raises(HostError, match="x"):
        host.put(tmp_path / "sent", backend.place / "x")


def test_what_is_not_here_is_not_sent(backend: Backend, host: Host, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="missing"):
        host.put(tmp_path / "missing", backend.place / "x")
    assert host.run(["ls", str(backend.place)]).out == ""
