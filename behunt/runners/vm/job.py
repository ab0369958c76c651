"""What a machine does for a run, as shell scripts. Pure.

`waiting` is in the machine, the same for all of its runs: it says on the console that it is
ready, and again for an empty line, waits for one with the time, takes the job off the exchange
disk, does it, and puts on the disk what came of it. A machine may be kept in the moment it waits,
and resumed for each run: nothing of a run is in it by then. `job` is what comes on the disk.

What the job tells is on the console behind `MARK`, as it happens, and at the end on the disk: a
machine that dies half-way has told how far it came.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from behunt.hosts.dialogue import Row
from behunt.model import UNLIMITED, Limits
from behunt.runners.job import attempt
from behunt.runners.protocol import AT

MARK = "behunt:"
READY, DONE = "ready", "done"
WAITS = Row(text=f"{MARK} {READY}", reached=READY)
JOB, TOLD = ".job", ".told"  # on the exchange disk
_LITTLE = 64  # KiB; a file system with less free is full


@dataclass(frozen=True, slots=True)
class System:
    """How a system does what no two do alike. `console` and `output` are its serial ports.

    `first` is done where the script is process 1, `clock` sets the time to $now (seconds since
    1970), `take` unpacks $disk here past whatever was read of it before, `off` powers off at
    once. `initial` is the device with the settings that `output` has whenever it is opened, where
    it forgets those of before. `session` is the command that makes the test leader
    of a session of its own. `processes` lets there be $1 more than there are, `room` leaves $1 KiB
    free on the disk; where they are empty it cannot be done. `os` says what its consoles show, and
    `begin` is the script that begins the job where that is done by hand.
    """

    console: str
    output: str
    first: str
    clock: str
    take: str
    off: str
    initial: str = ""
    session: str = ""
    processes: str = ""
    room: str = ""
    os: str = "any"
    begin: str = "/etc/rc.local"


LINUX = System(
    console="/dev/ttyS0",
    output="/dev/ttyS1",
    first="""\
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
for place in /dev/shm /run /tmp; do mount -t tmpfs tmpfs $place; done
chmod 1777 /dev/shm /tmp
ip link set lo up 2>/dev/null""",
    clock='date -s "@$now" >/dev/null',
    # Not through the cache of block devices: it may hold what was there when the machine booted.
    take="dd if=$disk iflag=direct bs=65536 2>/dev/null | tar xf -",
    off="echo o >/proc/sysrq-trigger",
    session="setsid",
    processes="more=$1; set -- /proc/[0-9]*; echo $(($# + more)) >/proc/sys/kernel/threads-max",
    room="more=$1; set -- $(df -k / | tail -n 1); "
    f"[ $4 -le $more ] || fallocate -l $((($4 - more) * 1024)) {AT}/.taken",
    os="debian",
    begin=f"{AT}/.init",
)
# rc(8) has the console open, so its port cannot be called out on; of the second one the callout
# device does not wait for a carrier.
FREEBSD = System(
    console="/dev/console",
    output="/dev/cuau1",
    first=":",
    clock="date -f %s $now >/dev/null",
    take="tar xf $disk",
    off="halt -pq",  # at once; shutdown(8) would have init(8) stop what rc(8) started
    initial="/dev/cuau1.init",
    os="freebsd",
)


def waiting(system: System, disk: str) -> str:
    """The script that is in the machine; `disk` is what it calls its exchange disk.

    Without one, the directory AT of its root has what such a disk brings, and keeps what is left.
    """
    return f"""#!/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
disk={disk}
say() {{ echo "{MARK} $*" >{system.console}; }}
off() {{
    sync
    {system.off}
    while :; do sleep 60; done
}}
if [ $$ = 1 ]; then
{system.first}
fi
stty -echo <{system.console}
stty raw -echo <{system.initial or system.output}
mkdir -p {AT}
cd {AT} || {{ say failed cannot make {AT}; off; }}
say {READY}
while read -r now boot <{system.console}; do
    case $now in '' | *[!0-9]*) ;; *) break ;; esac # what was typed at a login is no time
    # a disk that was resumed may be dead
    [ -z "$disk" ] || dd if=$disk of=/dev/null bs=512 count=1 2>/dev/null
    say {READY}
done
{system.clock}
if [ ! -f {JOB} ]; then # else the job has rebooted the machine
{system.take}
fi
[ -f {JOB} ] || {{ say failed cannot read the exchange disk $disk; off; }}
. ./{JOB}
"""


def job(
    system: System,
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    *,
    run: str,
    hostname: str,
    directories: Sequence[str] = (),
    limits: Limits = UNLIMITED,
    reboots: bool = False,
) -> str:
    """What `waiting` does: run `argv`, and bring back what is in the exchange directory then.

    `directories` are made first: the archive has files only. `run` is a word that no other run
    has: it marks what this one tells. That lies at the end of the archive, so that what is in
    front of it has come whole. Where `argv` may reboot the machine, it is run again then.
    """
    session = f'BEHUNT_BOOT="$boot" {system.session}' if reboots else system.session
    body = attempt(argv, env, cwd, output=system.output, session=session)
    return f"""\
mkdir -p . {shlex.join(directories)}
tell() {{ say {run} "$*"; echo "$*" >>{AT}/{TOLD}; }}
echo run {run} >{AT}/{TOLD}
hostname {shlex.quote(hostname)}
tell kernel "$(uname -r)"
{_limited(system, limits)}{"sync" if reboots else ":"}
{body}cd {AT}
sync
full() {{ [ "$4" -ge {_LITTLE} ] || tell full; }}
full $(df -k / | tail -n 1)
[ -z "$disk" ] || tar cf $disk * {TOLD} 2>/dev/null || say {run} overfull
sync
say {run} {DONE}
off
"""


def _limited(system: System, limits: Limits) -> str:
    """Memory and processors are the machine's own."""
    lines = []
    if limits.processes and system.processes:
        lines.append(f"processes() {{ {system.processes}; }}\nprocesses {limits.processes}\n")
    if limits.disk and system.room:
        lines.append(f"room() {{ {system.room}; }}\nroom {limits.disk >> 10}\n")
    return "".join(lines)
