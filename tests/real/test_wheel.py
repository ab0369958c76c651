"""What `pip install` gives, in an empty venv, from any directory."""

from __future__ import annotations

import email
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from behunt_cli import executable, releases

pytestmark = pytest.mark.real

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(built)]
    subprocess.run([*pip, str(CHECKOUT)], check=True)
    return next(built.glob("behunt-*.whl"))


@pytest.fixture(scope="module")
def behunt(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", str(wheel)]
    subprocess.run(pip, check=True)
    return venv / "bin/behunt"


def told(*words: str | Path, cwd: Path) -> str:
    """What a command says, run with nothing of this checkout in its environment."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(cwd), "LANG": "C.UTF-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_carries_data_and_manual(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for system in ("freebsd", "openbsd", "netbsd", "dragonfly", "debian", "omnios"):
        assert f"behunt/_data/releases/{system}.toml" in names
    assert any(name.startswith("behunt/_data/reports/") and ".html" in name for name in names)
    assert any(name.endswith("share/man/man8/behunt.8") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "docs/")) for name in names)


def test_the_extra_for_zfs_brings_nothing(wheel: Path) -> None:
    """Above all not the index's pyzfs, which is another program."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    required = metadata.get_all("Requires-Dist", [])
    assert "zfs" in metadata.get_all("Provides-Extra", [])
    assert any("postgresql" in one for one in required), "extras are told like this"
    assert [one for one in required if "zfs" in one.lower()] == []


def test_it_knows_the_releases(behunt: Path, tmp_path: Path) -> None:
    shown = json.loads(told(behunt, "releases", "show", "freebsd-10.1", "--json", cwd=tmp_path))
    assert (shown["id"], shown["date"]) == ("freebsd-10.1-amd64", "2014-11-14")
    assert told(behunt, "--version", cwd=tmp_path) == "behunt, version 0.1.0\n"


def test_the_manual_is_where_man_looks(behunt: Path) -> None:
    assert (behunt.parents[1] / "share/man/man8/behunt.8").is_file()


def test_it_hunts_and_reports(behunt: Path, tmp_path: Path) -> None:
    catalogue = releases(tmp_path / "builds.toml", range(1, 9))
    test = executable(tmp_path / "test.sh", "test $BEHUNT_VERSION -lt 6")
    page = tmp_path / "hunt.html"
    options = ["--runner", "none", "--from", "1", "--to", "8", "--html", page, "--json"]
    hunt = [behunt, "--home", tmp_path / "home", "bisect", "--catalogue", catalogue, *options]
    assert json.loads(told(*hunt, test, cwd=tmp_path))["first_bad"].startswith("demo-6")
    assert "demo 6" in page.read_text(encoding="utf-8")


def test_it_is_a_module_too(behunt: Path, tmp_path: Path) -> None:
    python = behunt.with_name("python")
    assert "Examples:" in told(python, "-m", "behunt", "--help", cwd=tmp_path)
