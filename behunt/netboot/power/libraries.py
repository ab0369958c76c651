"""Libraries that are only there where somebody asked for them."""

from __future__ import annotations

import importlib
from types import ModuleType

from behunt.errors import HostError


def library(name: str) -> ModuleType:
    """Raises HostError if it cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        top = name.partition(".")[0]
        raise HostError(
            f"the library {top} is not there: {error}", "pip install 'behunt[netboot]'"
        ) from error
