"""Names, ranges, globs, dates, orders and architectures."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt.catalogue import Catalogue, Selection, find, load, os_of, parse_days, select
from behunt.catalogue.expand import host_arch
from behunt.catalogue.versions import version_key
from behunt.errors import UsageError

FREEBSD = load("freebsd")
DEBIAN = load("debian")
EVERYTHING = load()
HOST = host_arch()


def versions(catalogue: Catalogue, *names: str, **rest: object) -> list[str]:
    selection = Selection(names=names, **rest)  # type: ignore[arg-type]
    return [release.version for release in select(catalogue, selection)]


@pytest.mark.parametrize(
    ("catalogue", "name", "version"),
    [
        (DEBIAN, "11", "11"),
        (DEBIAN, "bullseye", "11"),
        (DEBIAN, "Bullseye", "11"),
        (DEBIAN, "debian-11", "11"),
        (DEBIAN, "debian-11-amd64", "11"),
        (DEBIAN, "debian-bullseye", "11"),
        (DEBIAN, "debian-bullseye-i386", "11"),
        (DEBIAN, "6", "6.0"),
        (DEBIAN, "sid", "sid"),
        (DEBIAN, "unstable", "sid"),
        (DEBIAN, "testing", "14"),
        (DEBIAN, "latest", "13"),
        (DEBIAN, "oldest", "1.1"),
        (FREEBSD, "11.1", "11.1"),
        (FREEBSD, " 11.1 ", "11.1"),
        (FREEBSD, "11.1-RELEASE", "11.1"),
        (FREEBSD, "freebsd-11.1", "11.1"),
        (FREEBSD, "FreeBSD-11.1-amd64", "11.1"),
        (FREEBSD, "freebsd-11.1-RELEASE-i386", "11.1"),
        (FREEBSD, "2.1", "2.1.0"),
        (FREEBSD, "1.1.5.1", "1.1.5.1"),
        (FREEBSD, "latest", "15.1"),
        (FREEBSD, "oldest", "1.0"),
        (load("dragonfly"), "5.6", "5.6.0"),
        (EVERYTHING, "11.1", "11.1"),
        (EVERYTHING, "openbsd-latest", "7.9"),
    ],
)
def test_find_knows_every_form_of_a_name(catalogue: Catalogue, name: str, version: str) -> None:
    assert find(catalogue, name).version == version


def test_find_takes_the_system_from_the_prefix_or_the_argument() -> None:
    assert find(EVERYTHING, "debian-12").id.startswith("debian-12-")
    assert find(EVERYTHING, "12", os="debian").id.startswith("debian-12-")
    assert find(EVERYTHING, "debian-12", os="freebsd").os == "debian"


def test_find_picks_the_architecture() -> None:
    assert find(FREEBSD, "11.1-i386").id == "freebsd-11.1-i386"
    assert find(FREEBSD, "11.1", arch="i386").id == "freebsd-11.1-i386"
    assert find(FREEBSD, "4.11").id == "freebsd-4.11-i386"
    expected = HOST if HOST in {"amd64", "i386", "arm64"} else "amd64"
    assert find(FREEBSD, "11.1").arch == expected


@pytest.mark.parametrize(
    ("catalogue", "name", "message", "hint"),
    [
        (FREEBSD, "11", "no release of freebsd is called '11'", "Near it: 11.0, 11.1, 11.2"),
        (FREEBSD, "11.1-RELAESE", "called '11.1-RELAESE'", "behunt releases --os freebsd"),
        (FREEBSD, "10.11", "called '10.11'", "10.1"),
        (FREEBSD, "bullseye", "called 'bullseye'", "It is one of debian: use --os debian"),
        (DEBIAN, "bulseye", "no release of debian is called 'bulseye'", "Near it: bullseye"),
        (DEBIAN, "debian-99", "called 'debian-99'", "lists all"),
        (DEBIAN, "11-sparc64", "called '11-sparc64'", "lists all"),
        (FREEBSD, "4.11-amd64", "freebsd 4.11 was not built for amd64", "i386"),
        (FREEBSD, "", "called ''", "lists all"),
    ],
)
def test_unknown_release(catalogue: Catalogue, name: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(catalogue, name)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        find(DEBIAN, "11", arch="sparc64")
    assert caught.value.message == "debian 11 was not built for sparc64"
    assert "amd64, i386, arm64" in caught.value.hint


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("9.3..11.1",), "9.3 10.0 10.1 10.2 10.3 10.4 11.0 11.1"),
        (("11.1..9.3",), "9.3 10.0 10.1 10.2 10.3 10.4 11.0 11.1"),
        (("9.3 .. 10.0",), "9.3 10.0"),
        (("15.0..",), "15.0 15.1"),
        (("..1.1",), "1.0 1.0.2 1.1"),
        (("11.*",), "11.0 11.1 11.2 11.3 11.4"),
        (("freebsd-11.[01]",), "11.0 11.1"),
        (("9.3,10.1", "latest"), "9.3 10.1 15.1"),
        (("oldest..1.1,9.?",), "1.0 1.0.2 1.1 9.0 9.1 9.2 9.3"),
        (("11.1", "11.1-RELEASE"), "11.1"),
        (("9.3..9.3",), "9.3"),
        (("freebsd-15.0..freebsd-15.1",), "15.0 15.1"),
    ],
)
def test_selectors(names: tuple[str, ...], expected: str) -> None:
    assert versions(FREEBSD, *names) == expected.split()


def test_order_decides_what_lies_between() -> None:
    by_version = versions(FREEBSD, "9.3..11.1")
    by_date = versions(FREEBSD, "9.3..11.1", order="date")
    assert by_version == ["9.3", "10.0", "10.1", "10.2", "10.3", "10.4", "11.0", "11.1"]
    assert by_date == ["9.3", "10.1", "10.2", "10.3", "11.0", "11.1"]


def test_branch_order_keeps_a_branch_together() -> None:
    selection = Selection(order="branch")
    branches = [release.branch for release in select(load("omnios"), selection)]
    assert branches == sorted(branches, key=branches.index)
    assert set(branches) == {"stable", "lts"}
    old = versions(FREEBSD, "2.2.7..3.1", order="branch")
    assert old == ["2.2.7", "2.2.8", "2.2.9", "3.0", "3.1"]


def test_exclude_takes_every_form() -> None:
    left = versions(FREEBSD, "9.3..11.1", exclude=("10.*", "11.0"))
    assert left == ["9.3", "11.1"]
    assert versions(DEBIAN, "11..", exclude=("sid,testing",)) == ["11", "12", "13"]


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("2014-01-20..2014-07-16", "9.3 10.0"),
        ("2026-03-10..", "14.4 15.1"),
        ("..1993-11-14", "1.0 1.0.2"),
    ],
)
def test_between_is_inclusive_and_may_be_open(days: str, expected: str) -> None:
    assert versions(FREEBSD, between=parse_days(days)) == expected.split()


def test_between_counts_moving_suites_as_of_today() -> None:
    assert versions(DEBIAN, between=parse_days("2025-01-01..")) == ["13", "14", "sid"]
    assert versions(DEBIAN, between=parse_days("2025-01-01..2026-01-01")) == ["13"]


@pytest.mark.parametrize(
    "text",
    ["", "..", "2014", "2014-01-01", "2014-13-01..", "yesterday..", "2015-01-01..2014-01-01"],
)
def test_bad_days(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_days(text)
    assert caught.value.hint


def test_parse_days() -> None:
    assert parse_days("2014-01-01..") == (dt.date(2014, 1, 1), None)
    assert parse_days(" ..2014-01-01") == (None, dt.date(2014, 1, 1))


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(names=("11.*",), exclude=("11.*",)), "11.* --exclude 11.*"),
        (Selection(from_="9.3", to="10.0", exclude=("9.3..10.0",)), "9.3..10.0"),
        (Selection(between=parse_days("..1990-01-01")), "--between ..1990-01-01"),
        (Selection(arch="vax"), "--arch vax"),
    ],
)
def test_nothing_left_says_of_what(selection: Selection, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(FREEBSD, selection)
    assert f"no release of freebsd is left of {words}" in caught.value.message
    assert "behunt releases --os freebsd" in caught.value.hint


def test_glob_without_a_match() -> None:
    with pytest.raises(UsageError, match=r"no release of freebsd matches '99\.\*'"):
        select(FREEBSD, Selection(names=("99.*",)))


def test_two_systems_in_one_selection() -> None:
    with pytest.raises(UsageError, match="not of debian and freebsd"):
        select(EVERYTHING, Selection(names=("debian-12", "freebsd-11.1")))


@pytest.mark.parametrize(
    ("from_", "to", "arch", "expected"),
    [
        ("5.0", "6.0", None, {"i386"}),
        ("9.3-i386", "11.1", None, {"i386"}),
        ("9.3", "11.1", "i386", {"i386"}),
        ("5.1", "6.0", "amd64", {"amd64"}),
    ],
)
def test_hunt_stays_on_one_architecture(
    from_: str, to: str, arch: str | None, expected: set[str]
) -> None:
    found = select(FREEBSD, Selection(from_=from_, to=to, arch=arch))
    assert {release.arch for release in found} == expected


def test_hunt_prefers_this_machine_or_amd64() -> None:
    found = select(FREEBSD, Selection(from_="11.0", to="12.1"))
    assert {r.arch for r in found} == {HOST if HOST in {"arm64", "i386"} else "amd64"}


def test_hunt_without_a_beginning_stays_on_the_end_s_architecture() -> None:
    found = select(FREEBSD, Selection(to="11.1-amd64"))
    assert (found[0].version, found[-1].version) == ("5.1", "11.1")
    assert {release.arch for release in found} == {"amd64"}


def test_hunt_with_equal_ends_has_one_release() -> None:
    found = select(DEBIAN, Selection(from_="11", to="bullseye"))
    assert [release.version for release in found] == ["11"]


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(from_="4.11", to="15.0"), "no architecture is common to all"),
        (Selection(from_="9.3-i386", to="11.1-amd64"), "stays on one architecture"),
        (Selection(from_="9.3-i386", to="11.1", arch="amd64"), "stays on one architecture"),
        (Selection(from_="4.11", to="6.0", arch="amd64"), "4.11 was not built for amd64"),
    ],
)
def test_hunt_across_architectures_is_refused(selection: Selection, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(FREEBSD, selection)
    assert message in caught.value.message
    assert caught.value.hint


def test_a_list_shows_each_release_in_its_own_architecture() -> None:
    found = select(FREEBSD, Selection(names=("4.11", "11.1-i386", "15.1")))
    assert [release.arch for release in found][:2] == ["i386", "i386"]
    assert found[2].arch != "i386"
    only = select(FREEBSD, Selection(names=("14.4..",), arch="i386"))
    assert [release.version for release in only] == ["14.4"]


@pytest.mark.parametrize(
    ("names", "os", "expected"),
    [
        ((), None, "freebsd"),
        (("11.1",), None, "freebsd"),
        (("debian-11", "sid"), None, "debian"),
        (("netbsd-9.0..9.3",), None, "netbsd"),
        (("11..sid",), "debian", "debian"),
    ],
)
def test_os_of(names: tuple[str, ...], os: str | None, expected: str) -> None:
    assert os_of(names, os=os) == expected


@pytest.mark.parametrize(
    ("names", "os"), [(("debian-11", "freebsd-9.3"), None), (("debian-11",), "freebsd")]
)
def test_os_of_contradiction(names: tuple[str, ...], os: str | None) -> None:
    with pytest.raises(UsageError, match="not debian and freebsd"):
        os_of(names, os=os)


def test_unknown_operating_system() -> None:
    with pytest.raises(UsageError) as caught:
        load("solaris")
    assert "'solaris'" in caught.value.message
    assert "debian, dragonfly, freebsd" in caught.value.hint


@pytest.mark.parametrize(
    "rising",
    [
        "1.1.5 1.1.5.1 2.0 2.2.8 2.2.9 3.0",
        "4.9 4.10 4.11 5.0",
        "1.6 1.6.1 1.6.2 2.0",
        "2.9 2.10 3.0",
        "r151000 r151000a r151002 r151058",
        "1.1 2.2 3.1 4.0 7 10 14 sid",
        "1.0 1.0A 1.2.0",
        "15.1-ALPHA2 15.1-BETA1 15.1-RC1 15.1 15.1-p1",
    ],
)
def test_version_order(rising: str) -> None:
    assert all(version_key(a) < version_key(b) for a, b in pairwise(rising.split()))


SHIPPED = [release.version for release in FREEBSD.releases]


@given(st.sampled_from(SHIPPED), st.sampled_from(SHIPPED), st.sampled_from(["version", "date"]))
def test_a_range_is_the_same_both_ways_and_contiguous(a: str, b: str, order: str) -> None:
    there, back = (versions(FREEBSD, f"{x}..{y}", order=order) for x, y in ((a, b), (b, a)))
    whole = versions(FREEBSD, order=order)
    assert there == back
    assert {there[0], there[-1]} == {a, b}
    assert there == whole[whole.index(there[0]) : whole.index(there[-1]) + 1]


@given(st.lists(st.sampled_from(SHIPPED), min_size=1, max_size=8))
def test_a_list_keeps_the_catalogue_s_order_and_has_no_doubles(names: list[str]) -> None:
    found = versions(FREEBSD, ",".join(names))
    assert found == [version for version in SHIPPED if version in names]


@given(
    st.lists(st.integers(0, 99), min_size=1, max_size=5),
    st.lists(st.integers(0, 99), min_size=1, max_size=5),
)
def test_numbers_order_as_numbers(a: list[int], b: list[int]) -> None:
    left, right = (version_key(".".join(map(str, numbers))) for numbers in (a, b))
    padded = [[(2, n) for n in numbers] + [(1, 0)] for numbers in (a, b)]
    assert (left < right) == (padded[0] < padded[1])
