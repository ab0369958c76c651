"""The door by zfs(8): what it runs for each kind of ZFS, its scripts in real shells, what it reads.

The scripts meet small programs called `zfs`, `zpool` and so on, which answer as they are told; the
conformance suite of doors has the same scripts on real pools.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from behunt.errors import HostError
from behunt.hosts.local import LocalHost, Prefixed
from behunt.hosts.protocol import KEPT_OUTPUT, Completed
from behunt.storage.home import InUseError
from behunt.storage.zfs.commands import (
    Commands,
    clone_steps,
    create_steps,
    destroy_steps,
    pool_of,
    set_steps,
    snapshot_steps,
)
from behunt.storage.zfs.door import Dataset, Mount
from behunt.storage.zfs.faults import (
    BusyError,
    GoneError,
    PoolError,
    ReadOnlyError,
    TakenError,
    fault,
)
from behunt.storage.zfs.mounting import Flavour, directories, steps
from behunt.storage.zfs.scripts import Step, script
from behunt.storage.zfs.tables import (
    Mounted,
    below,
    parse_freebsd_mounts,
    parse_get,
    parse_linux_mounts,
)

SAID = Path(__file__).parents[1] / "transcripts" / "zfs-13.2.txt"
KERNELS = (Flavour.FREEBSD, Flavour.LINUX)


def done(found: Sequence[Step]) -> list[str]:
    return [" ".join(step.do) for step in found]


def undone(found: Sequence[Step]) -> list[str]:
    return [" ".join(step.undo) for step in found]


# -- what is run


def test_a_dataset_is_made_unmounted_unless_it_is_told_otherwise() -> None:
    found = create_steps([("p/be", {"mountpoint": "/"}), ("p/be/usr", {"canmount": "off"})])
    assert done(found) == [
        "zfs create -o canmount=noauto -o mountpoint=/ p/be",
        "zfs create -o canmount=off p/be/usr",
    ]
    assert undone(found) == ["gone zfs destroy p/be", "gone unplaced p/be p/be/usr"]


@pytest.mark.parametrize("flavour", KERNELS)
def test_snapshots_are_one_transaction(flavour: Flavour) -> None:
    assert done(snapshot_steps(["p/a@s", "p/a/b@s"], flavour)) == ["zfs snapshot p/a@s p/a/b@s"]
    assert snapshot_steps([], flavour) == []


def test_zfs_fuse_takes_snapshots_one_by_one() -> None:
    found = snapshot_steps(["p/a@s", "p/a/b@s"], Flavour.FUSE)
    assert done(found) == ["zfs snapshot p/a@s", "zfs snapshot p/a/b@s"]
    assert undone(found) == ["gone zfs destroy p/a@s", "gone zfs destroy p/a/b@s"]


@pytest.mark.parametrize("flavour", KERNELS)
def test_a_clone_has_its_properties_from_the_first(flavour: Flavour) -> None:
    found = clone_steps([("p/a@s", "p/b", {"mountpoint": "/", "setuid": "off"})], flavour)
    assert done(found) == ["zfs clone -o canmount=noauto -o mountpoint=/ -o setuid=off p/a@s p/b"]
    assert undone(found) == ["gone zfs destroy p/b"]


def test_zfs_fuse_is_told_of_canmount_when_it_cannot_mount_any_more() -> None:
    clones = [("p/a@s", "p/b", {"mountpoint": "/"}), ("p/a/c@s", "p/b/c", {"canmount": "on"})]
    assert done(clone_steps(clones, Flavour.FUSE)) == [
        "zfs clone -o canmount=off -o mountpoint=/ p/a@s p/b",
        "zfs set canmount=noauto p/b",
        "zfs clone -o canmount=off p/a/c@s p/b/c",
        "zfs set canmount=on p/b/c",
    ]


def test_nothing_is_destroyed_before_all_is_known_to_be_unmounted() -> None:
    assert done(destroy_steps(["p/a/b@s", "p/a/b", "p/a"])) == [
        "unmounted p/a/b p/a",
        "gone zfs set mountpoint=none p/a",
        "gone zfs destroy p/a/b@s",
        "gone zfs destroy p/a/b",
        "gone zfs destroy p/a",
    ]
    assert done(destroy_steps(["p/a@s"])) == ["gone zfs destroy p/a@s"]
    assert undone(destroy_steps(["p/a"])) == ["", ""]


@pytest.mark.parametrize("flavour", KERNELS)
def test_all_properties_of_all_datasets_are_set_at_once(flavour: Flavour) -> None:
    properties = {"behunt:state": "sealed", "readonly": "on"}
    assert done(set_steps(["p/a", "p/b"], properties, flavour)) == [
        "zfs set behunt:state=sealed readonly=on p/a p/b"
    ]
    assert set_steps([], properties, flavour) == set_steps(["p/a"], {}, flavour) == []


def test_zfs_fuse_sets_one_property_of_one_dataset() -> None:
    assert done(set_steps(["p/a", "p/b"], {"x:y": "1", "x:z": "2"}, Flavour.FUSE)) == [
        "zfs set x:y=1 p/a",
        "zfs set x:z=2 p/a",
        "zfs set x:y=1 p/b",
        "zfs set x:z=2 p/b",
    ]


NESTED = [Mount("p/be", "/mnt/be"), Mount("p/be/usr/home", "/mnt/be/usr/home")]


@pytest.mark.parametrize(
    ("flavour", "read_only", "mount"),
    [
        (Flavour.FREEBSD, False, "mount -t zfs p/be /mnt/be"),
        (Flavour.FREEBSD, True, "mount -t zfs -o ro p/be /mnt/be"),
        (Flavour.LINUX, False, "mount -t zfs -o zfsutil,nodev p/be /mnt/be"),
        (Flavour.LINUX, True, "mount -t zfs -o zfsutil,nodev,ro p/be /mnt/be"),
        (Flavour.FUSE, False, "fuse_mount nodev p/be /mnt/be"),
        (Flavour.FUSE, True, "fuse_mount nodev,ro p/be /mnt/be"),
    ],
)
def test_each_kind_is_mounted_in_its_way(flavour: Flavour, *, read_only: bool, mount: str) -> None:
    looked = not read_only and flavour in KERNELS
    assert done(list(steps(NESTED, flavour, read_only=read_only))) == [
        "directory /mnt/be mkdir -p",
        mount,
        *(["writable p/be"] if looked else []),
        "directory /mnt/be/usr mkdir -p",
        "directory /mnt/be/usr/home mkdir -p",
        mount.replace("/be", "/be/usr/home"),
        *(["writable p/be/usr/home"] if looked else []),
    ]


def test_what_only_root_may_do_is_elevated() -> None:
    found = list(steps(NESTED[:1], Flavour.LINUX, ("sudo", "-n"), read_only=False))
    assert done(found) == [
        "directory /mnt/be sudo -n mkdir -p",
        "sudo -n mount -t zfs -o zfsutil,nodev p/be /mnt/be",
        "writable p/be",
    ]
    assert undone(found) == ["", "patiently sudo -n umount /mnt/be", ""]


@pytest.mark.parametrize("directory", ["be", "/mnt/../etc", ""])
def test_a_directory_is_absolute_and_has_no_way_up(directory: str) -> None:
    with pytest.raises(HostError, match="cannot mount on"):
        directories(directory, [])


def test_the_pool_of_a_name() -> None:
    assert pool_of("zroot/behunt/a@b") == pool_of("zroot@b") == pool_of("zroot") == "zroot"


# -- scripts, in real shells


@dataclass
class Programs:
    """A host whose `sh` is a certain shell, and whose other programs answer as they are told."""

    directory: Path
    answers: dict[str, list[tuple[str, str, int]]]

    @property
    def host(self) -> Prefixed:
        return Prefixed(LocalHost(), ("env", f"PATH={self.directory}:{os.environ['PATH']}"))

    @property
    def ran(self) -> list[str]:
        log = self.directory / "log"
        return log.read_text().splitlines() if log.exists() else []

    def has(self, *names: str) -> None:
        """Programs that answer everything with success."""
        for name in names:
            self.answers.setdefault(name, [])
            self._write(name)

    def says(self, command: str, text: str, code: int = 1, *, times: str = "*") -> None:
        """The answer to `command` from now on, or only at the times of the pattern `times`."""
        name = command.split(maxsplit=1)[0]
        answer = (f"{times}:{shlex.quote(command)}", text, code)
        self.answers.setdefault(name, []).insert(0, answer)
        self._write(name)

    def _write(self, name: str) -> None:
        cases = "".join(
            f"{pattern}) echo {shlex.quote(text)} {'>&2' if code else ''}; exit {code};;\n"
            for pattern, text, code in self.answers[name]
        )
        log = shlex.quote(str(self.directory / "log"))
        program = self.directory / name
        program.write_text(
            f'#!/bin/sh\ncall="{name} $*"\nprintf "%s\\n" "$call" >>{log}\n'
            f'case $(grep -cxF -e "$call" {log}):$call in\n{cases}esac\n'
        )
        program.chmod(0o755)


def programs_in(directory: Path, shell: str) -> Programs:
    found = shutil.which(shell)
    assert found, f"the tests need {shell}"
    (directory / "sh").symlink_to(found)
    programs = Programs(directory, {})
    programs.has("zfs", "zpool")
    programs.says("zpool list -H -o health p", "ONLINE", 0)
    return programs


# yash runs an EXIT trap as FreeBSD's sh does: with the arguments of the function that has failed.
@pytest.fixture(params=["dash", "busybox", "yash"])
def programs(request: pytest.FixtureRequest, tmp_path: Path) -> Programs:
    return programs_in(tmp_path, request.param)


@pytest.fixture
def freebsd(tmp_path: Path) -> Programs:
    """As FreeBSD's sh has it: nothing is built in, and there is no /proc."""
    programs = programs_in(tmp_path, "dash")
    programs.has("mount", "umount", "sleep")
    programs.says("uname -s", "FreeBSD", 0)
    programs.says("cat /proc/self/mounts", "No such file or directory")
    programs.says("mount -p", transcript()["mount -p"].out.rstrip("\n"), 0)
    return programs


