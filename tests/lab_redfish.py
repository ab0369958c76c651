"""sushy-tools' Redfish emulator, whose fake system has a Switch (lab_power.py) for its power.

python lab_redfish.py SOCKET [what sushy-emulator takes]...
"""

from __future__ import annotations

import socket
import sys

from sushy_tools.emulator import main as emulator
from sushy_tools.emulator.resources.systems import fakedriver

SOCKET = sys.argv.pop(1)


class Switched(fakedriver.FakeDriver):  # type: ignore[misc]
    """Its own power would follow after a random number of seconds, and switch nothing."""

    def get_power_state(self, identity: str) -> str:
        self._get(identity)
        return "On" if switched("status") else "Off"

    def set_power_state(self, identity: str, state: str) -> None:
        self._get(identity)
        switched({"On": "on", "ForceOff": "off"}[state])


def switched(verb: str) -> bool:
    with socket.socket(socket.AF_UNIX) as switch:
        switch.connect(SOCKET)
        switch.sendall(verb.encode() + b"\n")
        return switch.recv(1) == b"1"


fakedriver.FakeDriver = Switched
sys.exit(emulator.main())
