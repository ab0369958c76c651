"""Jinja2 as the reports use it: nothing reaches a page uncleaned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from behunt.datafiles import data_dir
from behunt.report import wording
from behunt.report.clean import clean

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(*, autoescape: bool) -> Environment:
    """For the templates of `reports/`; a name that is not there is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  slow

    made = Environment(
        autoescape=autoescape,  # noqa: S701  off for Markdown, which escapes in its own way
        finalize=_cleaned,
        loader=FileSystemLoader(data_dir("reports")),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    made.filters |= {"span": wording.span, "counted": wording.count, "stop": wording.stop}
    return made


def _cleaned(value: object) -> object:
    """What every expression of a template goes through before it is escaped."""
    return clean(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
