"""Calls that wait for ZFS, made at once: those that wait together share a transaction group."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Thread


def together(calls: Iterable[Callable[[], None]]) -> None:
    """Make all `calls`, each in a thread. Once all have ended, raises what one of them raised.

    The threads are daemons, unlike an executor's: behunt can end while a pool that has lost its
    disks holds them.
    """
    errors: list[BaseException] = []

    def made(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [Thread(target=made, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:  # Ctrl-C: who undoes what they did has to know all of it
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
