"""What `behunt be prune` takes, and above all what it leaves."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from behunt.drive.lab import Lab, opened
from behunt.drive.prune import Doomed, plan, prune
from behunt.model import BootEnv, Build, Package
from behunt.storage.home import Home, Owner
from behunt.storage.overlay import OverlayStore

DAY = 86400.0
RECIPE = "mmdebstrap --variant=minbase demo"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A home of its own, caches included: nothing else may be in reach of a prune."""
    with opened(tmp_path / "home", "none") as lab:
        yield lab


def build(version: str, recipe: str = RECIPE) -> Build:
    return Build(recipe, (("http://mirror demo", version),), (Package("libc6", version),))


def bootenv(lab: Lab, name: str, made_of: Build) -> BootEnv:
    made = lab.store.create(name, name)
    (made.path / "etc").mkdir()
    (made.path / "etc/version").write_text("x" * 10_000)
    return lab.store.seal(made, made_of)


def aged(path: Path, days: float) -> Path:
    when = time.time() - days * DAY
    os.utime(path, (when, when))
    return path


def archive(lab: Lab, key: str, made_of: Build, days: float) -> tuple[Path, Path]:
    content = lab.home.archives / f"{key}.tar.zst"
    content.write_bytes(b"z" * 20_000)
    about = lab.home.archives / f"{key}.json"
    about.write_text(json.dumps(asdict(made_of)))
    return aged(content, days), aged(about, days)


def kernel(lab: Lab, identity: str) -> Path:
    directory = lab.home.kernels / identity[:24]
    (directory / "root").mkdir(parents=True)
    (directory / "version").write_text("6.1")
    return directory


def run(lab: Lab, name: str, days: float) -> Path:
    directory = lab.home.runs / name
    directory.mkdir()
    (directory / "log").write_text("it failed\n")
    return aged(directory, days)


def kept_test(lab: Lab, digest: str, days: float) -> Path:
    directory = lab.home.sessions / digest
    directory.mkdir()
    (directory / "test.sh").write_text("#!/bin/sh\n")
    return aged(directory, days)


def kinds(doomed: list[Doomed]) -> list[str]:
    return sorted(one.kind for one in doomed)


def test_an_empty_home_has_nothing_to_remove(lab: Lab) -> None:
    assert plan(lab, older_than_days=0, everything=True) == []


def test_an_archive_goes_once_a_newer_one_replaces_it_and_nothing_is_made_of_it(lab: Lab) -> None:
    bootenv(lab, "debian-sid-amd64", build("2"))
    old = archive(lab, "a1", build("1"), days=30)
    in_use = archive(lab, "a2", build("2"), days=20)
    newest = archive(lab, "a3", build("3"), days=10)
    only = archive(lab, "b1", build("1", "another recipe"), days=300)
    doomed = plan(lab)
    assert [(one.kind, set(one.paths)) for one in doomed] == [("archive", set(old))]
    assert prune(lab, doomed) == doomed[0].bytes >= 20_000
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in (*in_use, *newest, *only))
    assert plan(lab) == []


def test_half_an_archive_goes_when_nobody_can_be_writing_it(lab: Lab) -> None:
    for days in (0, 3):
        archive(lab, f"half{days}", build("1"), days)[1].unlink()
    (doomed,) = plan(lab)
    assert doomed.paths == (lab.home.archives / "half3.tar.zst",)
    assert "killed" in doomed.why


def test_an_archive_that_cannot_be_read_goes(lab: Lab) -> None:
    paths = archive(lab, "a1", build("1"), days=0)
    paths[1].write_text("{")
    assert [set(one.paths) for one in plan(lab)] == [set(paths)]


def test_a_kernel_goes_with_the_last_boot_environment_of_its_identity(lab: Lab) -> None:
    there = bootenv(lab, "debian-12-amd64", build("1"))
    needed = kernel(lab, there.identity)
    left_over = kernel(lab, "f" * 64)
    being_fetched = lab.home.kernels / f".fetch.x.{lab.owner.token}.1"
    being_fetched.mkdir()
    doomed = plan(lab)
    assert [one.paths for one in doomed] == [(left_over,)]
    prune(lab, doomed)
    assert needed.is_dir()
    assert being_fetched.is_dir()
    assert kinds(plan(lab, everything=True)) == ["bootenv", "kernel"]


def machine(lab: Lab, identity: str, recipe: str, days: float) -> Path:
    directory = lab.home.machines / f"{identity[:24]}-{recipe}"
    (directory / "state-1").mkdir(parents=True)
    (directory / "root.img").write_bytes(b"r" * 20_000)
    (directory / "made.json").write_text("{}")
    aged(directory / "made.json", days)
    aged(directory / "state-1", days)
    return directory


def test_of_what_machines_boot_from_only_the_newest_stays(lab: Lab) -> None:
    there = bootenv(lab, "debian-12-amd64", build("1"))
    old, new = (machine(lab, there.identity, recipe, days) for recipe, days in (("a", 9), ("b", 3)))
    left_over = machine(lab, "f" * 64, "b", 1)
    of_metal = machine(lab, there.identity, "net-a", 1)  # boots otherwise, and replaces neither
    (lab.home.machines / "accelerator.json").write_text("{}")
    doomed = plan(lab)
    assert sorted(one.paths for one in doomed) == sorted([(old,), (left_over,)])
    prune(lab, doomed)
    assert new.is_dir()
    assert of_metal.is_dir()
    assert plan(lab) == []


