"""Downloads, from a real HTTP server that also misbehaves."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from behunt.errors import HostError, InstallError
from behunt.install import fetch

CONTENT = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(256)) * 400  # 3 MB
DIGEST = ("sha256", hashlib.sha256(CONTENT).hexdigest())


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `CONTENT` under /whole and, with faults, under other names. Knows ranges."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        fault = self.path.strip("/")
        self.asked.append((fault, self.headers.get("Range", "")))
        if fault == "missing":
            self.send_error(404)
            return
        content = CONTENT[:-1] + b"x" if fault == "damaged" else CONTENT
        start = self._start() if fault != "unranged" else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if fault == "breaking":  # a quarter each time
            self.wfile.write(content[start : start + len(content) // 4])
            self.close_connection = True
        elif fault == "dead" and start:
            self.close_connection = True
        else:
            self.wfile.write(content[start:])

    def _start(self) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(match[1]) if match else 0

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def site() -> Iterator[str]:
    Handler.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def download(url: str, directory: Path, *, stopping: bool = False) -> Path:
    event = threading.Event()
    if stopping:
        event.set()
    return fetch.download(url, DIGEST, directory, stopping=event)


def partial(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    return directory / f"sha256-{DIGEST[1]}.partial"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_download_is_kept_by_its_digest(site: str, tmp_path: Path) -> None:
    kept = download(f"{site}/whole", tmp_path / "downloads")
    assert kept.read_bytes() == CONTENT
    assert names(kept.parent) == [f"sha256-{DIGEST[1]}"]
    assert download(f"{site}/whole", kept.parent) == kept
    assert Handler.asked == [("whole", "")]


def test_what_is_kept_and_damaged_is_fetched_again(site: str, tmp_path: Path) -> None:
    download(f"{site}/whole", tmp_path).write_bytes(b"rotten")
    assert download(f"{site}/whole", tmp_path).read_bytes() == CONTENT


def test_a_partial_download_is_continued(site: str, tmp_path: Path) -> None:
    partial(tmp_path).write_bytes(CONTENT[:1000])
    assert download(f"{site}/whole", tmp_path).read_bytes() == CONTENT
    assert Handler.asked == [("whole", "bytes=1000-")]


def test_a_partial_download_that_is_whole_is_taken(site: str, tmp_path: Path) -> None:
    partial(tmp_path).write_bytes(CONTENT)
    assert download(f"{site}/missing", tmp_path).read_bytes() == CONTENT
    assert Handler.asked == []


@pytest.mark.parametrize("left", [b"of another file", CONTENT + b"and more"])
def test_what_was_left_may_be_something_else(site: str, tmp_path: Path, left: bytes) -> None:
    partial(tmp_path).write_bytes(left)
    assert download(f"{site}/whole", tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(site: str, tmp_path: Path) -> None:
    partial(tmp_path).write_bytes(CONTENT[:1000])
    assert download(f"{site}/unranged", tmp_path).read_bytes() == CONTENT


def test_a_connection_that_breaks_is_taken_up_again(site: str, tmp_path: Path) -> None:
    assert download(f"{site}/breaking", tmp_path).read_bytes() == CONTENT
    assert [start for _, start in Handler.asked][:2] == ["", f"bytes={len(CONTENT) // 4}-"]


def test_a_server_that_stops_sending_is_given_up_and_what_came_is_left(
    site: str, tmp_path: Path
) -> None:
    partial(tmp_path).write_bytes(CONTENT[:1000])
    with pytest.raises(InstallError, match=r"ended after 0 of|could not be read"):
        download(f"{site}/dead", tmp_path)
    assert partial(tmp_path).read_bytes() == CONTENT[:1000]


def test_another_digest_is_never_kept(site: str, tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="is not what its release says it is"):
        download(f"{site}/damaged", tmp_path)
    assert names(tmp_path) == []


def test_what_is_missing_leaves_nothing(site: str, tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="answered 404 Not Found"):
        download(f"{site}/missing", tmp_path)
    assert names(tmp_path) == []


def test_an_interrupted_download_is_continued_by_the_next(site: str, tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="interrupted"):
        download(f"{site}/whole", tmp_path, stopping=True)
    begun = partial(tmp_path).stat().st_size
    assert 0 < begun < len(CONTENT)
    assert download(f"{site}/whole", tmp_path).read_bytes() == CONTENT
    assert Handler.asked[-1] == ("whole", f"bytes={begun}-")


def test_who_wants_the_same_waits_for_it(site: str, tmp_path: Path) -> None:
    rounds = 40  # who wakes up first differs
    with ThreadPoolExecutor(8) as pool:
        for number in range(rounds):
            directory = tmp_path / str(number)
            wanted = [pool.submit(download, f"{site}/whole", directory) for _ in range(8)]
            kept = {future.result() for future in wanted}
            assert names(directory) == [path.name for path in kept]
    assert Handler.asked == [("whole", "")] * rounds


def test_a_directory_that_cannot_be_written_is_said(site: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot keep downloads in"):
        download(f"{site}/whole", tmp_path / "file")


def test_small_files_say_whether_they_are_absent(site: str) -> None:
    assert fetch.content(f"{site}/whole") == CONTENT
    with pytest.raises(fetch.UnreadableError) as gone:
        fetch.content(f"{site}/missing")
    assert gone.value.absent
    with pytest.raises(fetch.UnreadableError) as refused:
        fetch.content("http://127.0.0.1:1/")
    assert not refused.value.absent
