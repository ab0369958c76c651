"""A machine that somebody stands beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from behunt.netboot.power.protocol import State

Ask = Callable[[str], None]  # says it to a person, and returns when it is done


@dataclass(frozen=True, slots=True)
class Hand:
    mac: str
    ask: Ask

    def on(self) -> None:
        self.ask(f"Switch the machine {self.mac} on.")

    def off(self) -> None:
        self.ask(f"Switch the machine {self.mac} off.")

    def cycle(self) -> None:
        self.ask(f"Switch the machine {self.mac} off, and on again.")

    def state(self) -> State:
        return State.UNKNOWN
