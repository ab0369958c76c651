from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_evidence import HOSTILE

from behunt.report.clean import clean, clipped, ends, lines_of, one_line


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("naïve ⟂ 日本", "naïve ⟂ 日本"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred\x1b(B", "red"),
        ("\x1b]8;;http://192.0.2.1\x1b\\link\x1b]8;;\x07", "link"),
        ("\x1b]0;never ended\nnext", "\nnext"),
        ("lonely \x1b", "lonely ␛"),
        ("nul\0bell\a", "nul␀bell␇"),
        ("1%\r50%\r100%\r\ndone\r\n", "100%\ndone\n"),
        ("a\u202eb", "a[U+202E]b"),
        ("a\u200bb\ufeff", "a[U+200B]b[U+FEFF]"),
        ("a\u2028b", "a\nb"),
        ("a\xa0b", "a b"),
        ("\udcff\ufffe\x7f", "\ufffd" * 3),
    ],
)
def test_what_is_shown_of_a_hostile_text(raw: str, shown: str) -> None:
    assert clean(raw) == shown


@given(st.text())
def test_any_text_becomes_valid_xml_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    element = ET.Element("log")
    element.text = cleaned
    assert (ET.fromstring(ET.tostring(element)).text or "") == cleaned
    assert clean(cleaned) == cleaned
    cleaned.encode("utf-8")


def test_one_line_has_no_newline() -> None:
    assert one_line(" a\n\tb\u2028c ") == "a b c"


def test_lines_end_only_at_newlines() -> None:
    assert lines_of("a\x0bb\x0cc\x85d\n\ne\n") == ["a␋b␌c\ufffdd", "", "e"]
    assert lines_of("") == []


def test_a_clipped_line_says_how_much_is_missing() -> None:
    assert clipped("x" * 400) == "x" * 400
    assert clipped("x" * 1500) == "x" * 400 + " … 1,100 more characters"


def test_both_ends_are_kept_and_the_gap_is_told() -> None:
    lines = [f"line {n}" for n in range(1000)]
    kept = ends(lines, 100, len)
    assert kept.first[0] == "line 0"
    assert kept.last[-1] == "line 999"
    assert len(kept.first) + kept.left_out + len(kept.last) == 1000
    assert f"… {kept.left_out} lines left out …" in kept.text()


def test_all_is_kept_where_it_fits() -> None:
    assert ends(["a", "b"], 2, len).text() == "a\nb"


def test_a_budget_for_nothing_keeps_nothing() -> None:
    kept = ends(["a" * 50, "b" * 50], 10, len)
    assert (kept.first, kept.left_out, kept.last) == ((), 2, ())


def test_the_hostile_log_is_still_readable() -> None:
    shown = clean(HOSTILE)
    assert "red" in shown
    assert "progress 100%" in shown
    assert "\x1b" not in shown
