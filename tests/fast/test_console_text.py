"""Text out of what consoles send: the real ones, and worse."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt.hosts.console_text import WIDEST, Cleaner, struck

SAID = Path(__file__).parents[1] / "transcripts"
BOOT = (SAID / "console-boot-13.2.log").read_bytes()

# What begins, ends and breaks control sequences, characters and lines.
NASTY = st.sampled_from(
    [
        *(bytes([byte]) for byte in b"\x00\x07\x08\t\n\r\x1b [];?0mMHK\\P_(B6n\x7f"),
        *(b"login: ", b"x" * (WIDEST - 1), b"\x1b[", b"\x1b]", b"\x1b[6n", b"\x1b[24;80H"),
        *(b"\xe2", b"\x82", b"\xac", b"\xf0\x9f", b"\x9b", b"\xff", "é\x9bß€".encode()),
    ]
)


def shown(*pieces: bytes) -> str:
    cleaner = Cleaner()
    return "".join(cleaner.feed(piece) for piece in pieces)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\r\nb\r\r\nc\nd", "a\nb\nc\nd"),
        (b"a\r\n\r\nb", "a\n\nb"),
        (b"a\n\rb", "a\nb"),  # FreeBSD's loader
        (b"10%\r20%\r\nnext", "10%\n20%\nnext"),
        (b"\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: \x1b[1mloading\x1b[0m", "BdsDxe: loading"),
        (b"one\x1b[5;10Htwo", "one\ntwo"),
        (b"\x1b7\x1b[r\x1b[999;999H\x1b[6n\x1b8\x00resizewin: ", "resizewin: "),
        (b"\x1b]0;title\x07# \x1b]0;title\x1b\\# \x1bP1$r\x1b\\# ", "# # # "),
        (b"\x1b]no end\r\npanic: x", "no end\npanic: x"),
        (b"\x1b]" + b"a" * 300, "a" * 300),
        (b"\x1b[12\x1b[1mred", "12red"),
        (b"\x1b\x1b\x1bc\x1b(Bok", "ok"),
        (b"NUL\x00 BEL\x07 DEL\x7f", "NUL BEL DEL"),
        (b"caf\xc3\xa9 \xff\xe2\x82x", "café \ufffd\ufffdx"),
        (b"\xc2\x9b31mC1", "31mC1"),
    ],
)
def test_what_is_shown(data: bytes, text: str) -> None:
    assert shown(data) == text
    assert shown(*(bytes([byte]) for byte in data)) == text


@given(st.lists(NASTY, max_size=30), st.lists(st.integers(0, 5000), max_size=12))
def test_the_same_however_it_is_cut(tokens: list[bytes], cuts: list[int]) -> None:
    data = b"".join(tokens)
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    whole, pieces, bytewise = Cleaner(), Cleaner(), Cleaner()
    text = whole.feed(data)
    assert "".join(pieces.feed(data[a:b]) for a, b in pairwise(ends)) == text
    assert "".join(bytewise.feed(bytes([byte])) for byte in data) == text
    assert whole.questions == pieces.questions == bytewise.questions


@given(st.lists(st.one_of(NASTY, st.binary(max_size=20)), max_size=40))
def test_whatever_comes_is_safe_to_show(tokens: list[bytes]) -> None:
    text = shown(*tokens)
    assert not re.search(r"[\x00-\x07\x0b-\x1f\x7f-\x9f]", text)
    assert all(len(line) <= WIDEST for line in text.split("\n"))


def test_a_line_that_never_ends_is_folded() -> None:
    lines = shown(b"x" * WIDEST, b"y" * (2 * WIDEST + 1)).split("\n")
    assert lines == ["x" * WIDEST, "y" * WIDEST, "y" * WIDEST, "y"]


def test_the_boot_of_a_real_machine_has_no_trace_of_its_spinner() -> None:
    lines = [struck(line).rstrip() for line in shown(BOOT).split("\n")]
    assert "FreeBSD/amd64 EFI loader, Revision 1.1" in lines
    assert "Hit [Enter] to boot immediately, or any other key for command prompt." in lines
    assert "/boot/kernel/zfs.ko size 0x58f5b0 at 0x22ec000" in lines
    assert lines[-1] == "login:"
    assert not any("\\|" in line or "|/" in line for line in lines)


def test_backspaces_take_back() -> None:
    assert struck("|\b/\b-\b\\\b|\bLoading") == "Loading"
    assert struck("\b\brot\b\boot") == "root"
    assert struck("N\bNA\bAM\bME\bE") == "NAME"
