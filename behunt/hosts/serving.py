"""A sandbox in which a server of files runs, while the trees that it serves come and go."""

from __future__ import annotations

import os
from collections.abc import Sequence

from behunt.errors import HostError
from behunt.hosts.spawner import Session
from behunt.hosts.wire import Message


class Serving(Session):
    """A Session whose one command, given to `start`, goes on while its mounts change.

    What is attached is the root of another session, whose sandbox is `exported`: the same file
    system, seen in there by whoever looks after the test, and here by the server.
    """

    def attach(self, tree: int, target: str) -> None:
        """Mount `tree` (Session.tree) at `target`, which is made. Raises OSError."""
        self._order({"op": "attach", "target": target}, [tree])

    def detach(self, target: str) -> None:
        """Unmount it, with all below it. OSError with EBUSY while the server has it open."""
        self._order({"op": "detach", "target": target})

    def signal(self, number: int) -> None:
        """Send a signal to the command."""
        self._order({"op": "signal", "number": number})

    def _order(self, request: Message, fds: Sequence[int] = ()) -> None:
        answer, _ = self._asked(request, fds)
        if "status" in answer:
            code = os.waitstatus_to_exitcode(answer["status"])
            raise HostError(f"the server has ended (status {code})", "its log says why")
        if "error" in answer:
            raise OSError(answer["errno"], answer["error"], request.get("target"))
