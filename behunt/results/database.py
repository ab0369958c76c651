"""Opens a database by path or URL, and says in one sentence what is wrong with it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from behunt.errors import HostError, UsageError

# How long one behunt waits while another writes. A transaction takes about a millisecond.
BUSY_SECONDS = 30.0

DIALECTS = ("sqlite", "postgresql")


def connect(where: str | Path) -> sa.Engine:
    """Engine of a SQLite file, or of any `sqlite:` or `postgresql:` URL; connects to nothing yet.

    One connection: threads take turns with it, which costs less than SQLite's own waiting, and
    lets all of them share an in-memory database (`sqlite://`).
    """
    url = _url(where)
    try:
        engine = sa.create_engine(
            url,
            poolclass=sa.QueuePool,
            pool_size=1,
            max_overflow=0,
            pool_timeout=BUSY_SECONDS,
            **(_sqlite_options() if _is_sqlite(url) else {"pool_pre_ping": True}),
        )
    except ModuleNotFoundError as error:
        raise HostError(
            f"the results database {shown(url)} needs the Python module {error.name}",
            'pip install "psycopg[binary]"',
        ) from error
    if _is_sqlite(url):
        sa.event.listen(engine, "connect", _prepare)
    return engine


def _url(where: str | Path) -> sa.URL:
    if isinstance(where, Path) or "://" not in where:
        return sa.URL.create("sqlite", database=str(where))
    try:
        url = sa.make_url(where)
    except sa.exc.ArgumentError as error:
        raise UsageError(
            "this is not the URL of a database",
            "a path, or postgresql://user@host/database",
        ) from error
    if url.get_backend_name() not in DIALECTS:
        raise UsageError(
            f"results cannot be kept in {url.get_backend_name()}",
            f"use one of: {', '.join(DIALECTS)}",
        )
    # SQLAlchemy 2.0 and 2.1 differ in the driver they take by default.
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def shown(url: sa.URL) -> str:
    """A database's name for people: a path, or the URL without its password."""
    return url.database or ":memory:" if _is_sqlite(url) else url.render_as_string()


def _is_sqlite(url: sa.URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _sqlite_options() -> dict[str, Any]:
    return {"connect_args": {"timeout": BUSY_SECONDS, "check_same_thread": False}}


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    try:
        with closing(connection.cursor()) as cursor:
            _use_wal(cursor)
            # With WAL a killed process loses nothing; a power cut may lose the last commits, but
            # never what came before them. FULL would cost an fsync for every trial.
            cursor.execute("PRAGMA synchronous=NORMAL")
            cursor.execute("PRAGMA foreign_keys=ON")
    except sqlite3.Error:
        connection.close()
        raise


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch to write-ahead logging, which lets readers read while another process writes.

    SQLite does not apply its busy timeout to this switch (sqlite3BtreeBeginTrans asks the busy
    handler only outside a transaction), so two processes that open a new file must wait here.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


def make_directory(url: sa.URL) -> None:
    """Make the directory of a SQLite file."""
    if _is_sqlite(url) and url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(
                f"the directory of the results database {shown(url)} cannot be made: "
                f"{error.strerror}",
                _ELSEWHERE,
            ) from error


@contextmanager
def explained(url: sa.URL) -> Iterator[None]:
    """Raise what the database complains of as a HostError with a hint.

    An IntegrityError passes: it is a mistake of the caller's code, not of the machine.
    """
    try:
        yield
    except sa.exc.IntegrityError:
        raise
    except sa.exc.DBAPIError as error:
        raise _host_error(url, error.orig) from error
    except sa.exc.TimeoutError as error:
        raise _about(url, "BUSY") from error


_ELSEWHERE = "check its permissions and its file system, or choose another home with BEHUNT_HOME"

# What SQLite's result codes (https://sqlite.org/rescode.html) mean to a person, by the part of
# the name that extended codes share: (what is wrong, what to do), with {} for the database.
_SQLITE = {
    "FULL": (
        "no space is left for the results database {}",
        "make room and run again: nothing recorded before is lost",
    ),
    "READONLY": ("the results database {} cannot be written", _ELSEWHERE),
    "PERM": ("the results database {} cannot be written", _ELSEWHERE),
    "CANTOPEN": ("the results database {} cannot be opened", _ELSEWHERE),
    "NOTADB": (
        "{} is not a results database",
        "move it away: behunt makes a new one",
    ),
    "CORRUPT": (
        "the results database {} is damaged",
        "save what `sqlite3 {} .recover` still reads, then move it away",
    ),
    "BUSY": (
        f"the results database {{}} is held by another program since {BUSY_SECONDS:.0f} s",
        "see which one with: fuser -v {}",
    ),
    "IOERR": (
        "the results database {} cannot be read or written",
        "check the disk, and that it is not full",
    ),
}


def _about(url: sa.URL, code: str) -> HostError:
    return HostError(*(text.format(shown(url)) for text in _SQLITE[code]))


def _host_error(url: sa.URL, error: BaseException | None) -> HostError:
    name = getattr(error, "sqlite_errorname", "")  # "SQLITE_READONLY_DBMOVED"
    for code in _SQLITE:
        if name.startswith(f"SQLITE_{code}"):
            return _about(url, code)
    said = (str(error).strip() or "no reason given").splitlines()[0]
    return HostError(
        f"the results database {shown(url)} failed: {said}", "check that it runs and lets you in"
    )
