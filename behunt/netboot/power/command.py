"""Commands of the user's own: a switched power strip, a relay, a hypervisor's tool."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host, checked
from behunt.netboot.power.protocol import DEADLINE, State, wait_for

_HERE = LocalHost()
_STATES = {0: State.ON, 1: State.OFF}  # by exit status


@dataclass(frozen=True, slots=True)
class Command:
    """`switch_on` and `switch_off` are argv lists, which end with 0 where they did it.

    `status` ends with 0 where the machine is on, with 1 where it is off, and with anything else
    where that cannot be told; without it nothing is waited for. Each has `deadline` seconds, and
    what it leaves running is ended with it.
    """

    switch_on: tuple[str, ...]
    switch_off: tuple[str, ...]
    status: tuple[str, ...] = ()
    deadline: float = DEADLINE
    host: Host = _HERE

    def on(self) -> None:
        self._switch(State.ON, self.switch_on)

    def off(self) -> None:
        self._switch(State.OFF, self.switch_off)

    def cycle(self) -> None:
        self.off()
        self.on()

    def state(self) -> State:
        if not self.status:
            return State.UNKNOWN
        done = self.host.run(self.status, timeout=self.deadline)
        if done.timed_out or not done.started:
            checked(done)
        return _STATES.get(done.code, State.UNKNOWN)

    def _switch(self, wanted: State, argv: tuple[str, ...]) -> None:
        if self.state() is wanted:  # it may be a button, which switches back
            return
        self.host.run(argv, timeout=self.deadline, check=True)
        if self.status:
            wait_for(wanted, self.state, self.deadline, f"`{shlex.join(argv)}`")
