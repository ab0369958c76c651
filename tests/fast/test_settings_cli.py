"""Settings: an option, else BEHUNT_*, else behunt.toml, else the default."""

from __future__ import annotations

from pathlib import Path

import pytest
from behunt_cli import Behunt, Hunting

from behunt.cli import settings
from behunt.cli.main import cli
from behunt.errors import UsageError


def configure(behunt: Behunt, text: str) -> None:
    (behunt.place / "behunt.toml").write_text(text)


def jobs(hunting: Hunting, *words: str, env: dict[str, str] | None = None) -> int:
    """How many jobs a hunt was asked for, as its log tells."""
    done = hunting.behunt(
        *hunting.words("--from", "1", "--to", "3", "--find", "change", *words), env=env or {}
    )
    assert done.code == 4, "the three of them answer the same"
    log = hunting.behunt("bisect", "log").out
    return int(log.partition("--jobs ")[2].split()[0]) if "--jobs" in log else 1


def test_the_nearest_wins(hunting: Hunting) -> None:
    assert jobs(hunting) == 1
    configure(hunting.behunt, "jobs = 2")
    assert jobs(hunting) == 2
    configure(hunting.behunt, "jobs = 2\n[bisect]\njobs = 3")
    assert jobs(hunting) == 3
    assert jobs(hunting, env={"BEHUNT_JOBS": "4"}) == 4
    assert jobs(hunting, env={"BEHUNT_JOBS": "4", "BEHUNT_BISECT_JOBS": "5"}) == 5
    assert jobs(hunting, "--jobs", "6", env={"BEHUNT_BISECT_JOBS": "5"}) == 6


def test_the_home(behunt: Behunt, tmp_path: Path) -> None:
    configure(behunt, f'home = "{tmp_path / "from-file"}"')
    for env, words, name in (
        ({"BEHUNT_HOME": ""}, (), "from-file"),
        ({"BEHUNT_HOME": str(tmp_path / "from-variable")}, (), "from-variable"),
        ({}, ("--home", tmp_path / "from-option"), "from-option"),
    ):
        assert not (tmp_path / name).exists()
        assert behunt(*words, "be", "list", env=env).code == 0
        assert (tmp_path / name).is_dir()


def test_a_list_and_a_flag(hunting: Hunting) -> None:
    configure(
        hunting.behunt,
        f'runner = "none"\ncatalogue = ["{hunting.catalogue}"]\nmax-trials = 3\njson = true\n'
        "[releases]\njson = false",
    )
    done = hunting.behunt("bisect", "--from", "demo-1", "--to", "demo-65", hunting.test)
    assert (done.json["outcome"], done.json["runner"]) == ("budget", "none")
    assert hunting.behunt("releases", "demo-65").out.splitlines()[-1].startswith("demo-65 ")


def test_config_names_the_only_file(hunting: Hunting) -> None:
    configure(hunting.behunt, "jobs = 2")
    other = hunting.behunt.place / "other.toml"
    other.write_text('order = "date"')
    words = hunting.words("--from", "1", "--to", "3", "--find", "change")
    assert hunting.behunt("--config", other, *words).code == 4
    assert "--jobs" not in hunting.behunt("bisect", "log").out
    hunting.behunt.fails(2, "--config", "nothing.toml", "releases", says="nothing.toml")


def test_what_a_test_is_told_is_no_setting_of_version(behunt: Behunt) -> None:
    """BEHUNT_VERSION is in the environment of every test, which may well call behunt."""
    done = behunt("releases", "debian-12", env={"BEHUNT_VERSION": "12", "BEHUNT_RUN": "1/1"})
    assert done.out.splitlines()[-1].startswith("debian-12 ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("jobs = ", "cannot read the settings in behunt.toml"),
        ("\xff", "cannot read the settings in behunt.toml"),
        ("jbos = 2", "there is no setting jbos\n  known: jobs"),
        ("[bisct]\njobs = 2", "there is no setting bisct\n  known: bisect"),
        ("[releases]\nrunner = 'none'", "there is no setting runner"),
        ('jobs = "many"', "'many' is not a valid integer"),
    ],
)
def test_a_broken_file(behunt: Behunt, text: str, says: str) -> None:
    (behunt.place / "behunt.toml").write_bytes(text.encode("latin-1"))
    behunt.fails(2, "be", "install", "debian-12", says=says)


def test_defaults_reach_the_hidden_command_of_a_group(tmp_path: Path) -> None:
    file = tmp_path / "behunt.toml"
    file.write_text('arch = "i386"\n[bisect]\nmax-trials = 7')
    found = settings.defaults(cli, file)
    assert found["bisect"]["start"] == {"arch": "i386", "max_trials": 7}
    assert found["releases"]["show"] == {"arch": "i386"}
    with pytest.raises(UsageError):
        settings.defaults(cli, tmp_path)
