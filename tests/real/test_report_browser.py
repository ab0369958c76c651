"""The HTML report in a real browser: all of it is drawn, nothing overlaps or is cut off."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright
from report_evidence import (
    debian_evidence,
    freebsd,
    freebsd_evidence,
    hostile_evidence,
    hunt,
)

from behunt.model import Outcome
from behunt.report.data import Evidence
from behunt.report.page import html

pytestmark = pytest.mark.real

HEIGHT = 900
OFFLINE = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
# Rounding of layout to whole pixels.
SLACK = 1


def undated_evidence() -> Evidence:
    """A user's own catalogue: no dates, long versions, every release tested."""
    releases = tuple(
        replace(
            r, os="demo", version=f"build-{r.version}-nightly-of-a-long-named-branch", date=None
        )
        for r in freebsd(30)
    )
    outcomes = [(n, Outcome.PASSED if n < 11 else Outcome.FAILED) for n in range(30)]
    found = hunt(releases, *outcomes, first_bad=11)
    return replace(debian_evidence(), hunt=found, logs={}, builds={})


EVIDENCE = {
    "debian": debian_evidence(),
    "22 releases": freebsd_evidence(22),
    "100 releases": freebsd_evidence(100),
    "no dates": undated_evidence(),
    "hostile": hostile_evidence(),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "Debian's chromium is not installed: make setup"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=list(OFFLINE))
        yield found
        found.close()


@pytest.fixture(scope="module", params=EVIDENCE)
def evidence(request: pytest.FixtureRequest) -> Evidence:
    return EVIDENCE[request.param]


@pytest.fixture(scope="module")
def report(evidence: Evidence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html(evidence), encoding="utf-8")
    return path


