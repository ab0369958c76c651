"""Errors, sorted by who must act.

    BehuntError
      UsageError       you: the command line or a file you wrote
      CatalogueError   our data: a row of releases/*.toml, or of --catalogue
      HostError        the machine, a tool, the network
      InstallError     this release cannot be installed here
      ConsoleError     a machine's console did not say what was waited for

A failing test is never an exception: it is a Trial with an Outcome.
"""

from __future__ import annotations


class BehuntError(Exception):
    """Something that ends a command. `message` says what is wrong, `hint` what to do."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(BehuntError):
    exit_code = 2


class CatalogueError(BehuntError):
    pass


class HostError(BehuntError):
    pass


class InstallError(BehuntError):
    pass


class ConsoleError(BehuntError):
    pass
