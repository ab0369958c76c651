"""A machine that was started, as the one who follows its run sees it."""

from __future__ import annotations

from typing import Protocol, Self

from behunt.hosts.console import Console

CONSOLE = "console"  # the transcript, in the directory of a machine


class Power(Protocol):
    """What a hypervisor says of its machine, in QEMU's words."""

    @property
    def hypervisor(self) -> str: ...

    def go_on(self) -> None:
        """Let it run, if it was started paused."""
        ...

    def status(self) -> str:
        """`running`, or why it stands still."""
        ...

    def ended(self, timeout: float) -> str | None:
        """Why it is over: `guest-shutdown`, `guest-reset`; None if it does not tell in time."""
        ...


class Started(Protocol):
    """It ends with its block. With `resumed` it waits for its job already."""

    @property
    def resumed(self) -> bool: ...

    @property
    def console(self) -> Console: ...

    @property
    def monitor(self) -> Power: ...

    def end(self) -> None:
        """Cut the power, and bring back what is on its exchange disk."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
