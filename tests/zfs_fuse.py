"""A real pool of zfs-fuse (Debian's package) in a mount namespace of its own.

Nothing of it is seen outside, and all of it is gone with the process that asked for it.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from behunt.hosts.local import LocalHost, Prefixed
from behunt.hosts.protocol import Host

# The daemon's socket, lock and list of pools are where only this namespace has them.
_DAEMON = """\
set -e
mount --make-rprivate /
for place in /run/zfs /var/lib/zfs /var/lock/zfs; do
    mkdir -p "$place"
    mount -t tmpfs none "$place"
done
# zfs(8) removes such a directory, while it is empty, with a dataset that inherits it.
for place in /usr/src /var/mail /var/tmp; do
    [ ! -d "$place" ] || mount --bind "$place" "$place"
done
# Its mounts pass two writes through one pipe (fuse_listener.c): those of two at once get mixed up,
# and it hangs. So there is one at a time.
zfs=$(command -v zfs)
cp "$zfs" /run/zfs/zfs
cat >/run/zfs/one-at-a-time <<'end'
#!/bin/sh
set -- /run/zfs/zfs "$@"
case $2 in
clone | create | mount | rename | rollback | set) set -- flock -F /run/zfs/mounting "$@" ;;
esac
exec "$@"
end
chmod +x /run/zfs/one-at-a-time
mount --bind /run/zfs/one-at-a-time "$zfs"
exec zfs-fuse --no-daemon --no-kstat-mount --pidfile /run/zfs/pid
"""
_READY = """\
tries=0
until zpool list >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || exit 1
    sleep 0.05
done
"""


def is_here() -> bool:
    return shutil.which("zfs-fuse") is not None


@contextlib.contextmanager
def zfs_fuse() -> Iterator[Host]:
    """A Host that is this machine as the daemon's namespace sees it; it has no pool yet."""
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", _DAEMON]
    null = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=null, stdout=null, stderr=null) as daemon:
        try:
            theirs = Path(f"/proc/{daemon.pid}/ns/mnt")
            while theirs.readlink() == Path("/proc/self/ns/mnt").readlink():
                assert daemon.poll() is None
            host = Prefixed(LocalHost(), ("nsenter", f"--mount={theirs}", "--"), "zfs-fuse")
            host.run(["sh", "-c", _READY], check=True)
            yield host
        finally:
            daemon.kill()


@contextlib.contextmanager
def fuse_pool(image: Path, name: str = "bhpool", size: int = 256 << 20) -> Iterator[Host]:
    """The same with a pool called `name` on a new file `image`, mounted nowhere."""
    with zfs_fuse() as host:
        with image.open("wb") as file:
            file.truncate(size)
        host.run(["zpool", "create", "-m", "none", name, str(image)], check=True)
        yield host


def seen(host: Host, path: str) -> Path:
    """Where this process sees what lies at `path` of a host that `zfs_fuse` made."""
    prefix = next(word for word in host.wrap([]) if word.startswith("--mount=/proc/"))
    return Path(prefix.removeprefix("--mount=").removesuffix("ns/mnt"), "root", path.lstrip("/"))
