from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import ClassVar

import pytest
from report_evidence import (
    HOSTILE,
    debian_evidence,
    freebsd,
    freebsd_evidence,
    hostile_evidence,
    hunt,
    panicked,
)

from behunt.model import Find, HuntOutcome, Outcome
from behunt.report.data import Evidence
from behunt.report.page import html


class Page(HTMLParser):
    """Text, attributes and nesting of a page."""

    VOID: ClassVar = {"meta", "input", "link", "br", "img", "hr"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.badly_closed: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.badly_closed.append(tag)

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"script", "style"}:
            self.text += data


def shown(evidence: Evidence) -> str:
    return " ".join(Page(html(evidence)).text.split())


def test_the_verdict_comes_first_and_can_be_pasted() -> None:
    text = shown(debian_evidence())
    sentence = (
        "crypt.sh last passes on Debian 12 (bookworm), released 2023-06-10, "
        "and first fails on Debian 13 (trixie), released 2025-08-09."
    )
    assert "Broke in Debian 13 (trixie)" in text
    assert text.index(sentence) < text.index("Releases in time") < text.index("Logs")


def test_everything_a_reader_needs_is_there() -> None:
    text = shown(debian_evidence())
    for needed in (
        "about the releases' userland; the kernel was the host's (Linux 6.12.38)",
        "unsupported since 2026-07-11",
        "answered 404 to dists/forky/InRelease",
        "ModuleNotFoundError: No module named 'crypt'",
        "python3.11",
        "122 changed",
        "behunt run debian-13-amd64 crypt.sh --package python3-minimal",
        "The Release file expired on 2026-07-01 and was accepted.",
        "set -ex",
        "import 12.5 ms",
        "cached",
    ):
        assert needed in text


@pytest.mark.parametrize(
    ("runner", "about"),
    [
        ("uml", "each release ran its own kernel."),
        ("qemu", "each release ran its own kernel."),
        ("jail", "about the releases' userland; the kernel was the host's"),
    ],
)
def test_what_the_verdicts_of_a_runner_are_about(runner: str, about: str) -> None:
    evidence = debian_evidence()
    given = (replace(a, trial=replace(a.trial, runner=runner)) for a in evidence.hunt.answers)
    text = shown(replace(evidence, hunt=replace(evidence.hunt, answers=tuple(given))))
    assert f"5 verdicts given by runner {runner}: {about}" in text


def test_a_doubt_about_verdicts_is_told() -> None:
    evidence = debian_evidence()
    doubted = (replace(a, trial=replace(a.trial, note="it is old")) for a in evidence.hunt.answers)
    text = shown(replace(evidence, hunt=replace(evidence.hunt, answers=tuple(doubted))))
    assert "5 verdicts with a doubt: it is old." in text
    assert "with a doubt" not in shown(evidence)


def test_an_interval_is_never_told_as_one_release() -> None:
    text = shown(freebsd_evidence(22))
    assert "Broke after FreeBSD" in text
    assert "Broke in" not in text
    assert "Still open" in text
    assert "skipped: no compiler" in text


@pytest.mark.parametrize("outcome", list(HuntOutcome))
@pytest.mark.parametrize("find", list(Find))
def test_every_outcome_has_its_page_with_and_without_evidence(
    outcome: HuntOutcome, find: Find
) -> None:
    evidence = debian_evidence()
    whole = replace(evidence.hunt, outcome=outcome, find=find, reason="the reason stands here")
    bare = replace(whole, before=None, after=None, suspects=(), answers=(), installs=0)
    assert "The reason stands here." in shown(replace(evidence, hunt=whole))
    assert "The reason stands here." in shown(Evidence(hunt=bare))


def test_the_page_is_well_formed_and_asks_the_network_for_nothing() -> None:
    for evidence in (debian_evidence(), hostile_evidence(), freebsd_evidence(100)):
        page = Page(html(evidence))
        assert not page.open
        assert not page.badly_closed
        assert not {"img", "link", "iframe", "object", "base"} & set(page.tags)
        addresses = [v for name, v in page.attributes if name in {"src", "href", "action", "data"}]
        assert all(address.startswith("#") for address in addresses)
        assert "url(http" not in html(evidence)


def test_what_a_panicked_machine_showed_last_is_told_outside_the_tables() -> None:
    page = html(panicked(debian_evidence()))
    assert page.count("panic: page fault") > 1
    assert '<td class="wide">panic: page fault</td>' in page
    (screens,) = re.findall(r'<section id="screens">(.*?)</section>', page, re.DOTALL)
    assert "<summary>Debian 13 (trixie)</summary><pre>cpuid = 0\nKDB: enter: panic</pre>" in screens
    assert page.count("KDB: enter: panic") == screens.count("KDB: enter: panic")
    assert "screens" not in html(debian_evidence())


def test_hostile_texts_stay_texts() -> None:
    evidence = panicked(hostile_evidence(), f"no\n{HOSTILE}")
    page = Page(html(evidence))
    assert page.tags.count("script") == 1
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "<script>alert('log')</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert not set(html(evidence)) & set("\0\x1b\x07\x7f\x9b\u202e\u200b\u2066\ufffe")
    html(evidence).encode()


def test_only_the_pages_own_script_and_style_may_act() -> None:
    page = html(hostile_evidence())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def full_size() -> Evidence:
    """Twenty releases, all tested, with the hostile logs and full package lists."""
    hostile = hostile_evidence()
    releases = freebsd(20)
    outcomes = [(n, Outcome.PASSED if n < 10 else Outcome.FAILED) for n in range(20)]
    found = hunt(releases, *outcomes, first_bad=10)
    noise = next(iter(hostile.logs.values()))
    builds = list(hostile.builds.values())
    whole = replace(
        hostile,
        hunt=found,
        logs={r.id: noise.replace("<&", f"{r.id} <&") for r in releases},
        builds={r.id: builds[n >= 10] for n, r in enumerate(releases)},
    )
    return panicked(whole, "panic\n" + "\n".join(["<&" * 500] * 25))


def test_twenty_releases_with_huge_logs_stay_below_300_kb() -> None:
    page = html(full_size())
    assert 100_000 < len(page.encode()) < 300_000
    assert "lines left out …" in page
    assert "Left out here" in page
