"""Show events as they come: a live view on a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from behunt.cli.footer import Footer
from behunt.cli.frame import frame, last_frame
from behunt.cli.strip import Row
from behunt.cli.telling import lasting, passing
from behunt.cli.watched import Watched, told
from behunt.events import Event, InstallProgress, OnEvent


@contextlib.contextmanager
def watching(
    stream: TextIO | None = None, *, plain: bool | None = None, verbose: bool = False
) -> Iterator[OnEvent]:
    """A consumer of events, safe to call from any thread, that shows them on `stream`.

    By default on standard error, drawn where that is a terminal that can be drawn on and no CI.
    `verbose` also shows every line of the installers.
    """
    stream = stream or sys.stderr
    if not can_draw(stream) if plain is None else plain:
        yield _Consumer(_Lines(stream).put, verbose=verbose).take
        return
    footer = Footer(
        stream,
        lambda width, height: frame(consumer.watched, _now(), width, height),
        lambda width: last_frame(consumer.watched, width),
    )
    consumer = _Consumer(footer.put, verbose=verbose, live=True)
    with footer:
        yield consumer.take


def can_draw(stream: TextIO) -> bool:
    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
    return (
        stream.isatty()
        and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}
        and os.environ.get("CI", "") in {"", "0", "false"}
        and encoding == "utf8"
    )


_now = time.monotonic


class _Consumer:
    """Folds events, and hands on the rows that are to be told."""

    def __init__(
        self, put: Callable[[Row | None], None], *, verbose: bool, live: bool = False
    ) -> None:
        self.watched = Watched(began=_now())
        self._put = put
        self._verbose = verbose
        self._live = live
        self._lock = threading.RLock()

    def take(self, event: Event) -> None:
        with self._lock:
            row = lasting(self.watched, event) or self._passing(event)
            self.watched = told(self.watched, event, _now())
            # Installers say much: that alone is no reason to draw.
            if row or not isinstance(event, InstallProgress):
                self._put(row)

    def _passing(self, event: Event) -> Row | None:
        if self._live and not (self._verbose and isinstance(event, InstallProgress)):
            return None
        return passing(event, verbose=self._verbose)


class _Lines:
    """Plain text, each line whole and flushed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"

    def put(self, row: Row | None) -> None:
        if row is None:
            return
        line = "".join(text for text, _ in row).rstrip()
        # Who reads it may go away; the work goes on.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line.encode(self._encoding, "replace").decode(self._encoding) + "\n")
            self._stream.flush()
