"""`behunt releases`, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from behunt.cli.releases import releases
from behunt.errors import BehuntError, CatalogueError, UsageError


def run(*args: str) -> Result:
    return CliRunner().invoke(releases, args)


def output(*args: str) -> list[str]:
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def error(*args: str) -> BehuntError:
    result = run(*args)
    assert isinstance(result.exception, BehuntError), result.exception
    return result.exception


def test_a_range_is_a_table() -> None:
    head, *rows = output("9.3..11.1")
    assert head.split() == ["RELEASE", "DATE", "EOL", "BRANCH", "ARCHES", "SETS"]
    assert rows[0].split() == [
        *("freebsd-9.3", "2014-07-16", "2016-12-31", "stable/9", "amd64", "i386"),
        "txz-manifest",
    ]
    assert len(rows) == 8
    assert len({line.index("stable/") for line in rows}) == 1


def test_without_arguments_freebsd_is_listed() -> None:
    rows = output()
    assert len(rows) == 96
    assert rows[-1].startswith("freebsd-15.1 ")


def test_debian_shows_codenames_and_what_moves() -> None:
    rows = output("--os", "debian", "--exclude", "1.1..10", "--exclude", "testing")
    assert [row.split("  ")[0] for row in rows[1:]] == [
        "debian-11 (bullseye)",
        "debian-12 (bookworm)",
        "debian-13 (trixie)",
        "debian-sid (sid)",
    ]
    assert rows[-1].split()[2:4] == ["moving", "-"]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["11.*", "--exclude", "11.[1-3]"], ["freebsd-11.0", "freebsd-11.4"]),
        (["--order", "date", "10.0..9.3"], ["freebsd-10.0", "freebsd-9.3"]),
        (["--between", "2014-01-20..2014-07-16"], ["freebsd-9.3", "freebsd-10.0"]),
        (["netbsd-latest"], ["netbsd-11.0"]),
        (["--os", "debian", "--arch", "arm64", "..8"], ["debian-8"]),
    ],
)
def test_options(args: list[str], expected: list[str]) -> None:
    assert [row.split()[0] for row in output(*args)[1:]] == expected


def test_json_is_an_array_of_objects() -> None:
    found = json.loads("\n".join(output("debian-12..sid", "--json")))
    assert [one["version"] for one in found] == ["12", "13", "14", "sid"]
    assert found[0]["eol"] == "2026-07-11"
    assert found[-1]["date"] is None
    assert found[-1]["moving"] is True


def test_show_prints_every_source_on_its_line() -> None:
    lines = output("show", "freebsd-10.1-amd64")
    assert lines[0].split() == ["id", "freebsd-10.1-amd64"]
    urls = [line.split()[-1] for line in lines if "://" in line and " = " not in line]
    one = json.loads("\n".join(output("show", "freebsd-10.1-amd64", "--json")))
    assert urls == one["sources"]
    assert len(urls) == 4
    assert "date         2014-11-14" in lines
    assert any(line.endswith("set_format = txz-manifest") for line in lines)


def test_show_takes_the_os_or_the_architecture() -> None:
    assert output("show", "bookworm", "--os", "debian", "--arch", "i386")[0].endswith("12-i386")


def test_own_catalogue(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('os = "demo"\nrelease = [{ version = "b" }, { version = "a" }]')
    rows = output("--catalogue", str(file))
    assert [row.split()[0] for row in rows[1:]] == ["demo-b", "demo-a"]
    assert rows[1].split()[1:4] == ["-", "-", "-"]
    assert output("show", "demo-a", "--catalogue", str(file))[1].split() == ["os", "demo"]


def test_errors_are_behunt_s_own(tmp_path: Path) -> None:
    assert isinstance(error("bullseye"), UsageError)
    assert "--os debian" in error("bullseye").hint
    assert "10.0" in error("show", "10").hint
    assert isinstance(error("--between", "never"), UsageError)
    assert isinstance(error("--catalogue", str(tmp_path / "none.toml")), CatalogueError)
    assert run("--order", "size").exit_code == 2
    assert run("show").exit_code == 2


def test_help_has_the_options_the_command_and_examples() -> None:
    text = "\n".join(output("--help"))
    for words in ("--between", "--exclude", "show  ", "releases show freebsd-10.1", "[SELECTOR]"):
        assert words in text
    assert "list_releases" not in text
    assert "show debian-bookworm" in "\n".join(output("show", "--help"))
