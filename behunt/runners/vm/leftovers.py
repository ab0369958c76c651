"""What machines of killed behunts have left on another host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from behunt.errors import HostError
from behunt.hosts.facts import facts
from behunt.hosts.protocol import Host
from behunt.runners.jail_args import owner_of
from behunt.runners.vm.away import PLACES, ROOT, place_of, remove
from behunt.runners.vm.bhyve_args import DESCRIBED, VMM, stop_args
from behunt.runners.vm.vmm_args import end_args

_LIST = f"ls -1 {VMM} {PLACES} 2>/dev/null; {DESCRIBED}"


def reap(host: Host, home: str, alive: Callable[[str], bool]) -> list[str]:
    """End the machines of `home` (its id) whose owner's token is not `alive`; their names.

    Before clones are: they have their disks from them.
    """
    removed = []
    listed = host.run(["sh", "-c", _LIST]).out.split()
    for name in sorted({one.removesuffix(ROOT) for one in listed}):
        token = owner_of(name, home)
        if token and not alive(token):
            with contextlib.suppress(HostError):  # the next one tries again
                remove(host, name, _ending(host, name))
                removed.append(name)
    return removed


def _ending(host: Host, name: str) -> list[str]:
    if facts(host).system == "OpenBSD":
        return end_args(name, place_of(name))
    return stop_args(name)
