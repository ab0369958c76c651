"""A user's own catalogue: what it may hold, and what is said where it is wrong."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from behunt.catalogue import Selection, find, load, os_of, select
from behunt.catalogue.expand import host_arch
from behunt.datafiles import data_dir
from behunt.errors import CatalogueError


def written(directory: Path, text: str) -> Path:
    file = directory / "mine.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_only_versions_are_needed_and_the_file_s_order_counts(tmp_path: Path) -> None:
    rows = "".join(f'[[release]]\nversion = "{v}"\n' for v in ("2025a", "b", "1", "0.9"))
    file = written(tmp_path, f'os = "demo"\n{rows}')
    own = load("demo", extra=[file])
    assert [r.version for r in own.releases] == ["2025a", "b", "1", "0.9"]
    assert {r.arch for r in own.releases} == {host_arch()}
    assert own.releases[0].id == f"demo-2025a-{host_arch()}"
    assert (own.releases[0].sources, own.releases[0].set_format) == ((), "")
    between = select(own, Selection(from_="1", to="2025a"))
    assert [r.version for r in between] == ["2025a", "b", "1"]
    assert find(own, "demo-b").version == "b"
    assert find(own, "latest").version == "0.9"
    assert os_of(["1"], extra=[file]) == "demo"


def test_sources_lie_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "roots" / "one").mkdir(parents=True)
    (tmp_path / "two.tar").write_bytes(b"")
    digest = "0" * 64
    file = written(
        tmp_path,
        f"""
        os = "demo"
        [[release]]
        version = "1"
        source = "roots/one"
        date = 2024-01-31
        eol = 2025-01-31
        names = ["first"]
        [[release]]
        version = "2"
        source = "two.tar"
        sha256 = "{digest}"
        arches = ["i386", "amd64"]
        traits = {{ tty = "com0" }}
        """,
    )
    one, two = load("demo", extra=[file]).releases
    assert one.sources == (str(tmp_path / "roots" / "one"),)
    assert (one.set_format, one.trait("installer")) == ("directory", "tree")
    assert (str(one.date), str(one.eol)) == ("2024-01-31", "2025-01-31")
    assert two.sources == (str(tmp_path / "two.tar"),)
    assert (two.set_format, two.trait("tty"), two.pinned) == (
        "tarball",
        "com0",
        (("sha256", digest),),
    )
    assert two.arches == ("i386", "amd64")
    assert find(load("demo", extra=[file]), "first").version == "1"


def test_eras_serve_users_too(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        os = "demo"
        release = [{ version = "1" }, { version = "2", arches = ["arm64"] }, { version = "3" }]
        [[era]]
        arches = ["amd64"]
        machine = { arm64 = "aarch64" }
        sources = ["https://example.org/{version}/{machine}/"]
        [[era]]
        to = "2"
        traits = { old = "{major}" }
        """,
    )
    releases = load("demo", extra=[file]).releases
    assert [r.sources[0] for r in releases] == [
        "https://example.org/1/amd64/",
        "https://example.org/2/aarch64/",
        "https://example.org/3/amd64/",
    ]
    assert [r.trait("old") for r in releases] == ["1", "2", ""]


def test_rows_join_an_os_that_ships_in_version_order(tmp_path: Path) -> None:
    file = written(tmp_path, 'os = "freebsd"\nrelease = [{ version = "15.1-RC1" }]')
    both = load("freebsd", extra=[file])
    assert [r.version for r in both.releases][-2:] == ["15.1-RC1", "15.1"]
    everything = load(extra=[file])
    assert find(everything, "freebsd-15.1-rc1").version == "15.1-RC1"


def test_a_catalogue_of_another_os_is_not_in_the_way(tmp_path: Path) -> None:
    file = written(tmp_path, 'os = "demo"\nrelease = [{ version = "1" }]')
    assert load("debian", extra=[file]).systems == ("debian",)
    assert "demo" in load(extra=[file]).systems


ROW = 'os = "demo"\n[[release]]\nversion = "1"\n'