class Watched:
    """A page, and everything in it that should not happen."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.route("**/*", self._only_the_file)

    def _only_the_file(self, route: Route) -> None:
        if route.request.url.startswith("file:") and route.request.is_navigation_request():
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()

    def boxes(self, selector: str) -> list[dict[str, Any]]:
        """Page coordinates, in pixels, and text of what is visible."""
        found: list[dict[str, Any]] = self.page.evaluate(
            """selector => [...document.querySelectorAll(selector)].filter(e => e.checkVisibility())
            .map(e => [e, e.getBoundingClientRect()])
            .map(([e, r]) => ({x: r.x, y: r.y + scrollY, width: r.width, height: r.height,
                              text: e.textContent.trim().slice(0, 60)}))""",
            selector,
        )
        return found


@pytest.fixture(scope="module", params=[1280, 768, 390])
def width(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture(scope="module", params=[True, False], ids=["js", "no js"])
def watched(
    browser: Browser, report: Path, width: int, request: pytest.FixtureRequest
) -> Iterator[Watched]:
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT}, java_script_enabled=request.param
    )
    seen = Watched(context.new_page())
    seen.page.goto(report.as_uri())
    yield seen
    context.close()


def overlapping(boxes: list[dict[str, Any]]) -> list[tuple[str, str]]:
    def apart(a: dict[str, Any], b: dict[str, Any], start: str, size: str) -> bool:
        return a[start] + a[size] <= b[start] + SLACK or b[start] + b[size] <= a[start] + SLACK

    return [
        (a["text"], b["text"])
        for a, b in combinations(boxes, 2)
        if not (apart(a, b, "x", "width") or apart(a, b, "y", "height"))
    ]


def test_the_drawing_is_there(watched: Watched, evidence: Evidence, width: int) -> None:
    found = evidence.hunt
    marks = watched.boxes("#timeline .mark")
    tested = {answered.trial.release for answered in found.answers}
    assert len(marks) == len(found.answers) + len(found.releases) - len(tested)
    assert all(mark["width"] >= 0 and mark["height"] >= 6 for mark in marks)
    assert all(m["x"] >= 0 and m["x"] + m["width"] <= width for m in marks)
    tracks = watched.boxes("#timeline li .track")
    assert all(track["width"] > 0.4 * width for track in tracks)
    for mark in marks:
        middle = mark["y"] + mark["height"] / 2
        assert any(t["y"] <= middle <= t["y"] + t["height"] for t in tracks)


def test_lifetimes_are_drawn_inside(watched: Watched, evidence: Evidence, width: int) -> None:
    dated = [r for r in evidence.hunt.releases if r.date or r.moving]
    bars = watched.boxes("#timeline ol .life, #timeline ol .fading, #timeline ol line.arrow")
    assert len(bars) == len(dated)
    assert all(bar["x"] >= 0 and bar["x"] + bar["width"] <= width for bar in bars)


@pytest.mark.parametrize(
    "labels",
    [
        "#timeline .label, #timeline .state",
        "#timeline .axis text",
        "#timeline .legend li",
        ".trials td",
        ".facts > div, .pair > .side",
        "h1, h2, .quote p, .quote button, .grounds li, .masthead span",
        ".command > *",
        ".log .line > span:not(.void)",
    ],
)
def test_no_labels_overlap(watched: Watched, labels: str) -> None:
    boxes = [box for box in watched.boxes(labels) if box["width"] and box["height"]]
    assert overlapping(boxes[:400]) == []


def test_nothing_is_cut_off(watched: Watched, width: int) -> None:
    page = watched.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = page.evaluate(
        """() => [...document.querySelectorAll('main *:not(svg, svg *)')]
        .filter(e => e.checkVisibility() && !e.hasAttribute('data-scrolls')
                     && getComputedStyle(e).display !== 'inline'
                     && e.scrollWidth > e.clientWidth + 1)
        .map(e => `${e.tagName}.${e.className}: ${e.textContent.trim().slice(0, 60)}`)"""
    )
    assert cut == []
    texts = watched.boxes("main h1, main p, main li, main td, main pre, main code, main text")
    assert all(text["x"] >= 0 and text["x"] + text["width"] <= width + SLACK for text in texts)


def test_the_page_is_quiet_and_asks_for_nothing(watched: Watched) -> None:
    watched.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert watched.complaints == []
    assert watched.requests == []


def test_the_essential_is_visible_at_once(watched: Watched, evidence: Evidence) -> None:
    visible = watched.page.inner_text("main")
    assert "crypt.sh last passes on" in visible or "where between them it changed" in visible
    assert visible.count("\n") > len(evidence.hunt.answers)
    for _, command in evidence.reproduce:
        assert command.split(maxsplit=1)[0] in visible


def pixels(browser: Browser, report: Path, scheme: Any) -> tuple[str, str]:
    """Colours of the page and of its text."""
    page = browser.new_page(color_scheme=scheme)
    page.goto(report.as_uri())
    found = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    page.close()
    return found[0], found[1]


def test_dark_is_dark_and_light_is_light(browser: Browser, report: Path) -> None:
    light, dark = (pixels(browser, report, scheme) for scheme in ("light", "dark"))

    def brightness(colour: str) -> int:
        return sum(map(int, colour.removeprefix("rgb(").rstrip(")").split(",")))

    assert brightness(light[0]) > 700
    assert brightness(light[1]) < 150
    assert brightness(dark[0]) < 100
    assert brightness(dark[1]) > 600


@pytest.fixture
def debian(browser: Browser, tmp_path: Path) -> Iterator[Watched]:
    path = tmp_path / "report.html"
    path.write_text(html(debian_evidence()), encoding="utf-8")
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    seen = Watched(context.new_page())
    seen.page.goto(path.as_uri())
    yield seen
    context.close()


def test_a_command_can_be_copied(debian: Watched) -> None:
    debian.page.click("[data-copy=command-1]")
    debian.page.get_by_role("button", name="Copied").wait_for()
    copied = debian.page.evaluate("navigator.clipboard.readText()")
    assert copied == debian_evidence().reproduce[0][1]


def test_packages_can_be_filtered(debian: Watched) -> None:
    debian.page.fill("#package-filter", "PYTHON3.1")
    shown = debian.page.locator("#package-rows tr:visible td:first-child").all_inner_texts()
    assert shown == ["python3.11", "python3.13"]


def test_a_fold_opens(debian: Watched) -> None:
    debian.page.locator("#logs .other summary").first.click()
    assert debian.page.locator("#logs .other pre").first.is_visible()


def test_it_prints(debian: Watched) -> None:
    debian.page.emulate_media(media="print", color_scheme="dark")
    background = debian.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(255, 255, 255)"
    assert not debian.page.locator("button").first.is_visible()
    assert debian.page.pdf().startswith(b"%PDF")
