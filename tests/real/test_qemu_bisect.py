"""Changes of kernels between Debian releases, hunted in machines by the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from behunt_cli import Behunt, executable
from homes import sharing

from behunt.runners.uml_registers import doubt
from behunt.storage.home import Home

pytestmark = pytest.mark.real

RELEASES = ("debian-11-amd64", "debian-12-amd64", "debian-13-amd64")
KERNELS = ("5.10.", "6.1.", "6.12.")
# A driver that needs nothing else, until Linux 6.8; the smallest of systems has no insmod(8), but
# Perl: 175 is init_module(2).
MODULE = """
    file=$(find /lib/modules -name 'sb1000.ko*' | grep .) || exit 1
    perl -e '
        undef $/; open F, "<", $ARGV[0] or die; $module = <F>; $options = "";
        exit(syscall(175, $module, length $module, $options) != 0)' $file || exit 125
    test -d /sys/module/sb1000
"""
# What each flips between, as seen in the kernels themselves.
FLIPS = {
    "case $(uname -r) in 5.*) ;; *) exit 1 ;; esac": RELEASES[:2],
    "test ! -e /proc/sys/kernel/io_uring_disabled": RELEASES[1:],  # since Linux 6.6
    MODULE: RELEASES[1:],
}


def booted_never(kept: Path, home: Home) -> None:
    """Give `home` machines of its own that boot from what is kept, and have no state."""
    home.machines.unlink()
    home.machines.mkdir()
    for made in (kept / "machines").glob("*/made.json"):
        place = home.machines / made.parent.name
        place.mkdir()
        for file in made.parent.iterdir():
            if file.is_file() and file.name != "lock":
                (place / file.name).symlink_to(file)


@pytest.fixture(scope="module")
def behunt(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Behunt:
    behunt = Behunt.below(tmp_path_factory.mktemp("hunt"))
    booted_never(kept, sharing(behunt.home, kept))
    return behunt


def test_changes_of_the_kernel_are_found(behunt: Behunt) -> None:
    """From a first boot of each release, and then from what is kept of that."""
    words = ("--runner", "qemu", "--os", "debian", "--from", "11", "--to", "13", "--json")
    for body, (good, bad) in FLIPS.items():
        test = executable(behunt.place / "kernel-test.sh", body)
        done = behunt("bisect", *words, test)
        found = done.json
        assert (done.code, found["last_good"], found["first_bad"]) == (0, good, bad), body
        kernels = {trial["release"]: trial["kernel"] for trial in found["trials"]}
        for release, kernel in kernels.items():
            assert kernel.startswith(dict(zip(RELEASES, KERNELS, strict=True))[release])
    again = behunt("bisect", *words, "--fresh", test).json
    assert (again["last_good"], again["first_bad"]) == (good, bad)
    states = Home(behunt.home).machines.glob("*/state-*")
    assert len({state.parent for state in states}) == len(RELEASES)


def test_auto_takes_the_lightest_that_has_what_the_test_needs(behunt: Behunt) -> None:
    own_kernel = "qemu" if doubt() else "uml"
    for needs, runner in (("root", "namespace"), ("own_kernel", own_kernel), ("modules", "qemu")):
        done = behunt("run", "--needs", needs, "--json", "debian-12", "--", "true")
        assert (done.code, done.json["runner"]) == (0, runner)
