"""A sandbox as a value: mount options, and the line that can be pasted."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt.errors import HostError
from behunt.hosts.local import LocalHost, chroot, line, namespace, permissions
from behunt.hosts.protocol import Completed, checked
from behunt.hosts.sandbox import ALL_NAMESPACES, Bind, Sandbox, by_hand, overlay_options

OVERLAY = Sandbox(ALL_NAMESPACES, lower=("/top", "/bottom"), stage="/stage")
HOSTILE = ["two words", "it's", "$HOME", "a;b", "new\nline", "", "-n", "ü"]


def test_changes_go_to_the_stage_or_to_the_disk() -> None:
    assert overlay_options(OVERLAY) == "lowerdir=/top:/bottom,upperdir=/stage/u,workdir=/stage/w"
    on_disk = Sandbox(lower=("/l",), upper="/disk/u", work="/disk/w", stage="/stage")
    assert overlay_options(on_disk) == "lowerdir=/l,upperdir=/disk/u,workdir=/disk/w"


def test_an_overlay_that_is_exported_has_file_handles() -> None:
    exported = Sandbox(lower=("/l",), stage="/s", exported=True)
    assert overlay_options(exported) == (
        "lowerdir=/l,upperdir=/s/u,workdir=/s/w,index=on,nfs_export=on,xino=on"
    )


def test_signs_of_the_option_syntax_are_escaped() -> None:
    odd = Sandbox(lower=("/a:b", "/c,d\\e"), upper="/u:,", work="/w", stage="/s")
    assert overlay_options(odd) == ("lowerdir=/a\\:b:/c\\,d\\\\e,upperdir=/u\\:\\,,workdir=/w")


def unescaped_layers(options: str) -> list[str]:
    """As the kernel reads lowerdir=: a backslash takes the next sign as it is."""
    layers, signs = [""], iter(options.removeprefix("lowerdir="))
    for sign in signs:
        if sign == "\\":
            layers[-1] += next(signs)
        elif sign == ",":
            break
        elif sign == ":":
            layers.append("")
        else:
            layers[-1] += sign
    return layers


PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1)


@given(st.lists(PATHS, min_size=1, max_size=4))
def test_every_layer_arrives_as_it_is(layers: list[str]) -> None:
    options = overlay_options(Sandbox(lower=tuple(layers), stage="/s"))
    assert unescaped_layers(options) == layers


def test_what_the_spawner_gets_is_the_sandbox_and_its_options() -> None:
    box = Sandbox(("mount",), lower=("/l",), stage="/s", binds=(Bind("/from", "/to"),))
    message = box.to_message()
    assert message["namespaces"] == ("mount",)
    assert message["overlay"] == overlay_options(box)
    assert message["binds"] == [{"source": "/from", "target": "/to", "read_only": False}] or (
        message["binds"] == ({"source": "/from", "target": "/to", "read_only": False},)
    )
    assert Sandbox().to_message()["overlay"] == ""


def test_without_a_sandbox_the_line_is_the_command() -> None:
    assert by_hand(Sandbox(), ["echo", "it's"]) == "echo 'it'\"'\"'s'"
    assert by_hand(Sandbox(tame=True, groups=("/g",)), ["true"]) == "true"
    assert by_hand(Sandbox(), ["make", "it"], "/my dir") == (
        "sh -c 'cd '\"'\"'/my dir'\"'\"' && exec make it'"
    )


def test_a_chroot_by_hand() -> None:
    assert by_hand(Sandbox(root="/root dir"), ["true"]) == (
        "sh -ec 'exec chroot '\"'\"'/root dir'\"'\"' true'"
    )


def script_of(text: str) -> list[str]:
    """The steps of a line made of unshare(1) and one script."""
    words = shlex.split(text)
    assert words[: words.index("sh")] == [
        "unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child",
    ]  # fmt: skip
    assert words[-3:-1] == ["sh", "-ec"]
    return words[-1].split("; ")


def test_an_overlay_by_hand() -> None:
    steps = script_of(by_hand(OVERLAY, ["true"]))
    assert steps[0] == "mount -t tmpfs -o mode=755 tmpfs /stage"
    assert steps[2] == (
        "mount -t overlay -o lowerdir=/top:/bottom,upperdir=/stage/u,workdir=/stage/w "
        "overlay /stage/m"
    )
    assert "mount -t proc proc /stage/m/proc" in steps
    assert steps[-1] == "exec chroot /stage/m true"


def test_what_is_bound_limited_and_named_is_there_by_hand() -> None:
    box = Sandbox(
        ALL_NAMESPACES,
        lower=("/l",),
        stage="/s",
        size=4096,
        hostname="name",
        binds=(Bind("/from here", "/to", read_only=True), Bind("/b", "/c")),
    )
    steps = script_of(by_hand(box, ["true"]))
    assert "mount -t tmpfs -o mode=755,size=4096 tmpfs /s" in steps
    assert "mount --bind '/from here' /s/m/to" in steps
    assert "mount -o remount,bind,ro /s/m/to" in steps
    assert "mount -o remount,bind,ro /s/m/c" not in steps
    assert "echo name >/proc/sys/kernel/hostname" in steps


@pytest.mark.parametrize("argument", HOSTILE)
def test_an_argument_survives_both_shells(argument: str) -> None:
    (script,) = shlex.split(by_hand(OVERLAY, ["echo", argument]))[-1:]
    assert shlex.split(script.rpartition("exec ")[2]) == ["chroot", "/stage/m", "echo", argument]


def test_prefixes_compose() -> None:
    outer = chroot(LocalHost(), PurePosixPath("/one"))
    assert outer.wrap(["true"]) == ["chroot", "/one", "true"]
    assert chroot(outer, PurePosixPath("/two")).wrap(["it's"]) == [
        "chroot", "/one", "chroot", "/two", "it's",
    ]  # fmt: skip
    assert namespace(LocalHost(), PurePosixPath("/r"), ("pid", "net")).wrap(["true"]) == [
        "unshare", "--pid", "--net", "--fork", "--kill-child", "--mount-proc", "--root=/r", "true",
    ]  # fmt: skip


def test_a_host_with_a_sandbox_shows_how_to_enter_it() -> None:
    box = Sandbox(("mount", "pid"))
    assert LocalHost(box).wrap(["id"]) == shlex.split(by_hand(box, ["id"]))


def test_a_command_as_a_line() -> None:
    assert line(["echo", "a b"]) == "echo 'a b'"
    assert line(["make"], "/my dir") == "cd '/my dir' && make"


@pytest.mark.parametrize(
    ("listing", "mode"),
    [
        ("-rwxr-x--- 1 0 0 5 Nov 14 10:00 /f", 0o750),
        ("-rw-r--r--. 1 root wheel 5 /f", 0o644),
        ("---------- 1 0 0 5 /f", 0),
        ("-rwsr-Sr-t 1 0 0 5 /f", 0o745),  # what no copy is given: set-uid, set-gid, sticky
        ("-rwSr-xr-T 1 0 0 5 /f", 0o654),
    ],
)
def test_permissions_of_a_listing(listing: str, mode: int) -> None:
    assert oct(permissions(listing)) == oct(mode)


@pytest.mark.parametrize(
    ("ended", "how"),
    [
        (Completed(("x",), 0), "exit 0"),
        (Completed(("x",), 77), "exit 77"),
        (Completed(("x",), -11), "killed by SIGSEGV"),
        (Completed(("x",), -60), "killed by signal 60"),
        (Completed(("x",), -9, timed_out=True, seconds=5.01), "timed out after 5 s"),
        (Completed(("x",), 127, started=False, failure="cannot execute x"), "cannot execute x"),
    ],
)
def test_how_a_command_ended(ended: Completed, how: str) -> None:
    assert ended.how == how


def test_checked_says_the_command_how_it_ended_and_its_last_line() -> None:
    with pytest.raises(HostError) as failed:
        checked(Completed(("cp", "a b"), 1, out="o\n", err="first\nlast\n"))
    assert failed.value.message == "`cp 'a b'` failed (exit 1): last"
    missing = Completed(("/sbin/zfs",), 127, started=False, failure="cannot", errno=2)
    with pytest.raises(HostError) as failed:
        checked(missing)
    assert failed.value.hint == "install the program that provides `zfs`"
    good = Completed(("true",), 0)
    assert checked(good) is good
