"""The line that can be pasted does what the sandbox does."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_root import tiny_root

from behunt.hosts.confined import Confined
from behunt.hosts.protocol import CLEAN_ENV
from behunt.hosts.sandbox import ALL_NAMESPACES, Bind, Sandbox, by_hand

pytestmark = pytest.mark.real

SCRIPT = """
    pwd; hostname; echo err >&2; cat /shared/given; echo x >/dev/null; echo x >>/etc/changed
    cd /dev && ls -d null zero full random urandom tty fd stdin stdout stderr pts shm
    cd /proc && set -- "$1" [0-9]* && [ $# -lt 6 ]; echo $?; [ -e /sys/class/net/lo ]; echo $?
    touch /shared/new; echo "$1"; exit 3
"""


@pytest.fixture
def box(tmp_path: Path) -> Sandbox:
    for name in ("stage", "it's $shared"):
        (tmp_path / name).mkdir()
    shared = tmp_path / "it's $shared"
    (shared / "given").write_text("given\n", encoding="ascii")
    return Sandbox(
        ALL_NAMESPACES,
        lower=(str(tiny_root(tmp_path / "it's: a, root")),),
        stage=str(tmp_path / "stage"),
        size=8 << 20,
        binds=(Bind(str(shared), "/shared"),),
        hostname="inside",
        tame=True,
    )


def pasted(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, env=CLEAN_ENV, check=False
    )


@pytest.mark.parametrize("kind", ["overlay", "directory", "no net", "upper"])
@pytest.mark.parametrize("cwd", ["/", "/tmp"])
def test_it_is_the_same_run(box: Sandbox, tmp_path: Path, kind: str, cwd: str) -> None:
    argv = ["sh", "-c", SCRIPT, "sh", 'it\'s $HOME; `id` \\ "x"\n2']
    if kind == "directory":
        box = replace(box, root=box.lower[0], lower=(), size=0)
    elif kind == "no net":
        box = replace(box, namespaces=("mount", "pid", "uts", "ipc"))
    elif kind == "upper":
        for part in ("up,per", "wo:rk"):
            (tmp_path / part).mkdir()
        box = replace(box, upper=str(tmp_path / "up,per"), work=str(tmp_path / "wo:rk"))
    line = by_hand(box, argv, cwd)
    by_paste = pasted(line)
    assert by_paste.returncode == 3, by_paste.stderr
    assert (Path(box.binds[0].source) / "new").exists()
    assert list(Path(box.stage).iterdir()) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    with Confined(box) as inside:
        ran = inside.run(argv, cwd=cwd)
    assert (by_paste.returncode, by_paste.stdout, by_paste.stderr) == (ran.code, ran.out, ran.err)


@pytest.mark.parametrize("box", [Sandbox(), Sandbox(("mount", "pid", "uts", "ipc"))])
def test_without_a_root_it_is_this_machine(box: Sandbox, tmp_path: Path) -> None:
    argv = ["sh", "-c", "pwd; echo $$ >pid; exit 4"]
    by_paste = pasted(by_hand(box, argv, str(tmp_path)))
    assert (by_paste.returncode, by_paste.stdout) == (4, f"{tmp_path}\n")
    assert ((tmp_path / "pid").read_text(encoding="ascii") == "1\n") == ("pid" in box.namespaces)


def test_a_chroot(tmp_path: Path) -> None:
    box = Sandbox(root=str(tiny_root(tmp_path / "it's a root")))
    by_paste = pasted(by_hand(box, ["sh", "-c", "pwd; ls /; exit 4"], "/tmp"))
    assert by_paste.returncode == 4
    assert by_paste.stdout.split() == ["/tmp", "bin", "dev", "etc", "proc", "root", "sys", "tmp"]
