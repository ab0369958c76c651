"""`behunt doctor` on this machine, and on poorer ones that it is made into."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from behunt_cli import COMMAND, Behunt

from behunt.drive.doctor import checks
from behunt.drive.doctor_machine import Machine
from behunt.model import Check

pytestmark = pytest.mark.real

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
NO_MOUNTS = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")


@pytest.fixture
def behunt(tmp_path: Path) -> Behunt:
    return Behunt(tmp_path, tmp_path / "home")


def examined(behunt: Behunt, *prefix: str) -> tuple[int, dict[str, Check]]:
    """Exit code and checks by name, of a doctor started with `prefix` before it."""
    done = subprocess.run(
        [*prefix, *COMMAND, "doctor", "--json"],
        env=behunt.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout, done.stderr
    return done.returncode, by_name([Check(**row) for row in json.loads(done.stdout)])


def by_name(found: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in found}


def lacking(found: Mapping[str, Check]) -> set[str]:
    return {name for name, check in found.items() if not check.ok and not check.optional}


def test_a_machine_that_has_all_is_told_so_and_is_left_as_it_was(behunt: Behunt) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    code, found = examined(behunt)
    assert (code, lacking(found)) == (0, set())
    for name in ("home", "overlay", "none", "chroot", "namespace", "mmdebstrap", "tree"):
        assert found[name].ok, found[name]
    assert "isolation" in found["namespace"].detail
    assert all(check.ok or check.fix for check in found.values() if check.name != "wake-on-lan")
    assert not behunt.home.exists()
    assert list(behunt.place.iterdir()) == []
    assert Path("/proc/self/mounts").read_text() == mounts


def test_a_container_without_mounts_is_told_how_to_start_it(behunt: Behunt) -> None:
    code, found = examined(behunt, *NO_MOUNTS)
    assert code == 1
    assert {"overlay", "chroot", "namespace", "mmdebstrap"} <= lacking(found)
    assert "not permitted" in found["namespace"].detail
    assert "--privileged" in found["namespace"].fix
    assert found["none"].ok


def test_a_user_is_told_to_be_root(behunt: Behunt) -> None:
    code, found = examined(behunt, *NOBODY)
    assert code == 1
    assert {"home", "overlay", "namespace", "mmdebstrap"} <= lacking(found)
    assert found["namespace"].fix == "sudo behunt doctor"
    assert "cannot write" in found["home"].detail
    assert "BEHUNT_HOME" in found["home"].fix


def test_missing_programs_come_with_the_command_that_brings_them(tmp_path: Path) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    found = by_name(checks(tmp_path / "home", machine=Machine("debian", path=str(bare))))
    assert found["mmdebstrap"].fix == "apt install mmdebstrap tar zstd"
    assert found["dnsmasq"].fix == "apt install dnsmasq-base"
    assert found["qemu"].optional
    assert found["sets"].fix == "apt install libarchive-tools"
    assert found["signify"].fix == "apt install signify-openbsd signify-openbsd-keys"
    assert found["sets"].optional
    assert found["signify"].optional
    assert found["namespace"].ok, "what is tried does not look for programs there"
    found = by_name(checks(tmp_path / "home", machine=Machine("freebsd", path=str(bare))))
    assert found["dnsmasq"].fix == "pkg install dnsmasq"
    assert found["signify"].fix == "pkg install signify"
    assert found["pkg"].fix == "pkg bootstrap"
    assert found["vnet"].optional


def test_what_is_broken_in_one_area_does_not_hide_the_others(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "results.db").write_text("this is no database")
    found = by_name(checks(home))
    broken = found["results"]
    assert not broken.ok
    assert broken.fix
    assert found["namespace"].ok


def test_the_mirrors_are_asked_only_online(tmp_path: Path) -> None:
    found = by_name(checks(tmp_path))
    assert "answers" not in found["mirror"].detail
    assert "openbsd" not in found
    found = by_name(checks(tmp_path, online=True))
    assert "it answers" in found["mirror"].detail
    for os in ("freebsd", "netbsd", "openbsd"):
        assert found[os].ok != bool(found[os].fix)
        assert f".{os}.org" in found[os].detail


def test_what_sets_need_is_tried(behunt: Behunt) -> None:
    found = examined(behunt)[1]
    assert found["sets"].detail.startswith("bsdtar; releases: ")
    assert " of openbsd" in found["sets"].detail
    assert found["signify"].ok
    assert found["signify"].detail.startswith("signify-openbsd, with the keys of ")


def test_machines_are_told_what_they_run_on(behunt: Behunt) -> None:
    found = examined(behunt)[1]
    assert found["qemu"].ok
    assert "own_kernel" in found["qemu"].detail
    assert found["emulator"].detail.startswith("QEMU ")
    assert "machines are emulated: " in found["kvm"].detail or found["kvm"].ok
    assert found["debian disk"].ok
    assert " releases of freebsd" in found["freebsd disk"].detail


OLD_QEMU = """#!/bin/sh
case $1 in
    --version) echo "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)" ;;
    -help) printf 'usage\\n-sandbox on\\n' ;;
esac
"""


def test_a_qemu_that_crashes_new_kernels_is_told_of(behunt: Behunt) -> None:
    """A QEMU of Debian 12, as far as doctor asks it, where there is no /dev/kvm."""
    old = behunt.place / "qemu-system-x86_64"
    old.write_text(OLD_QEMU)
    old.chmod(0o755)
    mounted = f'mount --bind {old} "$(command -v {old.name})" && exec "$@"'
    found = examined(behunt, "unshare", "--mount", "sh", "-c", mounted, "sh")[1]
    assert not found["emulator"].ok
    assert "QEMU 7.2.22 crashes its kernel at random: 10 or later" in found["emulator"].detail
    assert found["emulator"].detail.startswith("debian 13")
    assert "bookworm-backports" in found["emulator"].fix
    assert found["qemu"].ok
