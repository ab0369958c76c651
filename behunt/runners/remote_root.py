"""What gets a command into a clone that is mounted on another host. Pure.

The same surroundings as hosts/entering.py makes, by util-linux and coreutils alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from behunt.hosts.entering import DEVICE_LINKS, DEVICES

# hosts/executing.py, by name
_TAME = (
    "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,"
    "sys_chroot,mknod,audit_write,setfcap"
)
LINUX_PROGRAMS = ("chroot", "mknod", "mount", "setpriv", "tar", "unshare")
FREEBSD_PROGRAMS = ("chroot", "devfs", "fuser", "mount", "tar", "umount")
_FAILED = 125  # as chroot(8) itself fails

# `$1` is the root, `$2` its host name, `$3` the namespaces, the rest the command. All is mounted
# in a namespace of its own. The root's own links are refused: nothing runs in it yet that could
# put one there meanwhile, or what does is as tame as what comes.
_SURROUND = f"""\
r=$1 h=$2 k=$3; shift 3
failed() {{ echo "behunt: cannot make the surroundings of $r: $1" >&2; exit {_FAILED}; }}
has() {{ case " $k " in *" $1 "*) ;; *) return 1 ;; esac; }}
for d in proc sys dev; do
  test ! -h "$r/$d" || failed "$d is a link"
  test -d "$r/$d" || mkdir "$r/$d" || failed "$d"
done
mount --rbind "$r" "$r" && mount -o remount,bind,nodev "$r" || failed root
if has uts; then echo "$h" >/proc/sys/kernel/hostname || failed hostname; fi
mount -t proc -o nosuid,nodev,noexec proc "$r/proc" || failed proc
if has net; then
  mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$r/sys" || failed sys
  ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null
fi
mount -t tmpfs -o nosuid,mode=755,size=64m tmpfs "$r/dev" && cd "$r/dev" || failed dev
node() {{ mknod -m 666 $1 c $2 $3 && mount --bind $1 $1 || failed "/dev/$1"; }}
{"; ".join(f"node {name} {major} {minor}" for name, (major, minor) in DEVICES.items())}
mount -o remount,bind,nosuid,nodev "$r/dev" || failed dev
mkdir pts && mkdir -m 1777 shm || failed dev
mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=0666,gid=5 devpts pts || failed pts
{"; ".join(f"ln -s {target} {name}" for name, target in DEVICE_LINKS.items())}
cd "$r/proc" || failed proc
for p in sys sysrq-trigger irq bus fs acpi scsi; do
  test ! -e $p || {{ mount --bind $p $p && mount -o remount,bind,ro,nosuid,nodev $p; }} || failed $p
done
for p in kcore keys timer_list sched_debug; do
  test ! -e $p || mount --bind "$r/dev/null" $p || failed $p
done
cd /
set -- setpriv --inh-caps=-all --bounding-set=-all,+{_TAME.replace(",", ",+")} chroot "$r" "$@"
has pid || exec "$@"
"$@"
exit $?
"""
# Not before the shell above has become process 1 would the command die with it.


def surrounded(root: str, hostname: str, kinds: Sequence[str]) -> tuple[str, ...]:
    """On Linux: in namespaces of its own, tame, with a private /dev, chrooted into `root`.

    `kinds` are those of hosts/sandbox.py. With `pid` among them the command is not process 1,
    which the kernel shields from signals, and all that it leaves running dies with it.
    """
    flags = [f"--{kind}" for kind in kinds]
    forked = ("--fork", "--kill-child") if "pid" in kinds else ()
    script = ("sh", "-c", _SURROUND, "sh", root, hostname, " ".join(kinds))
    return ("unshare", *flags, *forked, *script)


# `$1` is a root. End what still has it for its root directory, once and again: what is killed
# may have forked meanwhile.
END_CHROOTED = """\
n=0
while test $n -lt 50; do
  case $(uname -s) in
  Linux)
    found=$(ls -ld /proc/[0-9]*/root 2>/dev/null | while read -r line; do
      case $line in *" -> $1") p=${line% -> *}; p=${p##* /proc/}; echo "${p%/root}" ;; esac
    done) ;;
  *) found=$(fuser "$1" 2>/dev/null) ;;
  esac
  test -n "$found" || exit 0
  kill -9 $found 2>/dev/null
  n=$((n + 1))
  sleep 0.1
done
exit 1
"""

# devfs.rules(5), ruleset 4: what a jail may see, also of devices that come later. `$1` is the root.
MOUNT_DEVFS = """\
test ! -h "$1/dev" && { test -d "$1/dev" || mkdir "$1/dev"; } || exit
mount -t devfs devfs "$1/dev" && devfs -m "$1/dev" ruleset 4 && devfs -m "$1/dev" rule applyset
"""
# `$1` is a root. Unmount what was mounted on it for a jail or chroot; processes that were killed
# hold on to it for a moment.
UMOUNT_VIRTUAL = """\
cd "$1" 2>/dev/null && set -- "$(pwd -P)"
cd /
for d in dev proc; do
  n=0
  while mount | grep -qF " on $1/$d ("; do
    case $n in 20) exit 1 ;; 15) umount -f "$1/$d" ;; *) umount "$1/$d" 2>/dev/null ;; esac
    n=$((n + 1))
    test $n -eq 1 || sleep 0.2
  done
done
"""
