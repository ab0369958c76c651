"""Rows of a dialogue, and which of them a text completes first."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt.hosts.console_text import Cleaner
from behunt.hosts.dialogue import SPAN, Row, Watched, Window, fault
from behunt.runners.vm.consoles import deaths, dialogue

LOGIN = Row(text="login: ", not_after="Last ", answer="user")
ROWS = (*deaths("freebsd"), *dialogue("freebsd", "login"))

SHOWN = st.sampled_from(
    [
        *("login: ", "log", "in: ", "Last ", "Password:", "assword:", "# ", "root@a:~ ", "\n"),
        *("panic: no reason\n", "cpuid = 0\n", "KDB: enter: panic\n", "db> ", "Uptime: 1s\n"),
        *("Nov 21 01:01:28 host mountd[925]: bad exports list\n", "behunt ready", "\r", "\b"),
        *("FreeBSD/amd64 EFI loader, Revision 1.1\n", "mountroot> ", "\x1b[0m", "Login incorrect"),
    ]
)

Found = list[tuple[str, int, str, int]]


def found(pieces: list[bytes], rows: tuple[Row, ...] = ROWS) -> Found:
    """Which rows were seen: name, how often, the line, and the position of its last character."""
    cleaner, window = Cleaner(), Window()
    watched = [Watched(row, 0) for row in rows]
    seen: Found = []
    for piece in pieces:
        window.add(cleaner.feed(piece))
        while (hit := window.first(watched)) is not None:
            seen.append((hit[0].row.name, hit[0].seen, hit[1], window.position))
    return seen


def lines_of(text: str, *rows: Row) -> list[str]:
    return [line for _, _, line, _ in found([text.encode()], rows)]


@given(st.lists(SHOWN, max_size=25), st.lists(st.integers(0, 800), max_size=10))
def test_the_same_rows_however_the_text_is_cut(shown: list[str], cuts: list[int]) -> None:
    data = "".join(shown).encode()
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    whole = found([data])
    assert found([data[a:b] for a, b in pairwise(ends)]) == whole
    assert found([bytes([byte]) for byte in data]) == whole


def test_a_prompt_is_seen_as_soon_as_it_is_complete() -> None:
    assert found([b"fbsd login:"], (LOGIN,)) == []
    assert found([b"fbsd login:", b" "], (LOGIN,)) == [("login: ", 1, "fbsd login:", 12)]


def test_the_last_login_is_no_prompt() -> None:
    assert lines_of("Last login: Sat Nov 21 on ttyu0\n", LOGIN) == []


@pytest.mark.parametrize("at", range(3, 5))
def test_a_prompt_in_two_parts_around_kernel_messages(at: int) -> None:
    prompt = "login: "
    cut = f"{prompt[:at]}ugen0.1: <Intel> at usbus0\nlo0: link state changed\n{prompt[at:]}"
    assert len(lines_of(f"\n{cut}", LOGIN)) == 1


def test_a_message_after_the_prompt_does_not_hide_it() -> None:
    assert lines_of("login: Nov 21 01:01:28 host mountd[925]: bad\n", LOGIN) == ["login:"]


def test_short_texts_are_not_looked_for_in_parts() -> None:
    assert lines_of("d\nb> ", Row(text="db> ", reached="x")) == []


def test_rows_that_are_complete_together_come_in_their_order() -> None:
    rows = (Row(text="b", reached="1"), Row(text="ab", reached="2"))
    assert [name for name, *_ in found([b"ab"], rows)] == ["b", "ab"]


def test_every_occurrence_counts_once() -> None:
    assert [seen for _, seen, _, _ in found([b"aaaa"], (Row(text="aa", reached="x"),))] == [1, 2]


def test_little_is_kept_of_a_long_text() -> None:
    window = Window()
    row = Watched(Row(regex=r"^first\n(?:[^\n]*\n)*?last", reached="x"), 0)
    window.add("first\n")
    for _ in range(10_000):
        window.add("a line of the console that says nothing at all\n")
        assert window.first([row]) is None
    window.add("last\n")
    assert window.first([row]) is None
    assert len(window._text) < 4096


def test_what_lies_a_few_lines_back_is_still_found() -> None:
    window, row = Window(), Watched(Row(regex=r"^first\n(?:[^\n]*\n)*?last", reached="x"), 0)
    window.add("x" * 4000 + "\nfirst\n")
    for _ in range(SPAN - 2):
        window.add("y" * 500 + "\n")
        assert window.first([row]) is None
    window.add("last")
    assert window.first([row]) is not None


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (Row(), "either text or regex"),
        (Row(text="a", regex="a", send="b"), "either text or regex"),
        (Row(text="a"), "needs one of send and answer"),
        (Row(text="a", send="b", answer="c"), "needs one of send and answer"),
        (Row(text="a", send="b", times=0), "at least once"),
        (Row(regex="[", send="b"), "no regular expression"),
        (Row(regex="a*", send="b"), "found in nothing"),
        (Row(regex="login: $", send="b"), "depends on what follows"),
        (Row(regex=r"panic\b", send="b"), "depends on what follows"),
        (Row(regex="a(?!b)", send="b"), "depends on what follows"),
        (Row(regex=r"\$ ", send="b"), ""),
        (Row(regex=r"^[#$] |\[0\]> ", send="b"), ""),
    ],
)
def test_faults(row: Row, why: str) -> None:
    assert why in fault(row)
    assert bool(fault(row)) == bool(why)
