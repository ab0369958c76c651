"""Real changes between real Debian releases, installed and hunted by the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pexpect
import pytest
from behunt_cli import COMMAND, Behunt, executable

from behunt.runners.uml_registers import doubt
from behunt.storage.home import Home

pytestmark = pytest.mark.real

# What each flips in, with nothing but the minimal system installed. 14 and sid move: a change
# that may reach them is computed from the releases themselves.
FLIPS = {
    "test ! -L /bin": ("debian-11-amd64", "debian-12-amd64"),
    "test -e /usr/share/zoneinfo/US/Eastern": ("debian-12-amd64", "debian-13-amd64"),
    "command -v apt-key": ("debian-12-amd64", "debian-13-amd64"),
}


@pytest.fixture
def behunt(home: Home, tmp_path: Path) -> Behunt:
    place = tmp_path / "place"
    place.mkdir()
    return Behunt(place, home.path)


def test_every_flip_is_found(behunt: Behunt) -> None:
    for body, (good, bad) in FLIPS.items():
        test = executable(behunt.place / "test.sh", body)
        done = behunt("bisect", "--os", "debian", "--from", "11", "--to", "sid", "--json", test)
        found = done.json
        assert (done.code, found["last_good"], found["first_bad"]) == (0, good, bad), body
        assert all(trial["runner"] == "namespace" for trial in found["trials"])
    installed = {row["release"] for row in behunt("be", "list", "--json").json}
    assert len(installed) >= 4


def test_a_change_in_the_moving_suites_is_where_the_releases_say(behunt: Behunt) -> None:
    names = ("11", "12", "13", "14", "sid")
    answers = [
        behunt("run", f"debian-{n}", "--", "sh", "-c", "command -v pivot_root") for n in names
    ]
    good = [done.code == 0 for done in answers]
    if good[0] == good[-1] or sorted(good, reverse=True) != good:
        pytest.skip(f"pivot_root does not go once from there to gone: {good}")
    test = executable(behunt.place / "test.sh", "command -v pivot_root")
    found = behunt("bisect", "--os", "debian", "--from", "11", "--to", "sid", "--json", test).json
    assert found["first_bad"] == f"debian-{names[good.index(False)]}-amd64"


@pytest.mark.parametrize("name", ["12", "bookworm", "debian-12", "debian-12-amd64"])
def test_every_name_means_the_release(behunt: Behunt, name: str) -> None:
    os = [] if name.startswith("debian") else ["--os", "debian"]
    done = behunt("run", *os, name, "--", "grep", "^VERSION_CODENAME", "/etc/os-release")
    assert (done.code, done.out) == (0, "VERSION_CODENAME=bookworm\n")


def test_the_kernel_of_the_release_is_asked(behunt: Behunt) -> None:
    test = executable(behunt.place / "old.sh", "case $(uname -r) in 5.*) ;; *) exit 1 ;; esac")
    options = ["--runner", "uml", "--os", "debian", "--from", "11", "--to", "13", "--json"]
    done = behunt("bisect", *options, test)
    assert (done.code, done.json["runner"]) == (0, "uml")
    assert (done.json["last_good"], done.json["first_bad"]) == (
        "debian-11-amd64",
        "debian-12-amd64",
    )
    kernels = {trial["release"]: trial["kernel"] for trial in done.json["trials"]}
    assert kernels["debian-11-amd64"].startswith("5.10.")
    assert kernels["debian-12-amd64"].startswith("6.1.")
    # All these kernels are older than 6.13.
    assert {trial["note"] for trial in done.json["trials"]} == {doubt()}


def test_run_passes_the_status_and_output_on(behunt: Behunt) -> None:
    done = behunt("run", "debian-12", "--", "sh", "-c", "echo out; exit 7")
    assert (done.code, done.out) == (7, "out\n")
    script = executable(behunt.place / "test.sh", 'echo "$BEHUNT_RELEASE $1"; exit 125')
    done = behunt("run", "debian-12", script, "--", "a word")
    assert (done.code, done.out) == (125, "debian-12-amd64 a word\n")
    done = behunt("run", "debian-12", "--", "python3", "-c", "import crypt")
    assert done.code == 125
    assert "cannot execute python3" in done.err
    assert "--package" in done.err


def test_a_boot_environment_lives_and_dies(behunt: Behunt) -> None:
    assert "debian-12-amd64" in behunt("be", "install", "debian-12").out
    identity = behunt("be", "list", "--json").json[0]["identity"]
    assert behunt("be", "destroy", "12", env={}).code == 2, "12 is a FreeBSD by default"
    assert behunt("be", "destroy", "debian-12").out == "destroyed debian-12-amd64\n"
    assert behunt("be", "list").out == "nothing installed\n"
    behunt("be", "install", "debian-bookworm")
    assert behunt("be", "list", "--json").json[0]["identity"] == identity
    assert behunt("be", "prune", "--dry-run").code == 0


def test_a_shell_in_a_clone(behunt: Behunt) -> None:
    behunt("be", "install", "debian-12")
    command, *words = [*COMMAND, "be", "shell", "debian-12"]
    shell = pexpect.spawn(
        command,
        words,
        env=behunt.environment({"TERM": "vt100"}),  # type: ignore[arg-type] - a plain dict
        cwd=str(behunt.place),
        encoding="utf-8",
        timeout=60,
    )
    shell.expect_exact("debian-12-amd64# ")
    shell.sendline("touch /changed; tty; stty size; echo status $?")
    shell.expect_exact("/dev/pts/")
    shell.expect(r"status 0\r\n")
    shell.expect_exact("debian-12-amd64# ")
    shell.sendline("exit 3")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 3
    assert behunt("run", "debian-12", "--", "test", "-e", "/changed").code == 1


def test_results_and_reports_of_a_real_hunt(behunt: Behunt) -> None:
    test = executable(behunt.place / "test.sh", "echo here; test ! -L /bin")
    page = behunt.place / "hunt.html"
    words = ["--from", "debian-11", "--to", "debian-12", "--html", page]
    assert behunt("bisect", *words, test).code == 0
    text = page.read_text(encoding="utf-8")
    assert len(text) < 300_000
    assert re.search(r"base-files.*12\.4\+deb12u", text, re.DOTALL), "packages that differ"
    rows = json.loads(behunt("results", "--release", "debian-11", "--json").out)
    assert [(row["test"], row["outcome"]) for row in rows] == [("test.sh", "passed")]
    assert "Debian 12 (bookworm)" in behunt("report", "--markdown").out