WRONG = [
    ('os = "demo"\nrelease = 3', "release: 3 is no list", "", False),
    ("not TOML", "is not TOML", "at line 1", True),
    (ROW + "date = 2024-13-01", "is not TOML", "Correct that line", True),
    ('[[release]]\nversion = "1"', "at the top: 'os' is missing", "os, release", False),
    ('os = "demo"', "'release' is missing", "[[release]]", False),
    ('os = "demo"\nrelease = []', "release: the list is empty", "at least one", False),
    ('os = "De-mo"\nrelease = [{ version = "1" }]', "os: 'De-mo' will not do", "lower-case", False),
    ('os = "demo"\nrelease = [{ date = 2024-01-01 }]', "release 1: 'version' is", "Add", False),
    (ROW + "[[release]]\nversion = 2", "release 2, version: 2 is no text", "in quotes", False),
    (ROW + "[[release]]\nversion = 1.5", "release 2, version: 1.5 is no text", "quotes", False),
    (ROW + '[[release]]\nversion = "../x"', "release 2 (version ../x), version: ", "", False),
    (ROW + '[[release]]\nversion = "a..b"', "'a..b' will not do", "letters, digits", False),
    (ROW + 'datum = "x"', "release 1 (version 1): unknown key 'datum'", "mean 'date'", False),
    (ROW + 'date = "2024-01-01"', "(version 1), date: '2024-01-01' is no date", "quotes", False),
    (ROW + "date = 2024-01-01T00:00:00", "date: 2024-01-01 00:00:00 is no date", "", False),
    (ROW + "eol = 2024", "release 1 (version 1), eol: 2024 is no date", "2024-01-31", False),
    (ROW + "moving = 1", "release 1 (version 1), moving: 1 is no boolean", "true", False),
    (ROW + 'arches = "amd64"', "arches: 'amd64' is no list", '["amd64"', False),
    (ROW + "traits = { x = 1 }", "(version 1), traits x: 1 is no text", "in quotes", False),
    (ROW + 'sha256 = "abc"', "sha256: 'abc' will not do", "SHA-256", False),
    (ROW + "[[era]]\nform = 3", "era 1: unknown key 'form'", "mean 'from'", False),
]


@pytest.mark.parametrize(("text", "message", "hint", "by_toml"), WRONG)
def test_wrong_file(tmp_path: Path, text: str, message: str, hint: str, *, by_toml: bool) -> None:
    file = written(tmp_path, text)
    with pytest.raises(CatalogueError) as caught:
        load("demo", extra=[file])
    assert str(file) in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint + caught.value.message
    assert caught.value.hint
    if not by_toml:
        assert not fits_schema(text)


def fits_schema(text: str) -> bool:
    """What the jsonschema library thinks of the same file, its dates as texts.

    A quoted date cannot be told from a real one there, nor a time from a text, so both are
    marked before.
    """
    schema = json.loads((data_dir("releases") / "schema.json").read_text(encoding="utf-8"))
    marked = tomllib.loads(text.replace('date = "', 'date = "quoted '))
    value = json.loads(json.dumps(marked, default=str))
    checker = Draft202012Validator.FORMAT_CHECKER
    return Draft202012Validator(schema, format_checker=checker).is_valid(value)


CONTRADICTING = [
    (ROW + '[[release]]\nversion = "1"', "release 2 (version 1): the version is there twice"),
    (ROW + '[[release]]\nversion = "B"\n[[release]]\nversion = "b"', "release 3 (version b)"),
    (ROW + "date = 2024-02-01\neol = 2024-01-01", "2024-01-01 is before the release's date"),
    (ROW + 'source = "."\nsources = ["x"]', "both source and sources"),
    (ROW + 'source = "gone.tar"', "gone.tar is not there"),
    (ROW + 'sources = ["http://x/{versoin}"]', "{versoin} in"),
]


@pytest.mark.parametrize(("text", "message"), CONTRADICTING)
def test_contradiction(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        load("demo", extra=[written(tmp_path, text)])
    assert message in caught.value.message
    assert caught.value.hint


def test_a_release_that_ships_cannot_be_given_again(tmp_path: Path) -> None:
    file = written(tmp_path, 'os = "debian"\nrelease = [{ version = "12" }]')
    with pytest.raises(CatalogueError, match="debian 12 is in another catalogue already"):
        load("debian", extra=[file])


def test_a_file_given_twice(tmp_path: Path) -> None:
    file = written(tmp_path, ROW)
    with pytest.raises(CatalogueError, match="demo 1 is in another catalogue already"):
        load("demo", extra=[file, file])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="cannot be read: No such file"):
        load("demo", extra=[tmp_path / "none.toml"])
