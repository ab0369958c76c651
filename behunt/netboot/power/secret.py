"""Where a password is. It is read when it is used, and held by nothing that is shown or kept."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from behunt.errors import HostError


@dataclass(frozen=True, slots=True)
class Secret:
    """The first line of `file`, or what the environment has in `variable`, or nothing."""

    file: Path | None = None
    variable: str = ""

    def read(self) -> str:
        """Raises HostError: nothing there, or others than its owner may read it."""
        if self.file is not None:
            return _first_line(self.file)
        if self.variable:
            return _in_environment(self.variable)
        return ""

    def __str__(self) -> str:
        """Where a person looks for it."""
        return str(self.file or self.variable or "no password at all")


def _first_line(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as content:
            if stat.S_IMODE(os.fstat(content.fileno()).st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
                raise HostError(
                    f"{file} holds a password and is open to others than its owner",
                    f"chmod 600 {file}",
                )
            line = content.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise HostError(
            f"cannot read the password in {file}: {why}",
            "write the password into it, in one line, and chmod 600 it",
        ) from None
    if not line:
        raise HostError(f"there is no password in the first line of {file}", "write it there")
    return line


def _in_environment(variable: str) -> str:
    if value := os.environ.get(variable):
        return value
    raise HostError(
        f"the environment has no {variable}, which is to hold a password",
        f"export {variable}, or use password_file (sudo drops most of the environment)",
    )
