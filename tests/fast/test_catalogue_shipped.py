"""The shipped rows: against the schema, an independent transcription, and each other."""

from __future__ import annotations

import datetime as dt
import json
import re
import tomllib
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from behunt import catalogue
from behunt.catalogue.check import check
from behunt.catalogue.versions import version_key
from behunt.datafiles import data_dir

SYSTEMS = ("debian", "dragonfly", "freebsd", "netbsd", "omnios", "openbsd")

# Version, date and end of life as the FreeBSD project published them; "-": never published.
FREEBSD = """
1.0 1993-11-01/-  1.0.2 1993-11-14/-  1.1 1994-05-07/-  1.1.5 1994-06-30/-  1.1.5.1 1994-07-05/-
2.0 1994-11-23/-  2.0.5 1995-06-10/-  2.1.0 1995-11-19/-  2.1.5 1996-07-14/-  2.1.6 1996-11-16/-
2.1.6.1 1996-11-25/-  2.1.7 1997-02-20/-  2.2.0 1997-03-16/-  2.2.1 1997-03-25/-
2.2.2 1997-05-16/-  2.2.5 1997-10-22/-  2.2.6 1998-03-25/-  2.2.7 1998-07-22/-
2.2.8 1998-11-29/-  2.2.9 2006-04-01/-  3.0 1998-10-16/-  3.1 1999-02-15/-  3.2 1999-05-17/-
3.3 1999-09-17/-  3.4 1999-12-20/-  3.5 2000-06-24/-  3.5.1 2000-07-28/-  4.0 2000-03-13/-
4.1 2000-07-27/-  4.1.1 2000-09-25/-  4.2 2000-11-21/-  4.3 2001-04-20/-  4.4 2001-09-18/-
4.5 2002-01-29/-  4.6 2002-06-15/2003-05-31  4.6.2 2002-08-15/-  4.7 2002-10-08/2003-09-30
4.8 2003-04-03/2005-03-31  4.9 2003-10-28/2004-10-31  4.10 2004-05-27/2006-05-31
4.11 2005-01-25/2007-01-31  5.0 2003-01-17/2003-06-30  5.1 2003-06-09/2003-12-31
5.2 2004-01-12/2004-12-31  5.2.1 2004-02-22/2004-12-31  5.3 2004-11-06/2006-10-31
5.4 2005-05-09/2006-10-31  5.5 2006-05-25/2008-05-31  6.0 2005-11-04/2007-01-31
6.1 2006-05-09/2008-05-31  6.2 2007-01-15/2008-05-31  6.3 2008-01-18/2010-01-31
6.4 2008-11-28/2010-11-30  7.0 2008-02-27/2009-04-30  7.1 2009-01-04/2011-02-28
7.2 2009-05-04/2010-06-30  7.3 2010-03-23/2012-03-31  7.4 2011-02-24/2013-02-28
8.0 2009-11-25/2010-11-30  8.1 2010-07-23/2012-07-31  8.2 2011-02-24/2012-07-31
8.3 2012-04-18/2014-04-30  8.4 2013-06-09/2015-08-01  9.0 2012-01-10/2013-03-31
9.1 2012-12-30/2014-12-31  9.2 2013-09-30/2014-12-31  9.3 2014-07-16/2016-12-31
10.0 2014-01-20/2015-02-28  10.1 2014-11-14/2016-12-31  10.2 2015-08-13/2016-12-31
10.3 2016-04-04/2018-04-30  10.4 2017-10-03/2018-10-31  11.0 2016-10-10/2017-11-30
11.1 2017-07-26/2018-09-30  11.2 2018-06-28/2019-10-31  11.3 2019-07-09/2020-09-30
11.4 2020-06-16/2021-09-30  12.0 2018-12-11/2020-02-29  12.1 2019-11-04/2021-01-31
12.2 2020-10-27/2022-03-31  12.3 2021-12-07/2023-03-31  12.4 2022-12-05/2023-12-31
13.0 2021-04-13/2022-08-31  13.1 2022-05-16/2023-07-31  13.2 2023-04-11/2024-06-30
13.3 2024-03-05/2024-12-31  13.4 2024-09-17/2025-06-30  13.5 2025-03-11/2026-04-30
14.0 2023-11-20/2024-09-30  14.1 2024-06-04/2025-03-31  14.2 2024-12-03/2025-09-30
14.3 2025-06-10/2026-06-30  14.4 2026-03-10/2026-12-31  15.0 2025-12-02/2026-09-30
15.1 2026-06-16/2027-03-31
"""


def raw(os: str) -> dict[str, Any]:
    return tomllib.loads((data_dir("releases") / f"{os}.toml").read_text(encoding="utf-8"))


def as_json(value: Any) -> Any:
    """TOML as JSON, dates as texts."""
    return json.loads(json.dumps(value, default=str))


