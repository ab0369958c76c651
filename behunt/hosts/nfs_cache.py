"""What the NFS server of Linux's kernel keeps of directories that it exports no more."""

from __future__ import annotations

from behunt.hosts.protocol import Host

# A flush has entries expire, and removes them, unless it comes soon after another one: then they
# are left to the next that is due, of whichever cache (net/sunrpc/cache.c: write_flush,
# cache_clean). Those of the exports are not flushed again here, which would put that off.
_FORGET = r"""
cd /proc/net/rpc 2>/dev/null || exit 0
tries=0
while grep -qsF -e "$1" nfsd.export/content nfsd.fh/content && [ "$tries" -lt 40 ]; do
    sleep 0.25
    echo 1 >auth.unix.ip/flush
    tries=$((tries + 1))
done
"""


def forget(host: Host, directory: str) -> None:
    """Have it let go of `directory`, unexported, which it may keep busy for half a minute."""
    host.run(["sh", "-c", _FORGET, "sh", directory])
