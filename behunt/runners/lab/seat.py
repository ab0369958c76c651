"""What lets somebody sit at a Linux machine of a lab, as a script. Pure.

It is process 1, in a clone that is thrown away afterwards, and becomes the clone's own init;
without one, as a minimal root has none, a shell at the console is all that runs.
"""

from __future__ import annotations

from behunt.netboot.lab import Machine
from behunt.runners.protocol import AT
from behunt.runners.vm.job import LINUX

SEAT = str(AT / ".seat")
_SERIAL, _SCREEN = "ttyS0", "tty1"
_LOGIN = f"S0:2345:respawn:/sbin/getty -L 115200 {_SERIAL} vt100"  # systemd has its own
_SCRIPT = f"""\
#!/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
echo {{name}} >/etc/hostname
# root logs in without a password: who sits there has its power switch, too
shadow=$(sed 's/^root:[^:]*:/root::/' /etc/shadow) && echo "$shadow" >/etc/shadow
[ {{console}} != {_SERIAL} ] || [ ! -f /etc/inittab ] || grep -q '^S0:' /etc/inittab ||
    echo '{_LOGIN}' >>/etc/inittab
[ ! -x /sbin/init ] || exec /sbin/init
{LINUX.first}
hostname {{name}}
HOME=/root USER=root LOGNAME=root TERM=linux
export HOME USER LOGNAME TERM
cd /root
echo "No /sbin/init here: a shell of root's. When it ends, so does the machine." >/dev/{{console}}
setsid sh -c 'exec sh -l </dev/{{console}} >/dev/{{console}} 2>&1'
sync
{LINUX.off}
while :; do sleep 60; done
"""


def script(machine: Machine) -> str:
    """Of SEAT. What is serial is the machine's first port, whatever is at its other end."""
    console = _SCREEN if machine.console == "none" else _SERIAL
    return _SCRIPT.format(name=machine.name, console=console)
