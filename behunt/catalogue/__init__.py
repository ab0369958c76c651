"""Which releases there are, and how to choose among them: releases/*.toml, read and named."""

from behunt.catalogue.load import Catalogue, load, operating_systems
from behunt.catalogue.names import find, os_of
from behunt.catalogue.selection import Order, Selection, parse_days, select

__all__ = [
    "Catalogue",
    "Order",
    "Selection",
    "find",
    "load",
    "operating_systems",
    "os_of",
    "parse_days",
    "select",
]
