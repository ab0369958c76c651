"""QEMU's monitor (QMP) over its unix socket: power, state, and memory kept in a file.

The protocol: docs/interop/qmp-spec.rst of QEMU. Its own Python library, qemu.qmp, is asyncio; the
synchronous wrapper in it has no deadline for connecting, which a stopped QEMU never answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from behunt.errors import HostError
from behunt.hosts import unix_sockets

_PATIENCE = 30.0  # seconds for an answer
_AGAIN = 0.01  # seconds between two looks at what QEMU has yet to do
_LONGEST = 1 << 20  # bytes of a line
_UNBOUND = 1 << 40  # bytes a second; QEMU would take an eighth of a GiB
_FILES = (8, 2)  # the first QEMU that knows `file:`; 9.1 deprecates a file by `fd:`
_STATE = "state"  # what a descriptor is called in an older one
# States that only behunt can end: KVM gave up, the host's disk is full, pvpanic told.
_STUCK = frozenset({"internal-error", "io-error", "guest-panicked", "watchdog"})
_MOVING = frozenset({"finish-migrate", "inmigrate"})
_FOREIGN = "what answers on QEMU's socket is not its monitor"
_HINT = "look at what QEMU and the machine's console said last"


class EndedError(HostError):
    """QEMU is gone, and its monitor with it."""


def _never() -> bool:
    return False


def _untold() -> str:
    return ""


class Qmp:
    """The monitor of one machine, from when it answers. It belongs to one thread.

    Every wait has a deadline: what is not answered in time is a HostError, as is what QEMU
    refuses; that QEMU ended is an EndedError. A machine ends with QEMU's process, never here.
    """

    hypervisor = "QEMU"

    def __init__(
        self,
        path: Path,
        *,
        timeout: float = _PATIENCE,
        gone: Callable[[], bool] = _never,
        how: Callable[[], str] = _untold,
    ) -> None:
        """Wait for the socket at `path`, unless QEMU is `gone` before it has made it.

        `how` says of a QEMU that hangs up without a word how its process has ended.
        """
        deadline = time.monotonic() + timeout
        self._partial = b""
        self._number = 0
        self._how = how
        self._why: str | None = None  # it ended
        self._stopped = False
        self._migration = ""
        self._socket = _connected(path, deadline, gone)
        try:
            self._version = self._greeted(deadline)
            self.ask("qmp_capabilities", timeout=timeout)
            told = [{"capability": "events", "state": True}]
            self.ask("migrate-set-capabilities", {"capabilities": told}, timeout=timeout)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float = _PATIENCE,
        descriptor: int | None = None,
    ) -> Any:
        """What QEMU returns for `command`; of a `descriptor` that goes with it, it gets its own."""
        deadline = time.monotonic() + timeout
        self._number += 1
        question = {"execute": command, "arguments": arguments or {}, "id": self._number}
        self._send(json.dumps(question).encode() + b"\n", deadline, descriptor)
        while (said := self._said(deadline, command)).get("id") != self._number:
            pass
        if "error" in said:
            raise HostError(f"QEMU refuses {command}: {said['error'].get('desc')}", _HINT)
        return said.get("return")

    def status(self) -> str:
        """One of QEMU's run states: `running`, `paused`, `prelaunch`, `inmigrate`, `io-error`."""
        return str(self.ask("query-status")["status"])

    def go_on(self) -> None:
        self.ask("cont")

    def pause(self) -> None:
        self.ask("stop")

    def press_power(self) -> None:
        """As the power button does: a system with ACPI shuts down, in its own time."""
        self.ask("system_powerdown")

    def quit(self) -> None:
        """End QEMU, as if the power were cut."""
        with contextlib.suppress(EndedError):
            self.ask("quit")

    def ended(self, timeout: float) -> str | None:
        """Why the machine ended; None if it has not within `timeout` seconds.

        QEMU's words: `guest-shutdown`, `guest-reset` (where it may not reboot), `guest-panic`,
        `host-qmp-quit`, `host-signal`; or the state in which it is stuck: `internal-error`,
        `io-error`. Where QEMU itself went without a word: how its process ended.
        """
        deadline = time.monotonic() + timeout
        while self._why is None:
            if self._stopped:
                self._stopped = False
                if (status := self.status()) in _STUCK:
                    return status
            try:
                self._said(deadline, "", patient=True)
            except EndedError:
                return self._how()
            except TimeoutError:
                return None
        return self._why

    def save(self, path: Path, *, timeout: float) -> None:
        """Write the machine's memory and devices to an absolute `path`. It runs no more then."""
        self.pause()  # what does not change needs to be written only once
        self.ask("migrate-set-parameters", {"max-bandwidth": _UNBOUND})
        self.ask("migrate", {"uri": self._uri(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)})
        self._migrated("save the machine's memory", timeout)

    def load(self, path: Path, *, timeout: float) -> None:
        """Read what `save` wrote, into a machine of the same arguments that awaits it.

        It is paused then. QEMU ends where it cannot: EndedError.
        """
        self.ask("migrate-incoming", {"uri": self._uri(path, os.O_RDONLY)})
        self._migrated("load the machine's memory", timeout)

    def _uri(self, path: Path, flags: int) -> str:
        """What this QEMU calls the file in a migration."""
        if self._version >= _FILES:
            return f"file:{path}"
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise HostError(f"cannot open {path}: {error.strerror}") from error
        try:
            self.ask("getfd", {"fdname": _STATE}, descriptor=descriptor)
        finally:
            os.close(descriptor)
        return f"fd:{_STATE}"

    def _migrated(self, what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        self._migration = ""
        answer = str(self.ask("query-migrate").get("status", ""))
        # An event may overtake the answer, and is later than that.
        self._migration = self._migration or answer
        while self._migration != "completed":
            if self._migration in {"failed", "cancelled"}:
                reason = self.ask("query-migrate").get("error-desc", self._migration)
                raise HostError(f"QEMU could not {what}: {reason}", _HINT)
            self._said(deadline, f"how to {what} went")
        while self.status() in _MOVING:  # for a moment longer, and no event tells its end
            if time.monotonic() > deadline:
                raise _silent(f"how to {what} ended")
            time.sleep(_AGAIN)

    def _greeted(self, deadline: float) -> tuple[int, int]:
        """QEMU's version, which it greets with: the major and the minor number."""
        while "QMP" not in (said := self._said(deadline, "its greeting")):
            pass
        try:
            version = said["QMP"]["version"]["qemu"]
            return version["major"], version["minor"]
        except (LookupError, TypeError) as error:
            raise HostError(_FOREIGN, _HINT) from error

    def _send(self, data: bytes, deadline: float, descriptor: int | None) -> None:
        try:
            self._socket.settimeout(_left(deadline))
            if descriptor is not None:
                data = data[socket.send_fds(self._socket, [data], [descriptor]) :]
            self._socket.sendall(data)
        except TimeoutError as error:
            raise _silent("a question") from error
        except OSError as error:
            raise self._gone() from error

    def _said(self, deadline: float, what: str, *, patient: bool = False) -> dict[str, Any]:
        """The next message. TimeoutError, if `patient`, when none comes in time."""
        try:
            said: dict[str, Any] = json.loads(self._line(deadline))
        except TimeoutError as error:
            if patient:
                raise
            raise _silent(what) from error
        except ValueError as error:
            raise HostError(_FOREIGN, _HINT) from error
        self._notice(said.get("event", ""), said.get("data", {}))
        return said

    def _notice(self, event: str, data: Mapping[str, Any]) -> None:
        match event:
            case "SHUTDOWN":
                self._why = str(data.get("reason", ""))
            case "STOP":
                self._stopped = True
            case "MIGRATION":
                self._migration = str(data.get("status", ""))

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._partial:
            if len(self._partial) > _LONGEST:
                raise ValueError("an endless line")
            self._socket.settimeout(_left(deadline))
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionError as error:
                raise self._gone() from error
            if not data:
                raise self._gone()
            self._partial += data
        line, self._partial = self._partial.split(b"\n", 1)
        return line

    def _gone(self) -> EndedError:
        why = self._why or self._how()
        return EndedError(f"QEMU ended{f' ({why})' if why else ''}", _HINT)


def _left(deadline: float) -> float:
    """Seconds until then. Raises TimeoutError if it is past."""
    if (left := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    return left


def _silent(what: str) -> HostError:
    return HostError(f"QEMU is silent: {what} was waited for", _HINT)


def _connected(path: Path, deadline: float, gone: Callable[[], bool]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    while True:
        try:
            connection.settimeout(_left(deadline))
            unix_sockets.connect(connection, path)
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            if gone():
                connection.close()
                raise EndedError("QEMU ended before its monitor answered", _HINT) from None
        except TimeoutError:
            connection.close()
            raise _silent(f"its socket {path}") from None
        except OSError as error:
            connection.close()
            raise HostError(f"cannot reach QEMU at {path}: {error.strerror or error}") from error
        else:
            return connection
        time.sleep(_AGAIN)
