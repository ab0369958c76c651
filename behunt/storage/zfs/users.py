"""Who keeps a dataset busy: told by the host that it is on."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from behunt.hosts.protocol import Host
from behunt.storage.zfs.faults import BusyError

_LISTED = 3  # processes that a message names

# $1 is the directory that it is mounted on, $2 its name; either may be empty. Linux tells in /proc
# what fstat(1) tells on FreeBSD, and is made to in the same columns. A dataset that is not
# mounted here may be so in another mount namespace, and is busy all the same.
_ASK = r"""
LC_ALL=C; export LC_ALL
if [ "$(uname -s)" = FreeBSD ]; then
    [ -z "$1" ] || exec fstat -f "$1"
    exit
fi
cd /proc || exit
{
    if [ -n "$1" ]; then
        { ls -l [0-9]*/cwd [0-9]*/root [0-9]*/exe; ls -l [0-9]*/fd; } 2>/dev/null |
            directory=$1 awk '
                /^[0-9]+\/fd:$/ { pid = $0; sub("/.*", "", pid) }
                at = index($0, " -> " ENVIRON["directory"]) {
                    next_one = substr($0, at + 4 + length(ENVIRON["directory"]), 1)
                    if (next_one != "" && next_one != "/") next
                    which = substr($0, 1, at - 1); sub(".* ", "", which)
                    if (index(which, "/")) { sub("/", " ", which); print which }
                    else print pid, "fd"
                }'
    fi
    if [ -n "$2" ]; then
        here=$(readlink self/ns/mnt)
        for file in $(grep -lsF -e " - zfs $2 " -e " - zfs $2/" [0-9]*/mountinfo); do
            pid=${file%/*}
            [ "$(readlink "$pid/ns/mnt")" = "$here" ] || echo "$pid mount"
        done
    fi
} | while read -r pid how; do
    read -r name <"$pid/comm" && echo "- $name $pid $how"
done 2>/dev/null
"""

# USER CMD PID FD …; a command's name may hold blanks.
_ROW = re.compile(r"\S+\s+(\S.*?)\s+(\d+)\s+(?:[a-z]+|\d+)\b")


def users(text: str) -> dict[int, str]:
    """Processes by their number, with their names, of what fstat(1) of FreeBSD prints."""
    rows = (_ROW.match(line) for line in text.splitlines())
    return {int(row[2]): row[1] for row in rows if row}


@contextlib.contextmanager
def named_users(host: Host, dataset: str, directory: str = "") -> Iterator[None]:
    """A BusyError in here says which processes use `dataset`, mounted on `directory`."""
    try:
        yield
    except BusyError as error:
        found = users(host.run(["sh", "-c", _ASK, "sh", directory, dataset]).out)
        if not found:
            raise
        named = [f"{name} ({pid})" for pid, name in found.items()][:_LISTED]
        more = ", …" if len(found) > _LISTED else ""
        raise BusyError(
            f"{dataset or directory} is in use by {', '.join(named)}{more}",
            f"have them leave it, or end them: kill {' '.join(map(str, found))}",
        ) from error
