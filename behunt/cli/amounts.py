"""Amounts as people write them on a command line."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import click


class Size(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """Bytes: 512M, 2G, 1048576. A number of less than a megabyte lacks its unit."""

    name = "size"
    _LEAST = 1 << 20
    _UNITS: ClassVar = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d+)([KMGT]?)i?B?", str(value).strip(), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a size; write 512M or 2G", param, ctx)
        size = int(match[1]) * self._UNITS[match[2].upper()]
        if size < self._LEAST:
            self.fail(f"{value} is less than a megabyte; write 512M or 2G", param, ctx)
        return size


class Duration(click.ParamType):  # type: ignore[type-arg]
    """Seconds: 90, 90s, 15m, 2h."""

    name = "time"
    _UNITS: ClassVar = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value).strip())
        if match is None or float(match[1]) == 0:
            self.fail(f"{value!r} is not a time; write 90, 15m or 2h", param, ctx)
        return float(match[1]) * self._UNITS[match[2]]
