"""What nfs-ganesha says: on its way up, of exports it cannot serve, of who mounts what."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

from behunt.errors import HostError
from behunt.netboot.nfs import Asked

UP, READ_AGAIN = "NFS SERVER INITIALIZED", "Reread exports complete"
_PATIENCE = 30.0  # seconds
# Of an export. Its configuration's parser repeats that later, when the next one may be asked for.
_COMPLAINT = re.compile(r":(?:FSAL|EXPORT) :(?:CRIT|MAJ|FATAL) :(.*)")
_NO_HANDLES = "Could not get handle for path"
_TEXT = re.compile(r".*?\] (.*)")  # after date, host, process and thread
# What it says of each NFS call at the level that tells mounts, and of each connection.
_CHATTER = re.compile(r"^(?!.*mnt_Mnt ).*:NFS3 :DEBUG :|:TIRPC :")
_ASKS = re.compile(r"\[(\w+)\] mnt_Mnt .*Calling MNT_MNT path=(.*)")
_ANSWERED = re.compile(r"\[(\w+)\] mnt_Mnt .*:MOUNT: (.*) for client (?:::ffff:)?([0-9.]+)\b")
_GRANTED = "Entry supports"


def asked(lines: Iterable[str]) -> Iterator[Asked]:
    """The mounts in its log. A call and its answer are told by the same thread."""
    asking: dict[str, str] = {}
    for line in lines:
        if call := _ASKS.search(line):
            asking[call[1]] = call[2]
        elif (said := _ANSWERED.search(line)) and (path := asking.pop(said[1], "")):
            yield Asked(path, IPv4Address(said[3]), said[2].startswith(_GRANTED))


class Log:
    """A pipe that it writes to, a thread that reads it, and `file`.

    `lines` are those of the file: what tells something.
    """

    def __init__(self, file: Path) -> None:
        self.lines: list[str] = []
        self._file = file
        self._news = threading.Condition()
        self._ended = False
        ours, self.theirs = os.pipe()
        self._ours = open(ours, encoding="utf-8", errors="replace")  # noqa: PTH123, SIM115
        self._thread = threading.Thread(target=self._pump, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Once it is dead."""
        if self.theirs >= 0:
            os.close(self.theirs)
        else:
            self._thread.join()
        self._ours.close()

    def begin(self) -> None:
        """It has been started, and has the other end."""
        os.close(self.theirs)
        self.theirs = -1
        self._thread.start()

    def wait(self, text: str, since: int = 0) -> None:
        """Until it says `text` after the first `since` lines.

        HostError where it complains of an export before that, ends, or says nothing for long.
        """
        with self._news:
            said = self._news.wait_for(lambda: self._said(text, since) or self._ended, _PATIENCE)
            told = self.lines[since:]
        complaints = [found[1] for line in told if (found := _COMPLAINT.search(line))]
        if complaints:
            raise self._fault(f"does not export it: {complaints[0]}")
        if self._ended:
            last = _TEXT.sub(r"\1", told[-1]) if told else "it said nothing"
            raise self._fault(f"has ended: {last}")
        if not said:
            raise self._fault(f"has not answered for {_PATIENCE:.0f} s")

    def _said(self, text: str, since: int) -> bool:
        return any(text in line for line in self.lines[since:])

    def _fault(self, why: str) -> HostError:
        if _NO_HANDLES in why:
            hint = (
                "NFS needs file handles, and an overlay on another overlay has none: keep behunt's "
                "home on ext4, xfs, btrfs or ZFS"
            )
            return HostError(f"nfs-ganesha {why}", hint)
        return HostError(f"nfs-ganesha {why}", f"{self._file} has all that it said")

    def _pump(self) -> None:
        with self._file.open("w", encoding="utf-8", buffering=1) as kept:
            for line in self._ours:
                if not _CHATTER.search(line):
                    kept.write(line)
                    self._tell(line.rstrip("\n"))
        self._tell()

    def _tell(self, *lines: str) -> None:
        """More of them; none at the end."""
        with self._news:
            self.lines += lines
            self._ended = not lines
            self._news.notify_all()
