"""tools/refresh_catalogue.py: on small files of its sources' formats, and on the real ones."""

from __future__ import annotations

import datetime as dt
import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from behunt.datafiles import data_dir

OSINFO = Path("/usr/share/osinfo/os")
DISTRO_INFO = Path("/usr/share/distro-info/debian.csv")

CATALOGUE = """\
# A comment that stays.
os = "freebsd"

release = [
  { version = "1.0", date = 2001-01-01 },  # so does this one
  { version = "1.1", date = 2002-01-01, eol = 2003-01-01 },
  { version = "2.0", date_source = "announcement", date = 2004-01-01, names = ["2"] },
  { version = "10.0", date = 2010-01-01, eol = 2011-01-01 },
]

kept = [
  { version = "1.1", field = "eol", source = "osinfo-db", says = 2003-02-02, reason = "a typo" },
]

[[era]]
date_source = "osinfo-db"
traits = { eol_source = "osinfo-db" }

[[era]]
from = "10.0"
traits = { eol_source = "the project" }
"""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = data_dir("releases").parent / "tools" / "refresh_catalogue.py"
    spec = importlib.util.spec_from_file_location("refresh_catalogue", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def osinfo(directory: Path, version: str, date: str, eol: str = "") -> None:
    directory.mkdir(exist_ok=True)
    end = f"<eol-date>{eol}</eol-date>" if eol else ""
    (directory / f"freebsd-{version}.xml").write_text(
        f"<libosinfo><os><version>{version}</version>"
        f"<release-date>{date}</release-date>{end}</os></libosinfo>"
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "freebsd.toml"
    path.write_text(CATALOGUE)
    return path


def test_the_owner_of_a_date_may_change_it(tool: ModuleType, file: Path, tmp_path: Path) -> None:
    osinfo(tmp_path / "os", "1.0", "2001-01-11", "2002-02-02")
    osinfo(tmp_path / "os", "9.0", "2009-01-01", "2010-01-01")
    osinfo(tmp_path / "os", "11.0", "2011-01-01")
    said = tool.read_osinfo(tmp_path / "os")
    changes = tool.refresh(file, "osinfo-db", said, write=True)
    assert [str(change) for change in changes] == [
        "changed  1.0: date 2001-01-01 -> 2001-01-11",
        "changed  1.0: eol none -> 2002-02-02",
        "added    11.0: 2011-01-01",
        "added    9.0: 2009-01-01",
    ]
    before, after = CATALOGUE.splitlines(), file.read_text().splitlines()
    rows = after[4:10]
    assert rows == [
        '  { version = "1.0", date = 2001-01-11, eol = 2002-02-02 },  # so does this one',
        *before[5:7],
        '  { version = "9.0", date = 2009-01-01, eol = 2010-01-01 },',
        before[7],
        '  { version = "11.0", date = 2011-01-01 },',
    ]
    assert after[:4] + after[10:] == before[:4] + before[8:]
    assert tool.refresh(file, "osinfo-db", said, write=False) == []


def test_what_is_not_its_own_is_kept_and_why(
    tool: ModuleType, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    osinfo(tmp_path / "os", "1.1", "2002-01-01", "2003-02-02")
    osinfo(tmp_path / "os", "2", "2004-04-04")
    osinfo(tmp_path / "os", "10.0", "2010-01-01", "2012-01-01")
    tool.refresh(file, "osinfo-db", tool.read_osinfo(tmp_path / "os"), write=True)
    assert capsys.readouterr().out.splitlines() == [
        "freebsd.toml against osinfo-db: 3 releases",
        "  kept     1.1: eol 2003-01-01, not 2003-02-02: a typo",
        "  kept     10.0: eol 2011-01-01, not 2012-01-01: its eol is by the project",
        "  kept     2.0: date 2004-01-01, not 2004-04-04: its date is by announcement",
    ]
    assert file.read_text() == CATALOGUE


def test_nothing_is_written_unless_asked(
    tool: ModuleType, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    osinfo(tmp_path / "os", "1.0", "2001-01-11")
    tool.refresh(file, "osinfo-db", tool.read_osinfo(tmp_path / "os"), write=False)
    assert file.read_text() == CATALOGUE
    assert '+  { version = "1.0", date = 2001-01-11 }' in capsys.readouterr().out


def test_debian_suites_are_known_by_their_series(tool: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "debian.toml"
    shutil.copy(data_dir("releases") / "debian.toml", file)
    table = tmp_path / "debian.csv"
    table.write_text(
        "version,codename,series,created,release,eol,eol-lts\n"
        "12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-06-10,2028-06-30\n"
        "14,Forky,forky,2025-08-09\n"
        "15,Duke,duke,2027-08-01\n"
        ",Sid,sid,1993-08-16\n"
        "13.5,Point,point,2025-01-01,2026-01-01\n"
    )
    changes = tool.refresh(file, "distro-info-data", tool.read_distro_info(table), write=True)
    assert [(c.kind, c.version, c.field, c.theirs) for c in changes] == [
        ("changed", "12", "eol", dt.date(2026, 6, 10)),
        ("added", "13.5", "date", dt.date(2026, 1, 1)),
    ]
    text = file.read_text()
    assert '"12", date = 2023-06-10, eol = 2026-06-10, codename = "bookworm"' in text
    assert '  { version = "13.5", date = 2026-01-01, codename = "point" },\n' in text


@pytest.mark.skipif(not OSINFO.is_dir(), reason="osinfo-db is not installed")
@pytest.mark.parametrize("os", ["freebsd", "openbsd", "netbsd", "dragonfly"])
def test_no_known_error_of_osinfo_db_comes_back(tool: ModuleType, os: str, tmp_path: Path) -> None:
    """Whatever a newer osinfo-db brings: a date that another source owns stays ours."""
    file = tmp_path / f"{os}.toml"
    shutil.copy(data_dir("releases") / f"{os}.toml", file)
    said = tool.read_osinfo(OSINFO / tool._OSINFO_DIRECTORY[os])
    changes = tool.refresh(file, "osinfo-db", said, write=True)
    assert len(said) > 20
    assert {c.version for c in changes if c.kind == "kept"}
    for change in changes:
        if change.kind == "kept":
            assert change.reason
            assert change.theirs not in {None, change.ours}
    if os == "freebsd":
        kept = {(c.version, c.field, str(c.theirs)) for c in changes if c.kind == "kept"}
        assert ("4.1", "date", "2000-06-27") in kept
        assert ("11.0", "eol", "2017-10-30") in kept
        assert [c for c in changes if c.kind == "changed"] == []


@pytest.mark.skipif(not DISTRO_INFO.is_file(), reason="distro-info-data is not installed")
def test_the_real_distro_info_is_understood(tool: ModuleType) -> None:
    said = {suite.codename: suite for suite in tool.read_distro_info(DISTRO_INFO)}
    assert said["bookworm"].date == dt.date(2023, 6, 10)
    assert said["forky"].version == "14"
    assert "sid" not in said
