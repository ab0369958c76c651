"""Which control groups a machine has, and what is written to them: as values."""

from __future__ import annotations

from pathlib import Path

import pytest

from behunt.errors import HostError
from behunt.hosts.cgroups import Group, Hierarchies, hierarchies, settings
from behunt.model import Limits

# Rows of /proc/self/mountinfo (proc(5)) of three kinds of machine.
V2 = """
22 27 0:21 / /proc rw,nosuid shared:12 - proc proc rw
35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 \
rw,nsdelegate,memory_recursiveprot
"""
V1 = """
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
"""
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
ROOT = Path("/sys/fs/cgroup")
ALL = Limits(memory=1 << 20, processes=10, cpus=1.5)


def test_version_2() -> None:
    there = hierarchies(V2, "cpuset cpu io memory hugetlb pids rdma\n")
    assert (there.v1, there.v2) == ({}, ROOT)
    assert [there.version_of(name) for name in ("memory", "pids", "cpu", "rdma")] == [2, 2, 2, 2]
    assert settings(ALL, there) == {
        ("memory", "memory.max"): "1048576",
        ("pids", "pids.max"): "10",
        ("cpu", "cpu.max"): "150000 100000",
    }


def test_version_1() -> None:
    there = hierarchies(V1)
    assert there.v1 == {
        "cpu": ROOT / "cpu,cpuacct",
        "memory": ROOT / "memory",
        "pids": ROOT / "pids",
    }
    assert there.v2 is None
    assert settings(ALL, there) == {
        ("memory", "memory.limit_in_bytes"): "1048576",
        ("pids", "pids.max"): "10",
        ("cpu", "cpu.cfs_quota_us"): "150000",
    }


def test_hybrid_as_systemd_has_it_uses_version_1() -> None:
    there = hierarchies(V1 + UNIFIED, "")
    assert there.v2 == ROOT / "unified"
    assert [there.version_of(name) for name in ("memory", "pids", "cpu")] == [1, 1, 1]


def test_hybrid_with_controllers_on_both_sides() -> None:
    half = "\n".join(row for row in V1.splitlines() if "memory" not in row)
    there = hierarchies(f"{half}\n{UNIFIED}", "memory hugetlb")
    assert [there.version_of(name) for name in ("memory", "pids", "cpu")] == [2, 1, 1]
    assert set(settings(ALL, there)) == {
        ("memory", "memory.max"),
        ("pids", "pids.max"),
        ("cpu", "cpu.cfs_quota_us"),
    }


def test_a_mount_point_with_a_blank() -> None:
    row = r"9 1 0:9 / /my\040groups\134x rw - cgroup2 none rw"
    assert hierarchies(row, "pids").v2 == Path("/my groups\\x")


@pytest.mark.parametrize("mountinfo", ["", "\n", "22 27 0:21 / /proc rw - proc proc rw", "odd"])
def test_a_machine_without_groups_refuses_limits(mountinfo: str) -> None:
    there = hierarchies(mountinfo)
    assert there == Hierarchies()
    assert settings(Limits(), there) == {}
    for limits, name in (
        (Limits(memory=1), "memory"),
        (Limits(processes=1), "pids"),
        (Limits(cpus=1.0), "cpu"),
    ):
        with pytest.raises(HostError, match=f"cannot limit {name}") as refused:
            settings(limits, there)
        assert refused.value.hint


def test_only_what_is_limited_is_set() -> None:
    assert settings(Limits(processes=3, disk=9), hierarchies(V1)) == {("pids", "pids.max"): "3"}


@pytest.mark.parametrize(
    ("name", "text", "killed"),
    [
        ("memory.events", "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n", True),
        ("memory.events", "low 0\nhigh 0\nmax 12\noom 0\noom_kill 0\noom_group_kill 0\n", False),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", True),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", False),
        ("pids.events", "max 3\n", False),
    ],
)
def test_whether_something_was_killed_for_memory(
    tmp_path: Path,
    name: str,
    text: str,
    killed: bool,  # noqa: FBT001 - a column
) -> None:
    (tmp_path / name).write_text(text, encoding="ascii")
    assert Group((tmp_path,)).out_of_memory() is killed


def test_the_files_to_enter() -> None:
    group = Group((ROOT / "pids/behunt-1", ROOT / "memory/behunt-1"))
    assert group.procs == (
        "/sys/fs/cgroup/pids/behunt-1/cgroup.procs",
        "/sys/fs/cgroup/memory/behunt-1/cgroup.procs",
    )
