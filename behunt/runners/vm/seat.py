"""What lets somebody sit at a Linux machine whose root is shared by 9p, as scripts. Pure.

It all lies in the machine's /run, made anew with every boot: nothing of it is ever in a boot
environment. With an /sbin/init the machine boots that, and root is logged in on the serial
console; without one, as a minimal root has none, a shell is all that runs.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

ROOT, MODULES = "root", "modules"  # tags of what is shared
AT = "behunt"  # where `files` are in the initial RAM disk
# A panic leaves time to be read; `reboot` reboots. The network card is eth0, as it was set up.
APPEND = "console=ttyS0 panic=5 net.ifnames=0"

# Where nothing is cached nothing can be mapped to be written; that kind came with Linux 3.15.
_MOUNT = "$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000"
_INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod "$module"; done
{mount},cache=mmap {root} /root || {mount} {root} /root || exit
$b mkdir -p /root/dev /root/proc /root/sys /root/run
$b mount -t devtmpfs dev /root/dev
$b mount -t tmpfs -o mode=755,nosuid,nodev run /root/run
$b mkdir /root/run/behunt # a mount of its own: sysvinit forbids that anything in /run is executed
$b mount -t tmpfs -o mode=755,nosuid,nodev behunt /root/run/behunt
$b cp /behunt/* /root/run/behunt
laid() {{ # our file over its own: a link is left to who made it
    [ -L /root/etc/$1 ] && return
    [ -e /root/etc/$1 ] || : >/root/etc/$1
    $b mount --bind /root/run/behunt/$1 /root/etc/$1
}}
$b ifconfig lo 127.0.0.1
laid hostname
{modules}{network}\
[ -x /root/sbin/init ] || [ -L /root/sbin/init ] || exec $b switch_root /root /run/behunt/alone
if [ -f /root/etc/inittab ]; then # of sysvinit
    {{ $b cat /root/etc/inittab; echo 'S0:2345:respawn:{getty} ttyS0'; }} >/root/run/behunt/inittab
    laid inittab
fi
$b mkdir -p /root/run/systemd/system
$b cp /behunt/unit /root/run/systemd/system/serial-getty@ttyS0.service
exec $b switch_root /root /sbin/init
"""
_FETCHED = """\
$b mkdir -p /root/lib/modules/{version}
{mount},ro {tag} /root/lib/modules/{version}
"""
_NETWORK = """\
if $b ifconfig eth0 10.0.2.15 netmask 255.255.255.0; then # QEMU's own
    $b route add default gw 10.0.2.2
    laid resolv.conf
fi
"""
# In short words, which are older than the long ones.
_GETTY = "/sbin/getty -n -l /run/behunt/login -L 115200"
# systemd has a getty on every console of the kernel; its own waits for udev, if there is any.
_UNIT = f"""[Unit]
Description=Serial console
After=systemd-user-sessions.service
Before=getty.target
Conflicts=rescue.service
Before=rescue.service
IgnoreOnIsolate=yes

[Service]
ExecStart=-{_GETTY} ttyS0
Type=idle
Restart=always
UtmpIdentifier=ttyS0
TTYPath=/dev/ttyS0
TTYReset=yes
TTYVHangup=yes
KillMode=process
SendSIGHUP=yes
"""
# Of a system that has no /sbin/init: the shell's end is the machine's.
_ALONE = """#!/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
hostname -F /run/behunt/hostname
cd /root
echo "No /sbin/init here: a shell of root's. When it ends, so does the machine."
setsid /run/behunt/shell
sync
echo o >/proc/sysrq-trigger
while :; do sleep 60; done
"""
# The leader of a session without a terminal gets the first that it opens.
_SHELL = """#!/bin/sh
exec <>/dev/ttyS0 >&0 2>&0
{terminal}HOME=/root USER=root LOGNAME=root
export HOME USER LOGNAME
shell=$(sed -n 's/^root:.*://p' /etc/passwd)
exec "${{shell:-/bin/sh}}" -l
"""


@dataclass(frozen=True, slots=True)
class Terminal:
    """The user's: what TERM says, and its size, which a serial line does not tell."""

    kind: str = "vt100"
    lines: int = 24
    columns: int = 80


def init(fetched: str, *, network: bool) -> str:
    """Process 1 of the initial RAM disk. `fetched` is the kernel whose modules are shared."""
    modules = _FETCHED.format(mount=_MOUNT, version=fetched, tag=MODULES) if fetched else ""
    return _INIT.format(
        mount=_MOUNT,
        root=ROOT,
        modules=modules,
        network=_NETWORK if network else "",
        getty=_GETTY,
    )


def files(hostname: str, terminal: Terminal) -> dict[str, str]:
    """What is in /run/behunt of the machine, by name."""
    kind = shlex.quote(terminal.kind)
    size = f"stty sane rows {terminal.lines} cols {terminal.columns}\n"
    set_up = f"{size}TERM={kind}\nexport TERM\n"
    return {
        "hostname": f"{hostname}\n",
        "resolv.conf": "nameserver 10.0.2.3\n",
        "unit": _UNIT,
        "login": f"#!/bin/sh\n{set_up}exec login -f root\n",
        "alone": _ALONE,
        "shell": _SHELL.format(terminal=set_up),
    }
