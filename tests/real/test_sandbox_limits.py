"""Control groups around a sandbox, on whatever this machine has mounted."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_root import tiny_root

from behunt.errors import HostError
from behunt.hosts import cgroups
from behunt.hosts.confined import Confined
from behunt.hosts.sandbox import ALL_NAMESPACES, Sandbox
from behunt.model import Limits

pytestmark = pytest.mark.real


@pytest.fixture
def owner() -> Iterator[str]:
    """Its groups are gone in the end, whatever the test did."""
    name = uuid.uuid4().hex[:8]
    yield name
    assert [path for path in cgroups.leftovers(cgroups.found()) if name in path.name] == []


@pytest.fixture(params=["namespaces", "tree"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Sandbox:
    if request.param == "tree":
        return Sandbox()
    (tmp_path / "stage").mkdir()
    root = str(tiny_root(tmp_path / "root"))
    return Sandbox(ALL_NAMESPACES, lower=(root,), stage=str(tmp_path / "stage"), tame=True)


def test_what_takes_too_much_memory_is_killed(box: Sandbox, owner: str) -> None:
    hog = ["awk", 'BEGIN { x = "0123456789abcdef"; while (1) x = x x }']
    with (
        cgroups.limited(Limits(memory=32 << 20), owner) as group,
        Confined(replace(box, groups=group.procs)) as inside,
    ):
        assert inside.run(["true"]).code == 0
        assert not group.out_of_memory()
        assert inside.run(hog).code == -9
        assert group.out_of_memory()
        assert inside.run(["echo", "next"]).out == "next\n"


def test_too_many_processes_are_refused(box: Sandbox, owner: str) -> None:
    many = "n=0; while [ $n -lt 40 ]; do sleep 1000 & n=$((n+1)); done; echo all"
    with (
        cgroups.limited(Limits(processes=16), owner) as group,
        Confined(replace(box, groups=group.procs)) as inside,
    ):
        refused = inside.run(["sh", "-c", many])
        assert (refused.code == 0, "all" in refused.out) == (False, False)
        assert "fork" in refused.err
        assert inside.run(["true"]).code == 0  # entered from outside: allowed


def test_a_bomb_without_end_is_held_and_killed(box: Sandbox, owner: str) -> None:
    with (
        cgroups.limited(Limits(processes=64), owner) as group,
        Confined(replace(box, groups=group.procs)) as inside,
    ):
        bomb = inside.run(["sh", "-c", "b() { while :; do b & done; }; b"], timeout=0.5)
        assert bomb.timed_out or bomb.code != 0
        assert inside.run(["echo", "next"]).out == "next\n"


def test_processor_time_is_rationed(box: Sandbox, owner: str) -> None:
    busy = ["sh", "-c", "n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done"]
    with (
        cgroups.limited(Limits(cpus=0.2), owner) as group,
        Confined(replace(box, groups=group.procs)) as inside,
    ):
        assert inside.run(busy, timeout=300).code == 0
        rows = "".join((d / "cpu.stat").read_text("ascii") for d in group.directories)
    counted = dict(row.split() for row in rows.splitlines())
    assert int(counted["nr_throttled"]) > 0


def test_all_limits_at_once(box: Sandbox, owner: str) -> None:
    limits = Limits(memory=64 << 20, processes=64, cpus=1.5)
    with cgroups.limited(limits, owner) as group:
        assert group.procs
        for directory in group.directories:
            assert directory.is_dir()
        with Confined(replace(box, groups=group.procs)) as inside:
            script = "cat /proc/self/cgroup 2>/dev/null || true"
            joined = inside.run(["sh", "-c", script], check=True).out
        if box.namespaces or joined:
            assert f"{cgroups.PREFIX}{owner}" in joined


def test_without_limits_there_is_no_group(owner: str) -> None:
    with cgroups.limited(Limits(), owner) as group:
        assert group.directories == ()
        assert not group.out_of_memory()


def test_an_error_of_the_body_is_not_taken_for_one_of_the_groups(owner: str) -> None:
    with pytest.raises(FileNotFoundError), cgroups.limited(Limits(processes=8), owner):
        Path("/no/such/file").read_text(encoding="ascii")


def test_a_limit_that_the_kernel_refuses_is_one_clear_error(owner: str) -> None:
    with (
        pytest.raises(HostError, match=r"cannot set cpu.* for a control group: Invalid"),
        cgroups.limited(Limits(processes=8, cpus=1e-9), owner),
    ):
        pytest.fail("the limit was taken")