HOSTILE = ["it's", "$HOME", "`id`", '"', "a b", "*", "", "-n", "\\", "ü", "a\nb", "$(id)", ";"]


def test_no_name_is_read_as_shell(programs: Programs) -> None:
    steps = [Step(["printf", "<%s>", *HOSTILE])]
    said = programs.host.run(script("p", steps), check=True)
    assert said.out == "".join(f"<{word}>" for word in HOSTILE)


def test_what_fails_is_undone_in_reverse_and_nothing_follows(programs: Programs) -> None:
    steps = [
        Step(["echo", "1"], ["echo", "not 1"]),
        Step(["echo", "2"]),
        Step(["echo", "3"], ["echo", "not 3"]),
        Step(["sh", "-c", "exit 7"], ["echo", "not 4"]),
        Step(["echo", "5"], ["echo", "not 5"]),
    ]
    said = programs.host.run(script("p", steps))
    assert said.code == 7
    assert said.out.split("\n") == ["1", "2", "3", "not 3", "not 1", ""]
    assert said.err.endswith("pool health: ONLINE\n")


def test_what_fails_in_a_function_is_undone_as_well(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/nowhere")
    made = Step(["zfs", "make", "it's"], ["zfs", "undo", "it's"])
    refused = Step(["directory", str(tmp_path / "link"), "mkdir", "-p"])
    done = programs.host.run(script("p", [made, refused]))
    assert done.code == 1
    assert "not a directory" in done.err
    assert programs.ran[:2] == ["zfs make it's", "zfs undo it's"]


def test_more_steps_than_a_shell_has_digits(programs: Programs) -> None:
    steps = [Step(["echo", str(number)], ["echo", f"not {number}"]) for number in range(30)]
    said = programs.host.run(script("p", [*steps, Step(["false"])])).out.splitlines()
    assert said == [str(n) for n in range(30)] + [f"not {n}" for n in reversed(range(30))]


def test_what_is_busy_is_tried_again(programs: Programs) -> None:
    programs.says("zfs rename p/a p/b", "cannot rename 'p/a': dataset is busy", times="[12]")
    Commands(programs.host).rename("p/a", "p/b")
    assert programs.ran.count("zfs rename p/a p/b") == 3


def test_what_stays_busy_is_given_up(freebsd: Programs) -> None:
    freebsd.says("zfs rename p/a p/b", "cannot rename 'p/a': dataset is busy")
    with pytest.raises(BusyError, match="dataset is busy"):
        Commands(freebsd.host).rename("p/a", "p/b")
    assert freebsd.ran.count("zfs rename p/a p/b") == 20
    assert freebsd.ran.count("sleep 0.1") == 19


def test_a_name_with_busy_in_it_is_not_busy(programs: Programs) -> None:
    programs.says("zfs destroy p/busybox", "cannot destroy 'p/busybox': filesystem has children")
    with pytest.raises(InUseError, match="has children"):
        Commands(programs.host).destroy(["p/busybox"])
    assert programs.ran.count("zfs destroy p/busybox") == 1


def gone(what: str) -> str:
    return f"cannot open '{what}': dataset does not exist"


def test_what_is_gone_is_destroyed_released_and_unheld(programs: Programs) -> None:
    programs.says("zfs destroy p/a", gone("p/a"))
    programs.says("zfs destroy p/a@s", "could not find any snapshots to destroy; check snapshot")
    programs.says("zfs release t p/a@s", "cannot release 't' from 'p/a@s': no such tag on this")
    door = Commands(programs.host)
    door.destroy(["p/a@s", "p/a"])
    door.release(["p/a@s"], "t")
    assert [line for line in programs.ran if line.startswith("zfs")] == [
        "zfs destroy p/a@s",
        "zfs destroy p/a",
        *("zfs release t p/a@s", "zfs release t p/a@s"),  # all at once, then each by itself
    ]


def test_nothing_else_may_be_gone(programs: Programs) -> None:
    for command in (
        "rename p/a p/b",
        "rollback p/a@s",
        "promote p/a",
        "hold t p/a@s",
        "set x:y=1 p/a",
        "create -o canmount=noauto p/a",
        "snapshot p/a@s",
        "clone -o canmount=noauto p/a@s p/b",
    ):
        programs.says(f"zfs {command}", gone("p/a"))
    door = Commands(programs.host)
    does: list[Callable[[], object]] = [
        lambda: door.rename("p/a", "p/b"),
        lambda: door.rollback(["p/a@s"]),
        lambda: door.promote("p/a"),
        lambda: door.hold(["p/a@s"], "t"),
        lambda: door.set(["p/a"], {"x:y": "1"}),
        lambda: door.create([("p/a", {})]),
        lambda: door.snapshot(["p/a@s"]),
        lambda: door.clone([("p/a@s", "p/b", {})]),
    ]
    for do in does:
        with pytest.raises(GoneError, match="'p/a': dataset does not exist"):
            do()


def test_what_a_pool_took_along_is_not_gone(programs: Programs) -> None:
    programs.says("zfs destroy q/a", gone("q/a"))
    programs.says("zpool list -H -o health q", "cannot open 'q': no such pool")
    with pytest.raises(PoolError, match="the pool q is not there"):
        Commands(programs.host).destroy(["q/a"])


def test_a_hold_that_holds_already_is_fine(programs: Programs) -> None:
    programs.says("zfs hold t p/a@s", "cannot hold snapshot 'p/a@s': tag already exists on this")
    programs.says("zfs hold t p/b@s", "cannot hold snapshot 'p/b@s': permission denied")
    programs.says("zfs hold t p/a@s p/b@s", "cannot hold snapshot 'p/b@s': permission denied")
    door = Commands(programs.host)
    door.hold(["p/a@s"], "t")
    with pytest.raises(HostError, match="you may not do this"):
        door.hold(["p/a@s", "p/b@s"], "t")


def test_a_pool_may_have_any_number_of_datasets(programs: Programs) -> None:
    row = "p/{n}\ttype\tfilesystem\t-"
    rows = "\n".join(row.format(n=f"{n:0100}") for n in range(KEPT_OUTPUT // 100))
    (programs.directory / "zfs").write_text(f"#!/bin/sh\ncat <<'end'\n{rows}\nend\n")
    assert len(Commands(programs.host).datasets("p")) == KEPT_OUTPUT // 100


def test_a_door_asks_nothing_of_a_host_for_nothing(programs: Programs) -> None:
    door = Commands(programs.host)
    door.create([])
    door.destroy([])
    door.hold([], "t")
    door.mount([])
    assert programs.ran == []


def test_what_is_mounted_on_freebsd_is_neither_destroyed_nor_renamed(freebsd: Programs) -> None:
    door = Commands(freebsd.host)
    for name in ("zroot/behunt/test", "zroot/behunt/test/usr", "zroot/behunt"):
        with pytest.raises(InUseError, match="is mounted, or something below it"):
            door.destroy([name])
        with pytest.raises(InUseError, match="is mounted, or something below it"):
            door.rename(name, "zroot/behunt/x")
    door.destroy(["zroot/behunt/tes"])
    assert [line for line in freebsd.ran if line.startswith("zfs")] == [
        "zfs destroy zroot/behunt/tes"
    ]


def test_what_freebsd_mounted_read_only_is_unmounted_again(
    freebsd: Programs, tmp_path: Path
) -> None:
    at = tmp_path / "mnt"
    table = f"zroot/be\t{at}\t\tzfs\tro,noatime,nfsv4acls \t0 0"
    freebsd.says("mount -p", table, 0)
    with pytest.raises(ReadOnlyError, match="'zroot/be' is mounted read-only"):
        Commands(freebsd.host).mount([Mount("zroot/be", str(at))])
    assert f"mount -t zfs zroot/be {at}" in freebsd.ran
    assert f"umount {at}" in freebsd.ran


def test_unmounted_on_freebsd_from_the_inside_out(freebsd: Programs) -> None:
    door = Commands(freebsd.host)
    assert door.mounted()[0] == Mount("zroot/behunt/test", "/be/test")
    door.umount(["/be/test/usr", "/be/test"])
    assert [line for line in freebsd.ran if line.startswith("umount")] == [
        "umount /be/test/usr",
        "umount /be/test/var",
        "umount /be/test/tmp",
        "umount /be/test",
    ]


def test_what_was_unmounted_meanwhile_is_done(freebsd: Programs) -> None:
    freebsd.says("umount /be/test/usr", "umount: /be/test/usr: not a file system root directory")
    Commands(freebsd.host).umount(["/be/test/usr", "/be/test/var"])
    assert freebsd.ran[-1] == "umount /be/test/var"


def test_what_is_no_pool_s_and_busy_is_busy(freebsd: Programs) -> None:
    freebsd.says("umount /dev", transcript()["umount /be/run1"].err.replace("/be/run1", "/dev"))
    freebsd.says("zpool list -H -o health devfs", "cannot open 'devfs': no such pool")
    with pytest.raises(BusyError, match="unmount of /dev failed: Device busy"):
        Commands(freebsd.host).umount(["/dev"])


# -- what is read


def transcript() -> dict[str, Completed]:
    """Each command of it, as FreeBSD 13.2 answered it."""
    found = {}
    for part in SAID.read_text().removeprefix("# ").split("\n# "):
        command, _, rest = part.partition("\n")
        text, _, status = rest.rpartition("(exit status ")
        code = int(status.strip().rstrip(")"))
        out, err = ("", text) if code else (text, "")
        found[command] = Completed(tuple(command.split()), code, out, err)
    return found


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("zfs destroy zroot/behunt/test@installed", InUseError),
        ("zfs destroy -r zroot/behunt/test", InUseError),
        ("zfs destroy zroot/behunt/nosuch", GoneError),
        ("zfs create zroot/nosuch/child", GoneError),
        ("zfs create zroot/behunt/test", TakenError),
        ("umount /be/run1", BusyError),
    ],
)
def test_what_freebsd_says_is_told_apart(command: str, error: type[HostError]) -> None:
    said = transcript()[command]
    found = fault(said, "zroot")
    assert type(found) is error
    assert found.message == said.err.splitlines()[0]


def test_an_option_that_is_not_there_yet() -> None:
    assert fault(transcript()["zfs list -j"], "zroot").message.startswith("this ZFS is too old")


def test_a_pool_that_does_not_answer() -> None:
    late = Completed(("zfs",), -9, seconds=120.0, timed_out=True)
    assert fault(late, "zroot").message == "the pool zroot did not answer in 120 s"


def test_mounts_of_freebsd_are_read_and_ordered() -> None:
    table = parse_freebsd_mounts(transcript()["mount -p"].out)
    assert [one.fstype for one in table] == ["ufs", "devfs", "zfs", "zfs", "zfs", "zfs"]
    assert [one.directory for one in below(table, "/be/test")] == [
        "/be/test/var",
        "/be/test/usr",
        "/be/test/tmp",
        "/be/test",
    ]
    assert list(below(table, "/be/tes")) == []
    long = "zroot/behunt/a-long-name /var/run/behunt/a b zfs rw 0 0\n"
    assert parse_freebsd_mounts(long) == [
        Mounted("zroot/behunt/a-long-name", "/var/run/behunt/a b", "zfs")
    ]


def test_mounts_of_linux_are_unescaped() -> None:
    text = "p/a\\040b /mnt/a\\040b\\134c\\011d zfs rw 0 0\nnone /dev tmpfs rw 0 0\n"
    zfs, tmpfs = parse_linux_mounts(text)
    assert zfs == Mounted("p/a b", "/mnt/a b\\c\td", "zfs")
    assert (zfs.is_zfs, tmpfs.is_zfs) == (True, False)


def row(name: str, key: str, value: str, source: str = "-") -> str:
    return f"{name}\t{key}\t{value}\t{source}\n"


def test_properties_are_read_with_whose_they_are() -> None:
    name = "zroot/behunt/test"
    asked = "zfs get -Hp -o name,property,value,source behunt:release zroot/behunt/test"
    text = (
        row(f"{name}@a", "type", "snapshot")
        + row(f"{name}-2", "type", "volume")
        + row(f"{name}#mark", "type", "bookmark")
        + row(f"{name}/usr", "type", "filesystem")
        + row(f"{name}/usr", "behunt:owner", "1", f"inherited from {name}")
        + row(name, "type", "filesystem")
        + row(name, "behunt:owner", "1", "received")
        + transcript()[asked].out
    )
    found = parse_get(text)
    assert [one.name for one in found] == [name, f"{name}@a", f"{name}/usr", f"{name}-2"]
    release = {"behunt:release": "freebsd-13.2-amd64"}
    properties = {"type": "filesystem", "behunt:owner": "1", **release}
    assert found[0] == Dataset(name, properties, frozenset({"behunt:release"}))
    assert found[0].local("behunt:owner") == found[2].local("behunt:owner") == ""


def test_a_property_of_two_lines_is_not_misread() -> None:
    with pytest.raises(HostError, match="what is not a property"):
        parse_get(row("p/a", "x:y", "1\nzroot\ttype"))