@pytest.mark.parametrize("os", SYSTEMS)
def test_file_fits_the_schema(os: str) -> None:
    schema = json.loads((data_dir("releases") / "schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    validator.validate(as_json(raw(os)))
    check(raw(os), data_dir("releases") / f"{os}.toml")


def test_every_file_is_listed() -> None:
    assert catalogue.operating_systems() == SYSTEMS


def test_freebsd_equals_the_transcription() -> None:
    said = re.findall(r"(\S+) (\d{4}-\d\d-\d\d)/(-|\d{4}-\d\d-\d\d)", FREEBSD)
    ours = [
        (r.version, str(r.date), str(r.eol) if r.eol else "-")
        for r in catalogue.load("freebsd").releases
    ]
    assert len(said) == 95
    assert ours == said


@pytest.mark.parametrize(
    ("os", "count", "first", "last"),
    [
        ("freebsd", 95, "1.0", "15.1"),
        ("openbsd", 60, "2.0", "7.9"),
        ("netbsd", 73, "0.8", "11.0"),
        ("dragonfly", 85, "1.0", "6.4.2"),
        ("debian", 20, "1.1", "sid"),
        ("omnios", 29, "r151002", "r151058"),
    ],
)
def test_counts_and_ends(os: str, count: int, first: str, last: str) -> None:
    releases = catalogue.load(os).releases
    assert (len(releases), releases[0].version, releases[-1].version) == (count, first, last)


def test_ids_are_unique_and_all_is_loaded_at_once() -> None:
    everything = catalogue.load()
    ids = [build.id for entry in everything.entries for build in entry.builds]
    assert len(ids) == len(set(ids))
    assert everything.systems == SYSTEMS
    assert len(everything.releases) == 362


@pytest.mark.parametrize("os", SYSTEMS)
def test_every_release_is_whole(os: str) -> None:
    for entry in catalogue.load(os).entries:
        for release in entry.builds:
            assert release.date or release.moving, release.id
            assert release.date_source or release.moving, release.id
            assert all((release.branch, release.set_format, release.arches)), release.id
            assert release.sources or release.trait("no_source"), release.id
            assert not any("{" in text for text in release.sources), release.id
            assert not any("{" in text for _, text in release.traits), release.id
            if release.date and release.eol:
                assert release.date <= release.eol, release.id


@pytest.mark.parametrize("os", SYSTEMS)
def test_rows_are_in_version_order_in_the_file(os: str) -> None:
    versions = [row["version"] for row in raw(os)["release"]]
    assert versions == sorted(versions, key=version_key)


@pytest.mark.parametrize("os", ["openbsd", "omnios", "debian"])
def test_dates_rise_where_there_is_one_line_of_releases(os: str) -> None:
    dates = [release.date for release in catalogue.load(os).releases if release.date]
    assert dates == sorted(dates)


def test_openbsd_ends_with_the_release_after_next() -> None:
    releases = catalogue.load("openbsd").releases
    after_next = [r.date for r in releases[2:]] + [None, None]
    assert [r.eol for r in releases] == after_next


@pytest.mark.parametrize("os", SYSTEMS)
def test_eras_end_after_they_begin_and_pins_have_rows(os: str) -> None:
    data = raw(os)
    versions = {row["version"] for row in data["release"]}
    for era in data["era"]:
        assert {era.get("from"), era.get("to")} - {None} <= versions, era
        if "from" in era and "to" in era:
            assert version_key(era["from"]) <= version_key(era["to"]), era
    assert set(data.get("pinned", {})) <= versions


def archive(path: str) -> str:
    return f"http://ftp-archive.freebsd.org/pub/FreeBSD-Archive/old-releases/{path}/"


@pytest.mark.parametrize(
    ("os", "name", "url"),
    [
        ("freebsd", "11.1-amd64", archive("amd64/amd64/11.1-RELEASE")),
        ("freebsd", "11.1-arm64", archive("arm64/aarch64/11.1-RELEASE")),
        ("freebsd", "8.4-i386", archive("i386/8.4-RELEASE")),
        ("freebsd", "5.1-amd64", archive("amd64/5.1-RELEASE")),
        (
            "freebsd",
            "15.1",
            "https://download.freebsd.org/releases/amd64/amd64/15.1-RELEASE/",
        ),
        ("openbsd", "7.8", "https://cdn.openbsd.org/pub/OpenBSD/7.8/amd64/"),
        ("netbsd", "10.1", "https://cdn.netbsd.org/pub/NetBSD/NetBSD-10.1/amd64/binary/"),
        (
            "netbsd",
            "5.1",
            "https://archive.netbsd.org/pub/NetBSD-archive/NetBSD-5.1/amd64/binary/",
        ),
        (
            "dragonfly",
            "6.4",
            "https://mirror-master.dragonflybsd.org/iso-images/dfly-x86_64-6.4.0_REL.iso.bz2",
        ),
        ("debian", "bookworm", "http://deb.debian.org/debian"),
        ("debian", "sid", "http://deb.debian.org/debian"),
        ("debian", "stretch", "http://archive.debian.org/debian"),
        ("omnios", "r151058", "https://downloads.omnios.org/media/r151058/"),
    ],
)
def test_first_source(os: str, name: str, url: str) -> None:
    arch = None if name.rpartition("-")[2] in {"amd64", "i386", "arm64"} else "amd64"
    assert catalogue.find(catalogue.load(os), name, arch=arch).sources[0] == url


@pytest.mark.parametrize("name", ["8.4-i386", "9.3-amd64", "12.4-amd64", "14.0-amd64"])
def test_freebsd_archive_is_tried_in_both_depths(name: str) -> None:
    release = catalogue.find(catalogue.load("freebsd"), name)
    version, arch = release.version, release.arch
    assert archive(f"{arch}/{version}-RELEASE") in release.sources
    assert archive(f"{arch}/{arch}/{version}-RELEASE") in release.sources


def test_first_amd64_of_freebsd_is_5_1() -> None:
    releases = catalogue.load("freebsd").releases
    assert next(r.version for r in releases if "amd64" in r.arches) == "5.1"
    assert [r.version for r in releases if "i386" not in r.arches] == ["15.0", "15.1"]


@pytest.mark.parametrize(
    ("os", "name", "traits"),
    [
        ("freebsd", "2.2.8", {"set_format": "split-bin", "base_set": "bin", "checksum": "md5"}),
        ("freebsd", "4.11", {"set_format": "split-bin", "kernel_path": "/kernel"}),
        ("freebsd", "5.4", {"set_format": "split-base", "base_set": "base", "checksum": "md5"}),
        ("freebsd", "5.5", {"checksum": "sha256", "kernel_unpacked": "", "tty": "ttyd0"}),
        ("freebsd", "8.4", {"installer": "sysinstall", "kernel_unpacked": "/boot/GENERIC"}),
        ("freebsd", "9.0", {"set_format": "txz-manifest", "installer": "bsdinstall"}),
        ("freebsd", "10.1", {"zfsbe": "no", "tty": "ttyu0", "jail": "userland"}),
        ("freebsd", "12.1", {"zfsbe": "yes", "be_tool": "bectl"}),
        ("freebsd", "3.5.1", {"jail": "", "binary": "elf"}),
        ("freebsd", "15.0", {"set_format": "pkgbase+txz", "bsdinstall_jail": "scripted"}),
        ("openbsd", "5.4", {"signify_key": "", "autoinstall": "no"}),
        ("openbsd", "5.5", {"signify_key": "openbsd-55-base.pub", "autoinstall": "yes"}),
        ("openbsd", "7.8", {"base_set": "base78.tgz", "ipv4_dhcp": "autoconf"}),
        ("netbsd", "8.3", {"set_format": "tgz"}),
        ("netbsd", "9.2", {"set_format": "tar.xz", "base_set": "base.tar.xz"}),
        ("debian", "10", {"keyring": "debian-archive-removed-keys.gpg", "suite": "buster"}),
        ("debian", "11", {"keyring": "debian-archive-keyring.gpg", "suite": "bullseye"}),
        ("debian", "sid", {"suite": "sid", "installer": "mmdebstrap", "components": "main"}),
    ],
)
def test_traits_follow_the_era(os: str, name: str, traits: dict[str, str]) -> None:
    release = catalogue.find(catalogue.load(os), name)
    assert {trait: release.trait(trait) for trait in traits} == traits


def test_freebsd_sets_are_pinned_for_the_architecture_they_are_of() -> None:
    freebsd = catalogue.load("freebsd")
    pinned = dict(catalogue.find(freebsd, "11.0-amd64").pinned)
    base = "bb80ededf207c48122434833b83110225b798fb31273051fcb64316ff782c1ef"
    assert pinned["base.txz"] == base
    assert catalogue.find(freebsd, "11.0-i386").pinned == ()


def test_moving_suites_have_no_date_and_sort_last() -> None:
    debian = catalogue.load("debian")
    assert [r.codename for r in debian.releases[-2:]] == ["forky", "sid"]
    assert all(r.moving and r.date is None for r in debian.releases[-2:])
    by_date = catalogue.select(debian, catalogue.Selection(order="date"))
    assert [r.codename for r in by_date[-2:]] == ["forky", "sid"]


def test_lts_of_debian() -> None:
    bullseye = catalogue.find(catalogue.load("debian"), "bullseye")
    assert (bullseye.eol, bullseye.trait("lts")) == (dt.date(2024, 8, 14), "2026-08-31")
