"""Names of boot environments, and the components of datasets that stand for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt.errors import UsageError
from behunt.storage.zfs.names import (
    Passing,
    Suffix,
    check_length,
    check_root,
    check_tag,
    decoded,
    encoded,
    parted,
    suffix_in,
)

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+~@-]{0,40}", fullmatch=True)
SUFFIXES = st.builds(
    Suffix,
    st.sampled_from(Passing),
    st.from_regex(r"[0-9a-f]{6}", fullmatch=True),
    st.from_regex(r"[0-9]{1,7}x[0-9a-f]{6}", fullmatch=True),
    st.integers(0, 9999),
)


@given(NAMES)
def test_a_name_comes_back_from_its_component(name: str) -> None:
    assert decoded(encoded(name)) == name
    assert parted(encoded(name)) == (name, None)


@given(NAMES, NAMES)
def test_two_names_have_two_components(one: str, other: str) -> None:
    assert (encoded(one) == encoded(other)) == (one == other)


@given(NAMES, SUFFIXES)
def test_what_is_in_passing_tells_whose_it_is_and_is_no_name(name: str, suffix: Suffix) -> None:
    component = f"{encoded(name)}:{suffix}"
    assert suffix_in(str(suffix)) == suffix
    assert parted(component) == (name, suffix)
    assert decoded(component) == ""


def test_plain_names_stay_as_they_are() -> None:
    assert encoded("freebsd-11.1-amd64_x") == "freebsd-11.1-amd64_x"
    assert encoded("debian-12+g++@1~x") == "debian-12:2bg:2b:2b:401:7ex"


@pytest.mark.parametrize(
    "component", ["", ":41", "a:2B", "a:zz", "a:2", "a:0a", "a:80", "a:41", "-a", "%recv", "a b"]
)
def test_what_we_would_not_write_stands_for_nothing(component: str) -> None:
    assert decoded(component) == ""


@pytest.mark.parametrize(
    "text",
    [
        "run.c0ffee.1x000000",
        "run.c0ffee.1x000000.",
        "run.C0FFEE.1x000000.1",
        "ran.c0ffee.1x000000.1",
        "run.c0ffee.1x000000.1.1",
        "run.c0ffee.1x000000.1\n",
    ],
)
def test_a_suffix_is_one_to_the_letter(text: str) -> None:
    assert suffix_in(text) is None


@pytest.mark.parametrize("root", ["zroot", "zroot/behunt", "tank/a_b/c:d/e.f-g"])
def test_a_dataset_can_be_the_root(root: str) -> None:
    assert check_root(root) == root


@pytest.mark.parametrize(
    "root",
    ["", "/", "zroot/", "/zroot", "a//b", "a@b", "a#b", "-a", "a/-b", "a/..", "1a", "a b", "a\n"],
)
def test_what_zfs_would_not_take_is_no_root(root: str) -> None:
    with pytest.raises(UsageError, match="cannot be the dataset of a store"):
        check_root(root)


def test_a_tag_is_the_user_s_own() -> None:
    assert check_tag("2026-11-21-12:00:00") == "2026-11-21-12:00:00"
    for tag in ("installed", "empty"):
        with pytest.raises(UsageError, match="behunt's own"):
            check_tag(tag)


def test_the_longest_name_fits_below_the_usual_root() -> None:
    check_length("zroot/behunt", "x" * 200, 0)
    with pytest.raises(UsageError, match="1 characters too long"):
        check_length("zroot/behunts", "x" * 200, 0)
    with pytest.raises(UsageError, match="10 characters too long"):
        check_length("zroot/behunt", "x" * 200, len("/var/audit"))
