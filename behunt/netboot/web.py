"""Boot files by HTTP, on the lab's address only: each to the machine that is being booted."""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from behunt.errors import HostError

_SLOW = 60.0  # seconds that a machine may keep us waiting
Content = bytes | Path


@dataclass(frozen=True, slots=True)
class Request:
    """`when` is seconds since 1970."""

    when: float
    client: str
    path: str
    status: int


class Web:
    """Serves from `address` until it is left; port 0 is any. Raises HostError."""

    def __init__(self, address: IPv4Address, network: IPv4Network, port: int = 0) -> None:
        self._files: dict[str, Content] = {}
        self._lock = threading.Lock()
        self.requests: list[Request] = []
        try:
            self._server = _Server((str(address), port), _Handler)
        except OSError as error:
            raise HostError(
                f"cannot serve HTTP on {address}: {error.strerror}", "`ip addr` shows whose it is"
            ) from error
        self._server.web, self._server.network = self, network
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def offer(self, directory: str, files: Mapping[str, Content]) -> None:
        """Serve `files` as /directory/NAME, and nothing else of that directory."""
        self.withdraw(directory)
        with self._lock:
            self._files |= {f"/{directory}/{name}": content for name, content in files.items()}

    def withdraw(self, directory: str) -> None:
        with self._lock:
            for path in [path for path in self._files if path.startswith(f"/{directory}/")]:
                del self._files[path]

    def found(self, client: str, path: str) -> Content | None:
        with self._lock:
            content = self._files.get(path)
            if isinstance(content, Path) and not content.is_file():
                content = None
            status = HTTPStatus.NOT_FOUND if content is None else HTTPStatus.OK
            self.requests.append(Request(time.time(), client, path, status))
        return content

    def asked(self, directory: str, since: float) -> list[Request]:
        """What was asked for in there, in that order."""
        with self._lock:
            return [
                one
                for one in self.requests
                if one.path.startswith(f"/{directory}/") and one.when >= since
            ]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    web: Web
    network: IPv4Network


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SLOW

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        client = self.client_address[0]
        if IPv4Address(client) not in self.server.network:
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        content = self.server.web.found(client, unquote(self.path))
        if content is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            length = file.seek(0, io.SEEK_END)
            file.seek(0)
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if body:
                shutil.copyfileobj(file, self.wfile, 1 << 20)

    def log_message(self, *_: object) -> None:
        """`requests` is the log."""
