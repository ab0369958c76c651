"""The HTML report: one file that needs nothing else, neither the network nor JavaScript."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from behunt.datafiles import data_dir
from behunt.report.compare import Cut, Fold
from behunt.report.data import Evidence
from behunt.report.templates import environment
from behunt.report.view import comparison, view

_LOG = 36_000  # bytes that each of the two compared logs may take


def html(evidence: Evidence) -> str:
    """The page. All that comes from outside is cleaned, escaped and, where long, visibly cut."""
    style, script = _asset("report.css"), _asset("report.js")
    return (
        environment(autoescape=True)
        .get_template("report.html.j2")
        .render(
            view(evidence),
            comparison=[(_kind(part), part) for part in comparison(evidence, _LOG)],
            style=_markup(style),
            script_text=_markup(script),
            style_hash=_source_hash(style),
            script_hash=_source_hash(script),
        )
    )


def _kind(part: object) -> str:
    return {Fold: "fold", Cut: "cut"}.get(type(part), "row")


def _asset(name: str) -> str:
    return (data_dir("reports") / name).read_text(encoding="utf-8")


def _markup(text: str) -> Any:
    from markupsafe import Markup  # noqa: PLC0415  comes with jinja2

    return Markup(text)  # noqa: S704  our own files


def _source_hash(text: str) -> str:
    """For the Content-Security-Policy: only this very text may act in the page."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
