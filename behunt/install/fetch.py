"""Read small files from the first of several places, and keep large ones by their digest."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from behunt.errors import HostError, InstallError

_LIMIT = 64 << 20  # bytes; release files and manifests are small
_LARGEST = 16 << 30  # bytes of one download, where nothing says how large it is
_BLOCK = 1 << 20  # bytes
_BREAKS = 5  # connections that may break before a download that gets on is given up
_HINT = "check the network and the mirror, or name another with --mirror"


class UnreadableError(InstallError):
    """A place does not answer with what was asked for; `status` is its HTTP answer, if any."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message, _HINT)
        self.status = status

    @property
    def absent(self) -> bool:
        return self.status in {http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE}


def first_of(
    urls: Sequence[str], what: str, *, proxy: str = "", timeout: float = 30.0
) -> tuple[str, bytes]:
    """(URL, content) of the first that answers. Raises InstallError listing every answer.

    `proxy` is for http, instead of what the environment names.
    """
    answers = []
    for url in urls:
        try:
            return url, content(url, proxy=proxy, timeout=timeout)
        except UnreadableError as error:
            answers.append(error.message)
    raise InstallError(
        f"no source has {what}: {'; '.join(answers) or 'the catalogue names none'}", _HINT
    )


def content(url: str, *, proxy: str = "", timeout: float = 30.0) -> bytes:
    """The small file at `url`. Raises UnreadableError."""
    with _answer(url, {}, proxy, timeout) as response:
        return _block(url, response, _LIMIT)


def download(
    url: str,
    digest: tuple[str, str],
    directory: Path,
    *,
    stopping: threading.Event,
    timeout: float = 60.0,
) -> Path:
    """The file at `url`, kept in `directory` under its digest: ("sha256", hex).

    What an earlier attempt left is continued, also one that `stopping` ended, and nothing is
    kept that has another digest. Raises InstallError.
    """
    algorithm, wanted = digest
    kept = directory / f"{algorithm}-{wanted}"
    partial = directory / f"{kept.name}.partial"
    with _disk_errors(directory), _alone(partial):
        if kept.exists() and digest_of(kept, algorithm) == wanted:
            return kept
        continued = partial.stat().st_size > 0
        if not continued or digest_of(partial, algorithm) != wanted:
            _complete(url, partial, stopping, timeout)
        if continued and digest_of(partial, algorithm) != wanted:
            os.truncate(partial, 0)  # the beginning was another file's
            _complete(url, partial, stopping, timeout)
        found = digest_of(partial, algorithm)
        if found != wanted:
            partial.unlink()
            raise InstallError(
                f"{url} is not what its release says it is: its {algorithm} is {found}, "
                f"not {wanted}",
                "it was not kept; try another mirror with --mirror",
            )
        partial.rename(kept)
    return kept


def digest_of(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _complete(url: str, partial: Path, stopping: threading.Event, timeout: float) -> None:
    """Append to `partial` until it is whole. A connection that breaks is taken up again."""
    for remaining in reversed(range(_BREAKS)):
        before = partial.stat().st_size
        try:
            _append(url, partial, stopping, timeout)
        except UnreadableError:
            if not remaining or stopping.is_set() or partial.stat().st_size <= before:
                raise
        else:
            return


def _append(url: str, partial: Path, stopping: threading.Event, timeout: float) -> None:
    start = partial.stat().st_size
    try:
        response = _answer(url, {"Range": f"bytes={start}-"} if start else {}, "", timeout)
    except UnreadableError as error:
        if error.status != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        response = _answer(url, {}, "", timeout)  # what is here is longer than the file
    with response, partial.open("ab") as file:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            file.truncate(0)
        # What is still to come. Neither every server nor another protocol says it.
        expected: int | None = getattr(response, "length", None)
        received = 0
        while block := _block(url, response, _BLOCK):
            received += file.write(block)
            if received > _LARGEST:
                raise UnreadableError(f"{url} does not end")
            if stopping.is_set():
                raise UnreadableError(f"{url} was not read to its end: interrupted")
    if expected is not None and received < expected:
        raise UnreadableError(f"{url} ended after {received} of {expected} bytes")


def _block(url: str, response: http.client.HTTPResponse, size: int) -> bytes:
    try:
        return response.read(size)
    except (OSError, http.client.HTTPException) as error:
        raise UnreadableError(f"{url} could not be read ({error})") from error


def _answer(
    url: str, headers: dict[str, str], proxy: str, timeout: float
) -> http.client.HTTPResponse:
    proxies = urllib.request.getproxies() | ({"http": proxy} if proxy else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - what people name
        response: http.client.HTTPResponse = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        raise UnreadableError(f"{url} answered {error.code} {error.reason}", error.code) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UnreadableError(f"{url} could not be read ({reason})") from error
    return response


@contextlib.contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """Hold `partial`: whoever else wants the same file waits, and finds it."""
    while True:
        with partial.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(partial, file.fileno()):
                continue
            try:
                yield
            finally:
                with contextlib.suppress(FileNotFoundError):
                    if partial.stat().st_size == 0:
                        partial.unlink()
            return


def _is_at(path: Path, descriptor: int) -> bool:
    # One look only: between two, another process may rename or remove what is there.
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


@contextlib.contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise HostError(
            f"cannot keep downloads in {directory}: {error.strerror}", "make room there"
        ) from error
