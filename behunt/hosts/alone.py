"""A network of one's own, for what is started meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from behunt.errors import HostError
from behunt.hosts import spawner
from behunt.hosts.local import LocalHost
from behunt.hosts.syscalls import NAMESPACES, loopback_up, setns, unshare

# With no other than 127.0.0.1 getaddrinfo(3) knows no IPv4 at all, where it is asked for what is
# configured (AI_ADDRCONFIG). This one is of nobody: RFC 5737.
_ADDRESS = ("ip", "address", "add", "192.0.2.1/32", "dev", "lo")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """This thread, and what it starts, has a network with 127.0.0.1 and no way out.

    What was started before has ended then, and what was started inside ends with it. Raises
    HostError where it may not.
    """
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        spawner.stop()  # whatever it starts would be in its own network
        try:
            unshare(NAMESPACES["net"])
        except OSError as error:
            raise HostError(f"cannot have a network of its own: {error}", "use sudo") from error
        try:
            loopback_up()
            LocalHost().run(_ADDRESS, check=True)
            yield
        finally:
            spawner.stop()
            setns(before, NAMESPACES["net"])
    finally:
        os.close(before)