def test_a_state_goes_when_it_was_not_resumed_for_long(lab: Lab) -> None:
    there = bootenv(lab, "debian-12-amd64", build("1"))
    place = machine(lab, there.identity, "a", 40)
    assert plan(lab, older_than_days=50) == []
    (doomed,) = plan(lab, older_than_days=30)
    assert (doomed.kind, doomed.paths) == ("state", (place / "state-1",))
    prune(lab, [doomed])
    assert (place / "root.img").is_file()


def test_runs_go_by_their_age_and_only_when_asked(lab: Lab) -> None:
    old = run(lab, "20240101T000000.debian-12-amd64.1x0a1b2c.0", days=40)
    young = run(lab, "20240201T000000.debian-12-amd64.1x0a1b2c.1", days=20)
    log = lab.home.runs / "install-debian-12-amd64.log"
    log.write_text("Unpacking\n")
    aged(log, 40)
    assert plan(lab) == []
    doomed = plan(lab, older_than_days=30)
    assert {path for one in doomed for path in one.paths} == {old, log}
    assert "40 days" in doomed[0].why
    prune(lab, doomed)
    assert young.is_dir()
    assert not old.exists()
    assert not log.exists()


def test_a_run_of_a_living_behunt_stays_however_old(lab: Lab) -> None:
    mine = run(lab, f"20240101T000000.debian-12-amd64.{lab.owner.token}.0", days=400)
    other = Owner(lab.home)
    its = run(lab, f"20240101T000000.debian-12-amd64.{other.token}.0", days=400)
    assert plan(lab, older_than_days=0) == []
    other.close()
    assert [one.paths for one in plan(lab, older_than_days=0)] == [(its,)]
    assert mine.is_dir()


def test_a_kept_test_stays_as_long_as_a_session_refers_to_it(lab: Lab) -> None:
    asked = kept_test(lab, "a" * 24, days=100)
    fresh = kept_test(lab, "b" * 24, days=0)  # its session is about to be recorded
    orphan = kept_test(lab, "c" * 24, days=100)
    moved = Path("/where/the/home/once/was/sessions", "a" * 24, "test.sh")
    lab.results.new_session("bisect", {"test": {"files": [["test.sh", str(moved)]]}})
    doomed = plan(lab, older_than_days=0, everything=True)
    assert [one.paths for one in doomed] == [(orphan,)]
    prune(lab, doomed)
    assert asked.is_dir()
    assert fresh.is_dir()


def test_boot_environments_go_only_with_everything(lab: Lab) -> None:
    made = bootenv(lab, "debian-12-amd64", build("1"))
    archive(lab, "a1", build("1"), days=5)
    assert plan(lab) == []
    doomed = plan(lab, everything=True)
    assert [(one.kind, one.name) for one in doomed] == [("bootenv", "debian-12-amd64")]
    assert prune(lab, doomed) == made.bytes > 0
    assert lab.store.bootenvs() == []
    assert not made.path.exists()
    assert plan(lab, everything=True) == [], "the archive stays: installing again takes a second"


def test_a_boot_environment_in_use_stays(lab: Lab) -> None:
    used = bootenv(lab, "debian-11-amd64", build("1"))
    bootenv(lab, "debian-12-amd64", build("2"))
    other = Owner(lab.home)
    doomed = plan(lab, everything=True)
    assert len(doomed) == 2
    with OverlayStore(lab.home, other).clone(used):
        assert [one.name for one in plan(lab, everything=True)] == ["debian-12-amd64"]
        # Taken into use after the plan was made: left out, the rest still goes.
        assert prune(lab, doomed) == doomed[1].bytes
        assert [one.name for one in lab.store.bootenvs()] == ["debian-11-amd64"]
    other.close()
    assert [one.name for one in plan(lab, everything=True)] == ["debian-11-amd64"]


def test_one_being_installed_is_not_seen(lab: Lab) -> None:
    lab.store.create("debian-12-amd64", "debian-12-amd64")
    assert plan(lab, older_than_days=0, everything=True) == []


def test_what_is_gone_already_frees_nothing(lab: Lab) -> None:
    made = bootenv(lab, "debian-12-amd64", build("1"))
    doomed = plan(lab, everything=True)
    lab.store.destroy(made)
    assert prune(lab, doomed) == 0


def test_planning_removes_nothing(lab: Lab) -> None:
    bootenv(lab, "debian-12-amd64", build("1"))
    kernel(lab, "f" * 64)
    run(lab, "20240101T000000.debian-12-amd64.1x0a1b2c.0", days=40)
    before = contents(lab.home)
    assert kinds(plan(lab, older_than_days=1, everything=True)) == ["bootenv", "kernel", "run"]
    assert contents(lab.home) == before


def contents(home: Home) -> list[str]:
    return sorted(str(path) for path in home.path.rglob("*") if "locks" not in path.parts)
