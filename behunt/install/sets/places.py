"""Where sets lie: directories of the host that is filled, or of the controller, and URLs."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote

from behunt.errors import InstallError
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.install import fetch
from behunt.install.protocol import Order, Say
from behunt.install.sets import tools
from behunt.install.sets.protocol import Family, Piece

_AT_ONCE = 4  # downloads


class Place(Protocol):
    """A directory that may hold a release. `local`: the user's own, who may change it."""

    @property
    def url(self) -> str: ...

    @property
    def local(self) -> bool: ...

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """Small files, those of `names` that are there. Raises InstallError."""
        ...

    def bring(self, pieces: Sequence[Piece], stage: PurePosixPath, say: Say) -> list[PurePosixPath]:
        """Where each piece is on the host: as it lies, or copied into `stage`.

        One that is not there may be named all the same. Raises InstallError.
        """
        ...


def groups(order: Order, family: Family) -> Iterator[tuple[str, ...]]:
    """Addresses to try: all that the mirror may mean, then each source of the release."""
    if order.mirror:
        base = _address(order.mirror)
        below = (f"{base}/{d}" if d else base for d in family.directories(order.release))
        yield tuple(dict.fromkeys(below))
    for source in order.release.sources:
        yield (_address(source),)


def _address(given: str) -> str:
    """A URL, or an absolute path, without a slash at its end."""
    path = given.removeprefix("file://")
    return path.rstrip("/") if is_url(path) else str(Path(path).absolute())


def is_url(address: str) -> bool:
    return "://" in address


def at(order: Order, addresses: Sequence[str], voucher: str) -> list[Place]:
    """Places at `addresses`: each URL, and the directories that have the file `voucher`.

    A directory is looked for on the host that is filled, then on the controller.
    """
    if is_url(addresses[0]):
        return [Site(url, order) for url in addresses]
    here = isinstance(order.host, LocalHost)
    for host in (order.host,) if here else (order.host, LocalHost()):
        done = host.run(tools.there(addresses, voucher), check=True)
        if found := done.out.splitlines():
            return [Tree(directory, host, order.host) for directory in found]
    return []


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory on `host`; `filled` is the host whose root is filled."""

    url: str
    host: Host
    filled: Host
    local: bool = True

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        blocks: list[bytes] = []
        self.host.run(tools.read(self.url, names), sink=blocks.append, check=True)
        if not (content := b"".join(blocks)):
            return {}
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            files = {member.name: archive.extractfile(member) for member in archive}
            return {name: file.read() for name, file in files.items() if file}

    def bring(self, pieces: Sequence[Piece], stage: PurePosixPath, say: Say) -> list[PurePosixPath]:
        directory = PurePosixPath(self.url)
        if self.host is self.filled:
            return [directory / piece.path for piece in pieces]
        files = [Path(self.url, piece.path) for piece in pieces]
        if missing := [str(file) for file in files if not file.is_file()]:
            raise InstallError(f"{missing[0]} is missing", "copy the whole directory again")
        return _put(files, self.filled, stage, say)


@dataclass(frozen=True, slots=True)
class Site:
    """A directory of a mirror on the network, read by the controller."""

    url: str
    order: Order
    local: bool = False

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        found = {}
        for name in names:
            try:
                found[name] = fetch.content(self._address(name))
            except fetch.UnreadableError as error:
                if not error.absent or not found:  # without the first there is nothing here
                    raise
        return found

    def bring(self, pieces: Sequence[Piece], stage: PurePosixPath, say: Say) -> list[PurePosixPath]:
        directory = self.order.downloads
        if directory is None:
            raise InstallError("there is no directory for downloads", "give --mirror a directory")

        def one(piece: Piece) -> Path:
            say(f"fetching {self._address(piece.path)}")
            digest = piece.digests[0]
            return fetch.download(self._address(piece.path), digest, directory, stopping=stopping)

        stopping = threading.Event()
        files = _each(one, pieces, stopping)
        if isinstance(self.order.host, LocalHost):
            return [PurePosixPath(file.absolute()) for file in files]
        return _put(files, self.order.host, stage, say)

    def _address(self, name: str) -> str:
        return f"{self.url}/{quote(name)}"


def _each(
    one: Callable[[Piece], Path], pieces: Sequence[Piece], stopping: threading.Event
) -> list[Path]:
    """`one` of each, several at a time. The first error, or Ctrl-C, ends the others soon."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        wanted = [pool.submit(one, piece) for piece in pieces]
        try:
            return [future.result() for future in wanted]
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _put(files: Sequence[Path], host: Host, stage: PurePosixPath, say: Say) -> list[PurePosixPath]:
    targets = []
    for number, file in enumerate(files):
        targets.append(stage / f"{number}-{file.name}")
        say(f"copying {file.name} to {host.name}")
        host.put(file, targets[-1])
    return targets
