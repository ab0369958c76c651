"""This machine, and the prefixes that make another place out of any host."""

from __future__ import annotations

import shlex
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from behunt.errors import HostError
from behunt.hosts.confined import Confined, copying
from behunt.hosts.protocol import Completed, Host, Sink, Stdin, checked
from behunt.hosts.sandbox import ALL_NAMESPACES, Sandbox, by_hand

_PLAIN = Sandbox()


@dataclass(frozen=True)
class LocalHost:
    """The controller itself. Each command is the root of a tree that is killed as a whole.

    With a `sandbox` every command gets a fresh one: an installer that mounts can be given a
    mount namespace of its own, and leaves nothing behind whatever becomes of it.
    """

    sandbox: Sandbox = _PLAIN
    name: str = "local"

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: Stdin = b"",
        timeout: float = 60.0,
        check: bool = False,
        sink: Sink | None = None,
    ) -> Completed:
        with Confined(self.sandbox, self.name) as inside:
            return inside.run(
                argv, env=env, cwd=cwd, stdin=stdin, timeout=timeout, check=check, sink=sink
            )

    def put(self, source: Path, target: PurePosixPath) -> None:
        _copied(source, Path(target))

    def get(self, source: PurePosixPath, target: Path) -> None:
        _copied(Path(source), target)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return shlex.split(by_hand(self.sandbox, argv))


def _copied(source: Path, target: Path) -> None:
    with copying(source, target):
        for path in (source, target):
            if path.exists() and not path.is_file():
                raise HostError(f"{path} is not a regular file")
        shutil.copy(source, target)


# `$1` is the directory to work in, the rest the command: sh is in every system and era.
_IN_DIRECTORY = ("sh", "-c", 'cd "$1" && shift && exec "$@"', "sh")


@dataclass(frozen=True)
class Prefixed:
    """A host reached by putting words before the command on another host."""

    outer: Host
    prefix: tuple[str, ...]
    name: str = field(default="prefixed")

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: Stdin = b"",
        timeout: float = 60.0,
        check: bool = False,
        sink: Sink | None = None,
    ) -> Completed:
        command = list(argv) if cwd == "/" else [*_IN_DIRECTORY, cwd, *argv]
        done = self.outer.run(
            [*self.prefix, *command], env=env, stdin=stdin, timeout=timeout, sink=sink
        )
        return checked(done) if check else done

    def put(self, source: Path, target: PurePosixPath) -> None:
        put_by_sh(self, source, target)

    def get(self, source: PurePosixPath, target: Path) -> None:
        get_by_sh(self, source, target)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return self.outer.wrap([*self.prefix, *argv])


_COPYING = 4 * 3600.0  # seconds; a lost connection is noticed long before


def put_by_sh(host: Host, source: Path, target: PurePosixPath) -> None:
    """Host.put for a host that has nothing but commands."""
    with copying(source, target):
        mode = f"{stat.S_IMODE(source.stat().st_mode):o}"
    script = '{ test ! -e "$1" || test -f "$1"; } && cat >"$1" && chmod "$2" "$1"'
    host.run(
        ["sh", "-c", script, "sh", str(target), mode], stdin=source, timeout=_COPYING, check=True
    )


def get_by_sh(host: Host, source: PurePosixPath, target: Path) -> None:
    """Host.get for a host that has nothing but commands."""
    listed = host.run(["sh", "-c", 'test -f "$1" && ls -lnLd "$1"', "sh", str(source)])
    if listed.code != 0:
        raise HostError(f"{source} is not a regular file in the {host.name}")
    with copying(source, target), target.open("wb") as content:
        host.run(["cat", str(source)], sink=content.write, timeout=_COPYING, check=True)
        target.chmod(permissions(listed.out))


def permissions(listing: str) -> int:
    """Mode bits of a line of `ls -l`, which is the same in every system and era (stat(1) is not).

    >>> oct(permissions("-rwxr-x--- 1 0 0 5 Nov 14 10:00 /f"))
    '0o750'
    """
    return sum(1 << (8 - place) for place, sign in enumerate(listing[1:10]) if sign in "rwxst")


def chroot(outer: Host, root: PurePosixPath) -> Prefixed:
    return Prefixed(outer, ("chroot", str(root)), f"chroot {root}")


def namespace(outer: Host, root: PurePosixPath, kinds: Sequence[str] = ALL_NAMESPACES) -> Prefixed:
    """A fresh set of namespaces per command, by unshare(1) of util-linux."""
    flags = [f"--{kind}" for kind in kinds]
    prefix = ("unshare", *flags, "--fork", "--kill-child", "--mount-proc", f"--root={root}")
    return Prefixed(outer, prefix, f"namespace {root}")


def line(argv: Sequence[str], cwd: str = "/") -> str:
    """A command as a line that can be pasted into a shell."""
    text = shlex.join(argv)
    return text if cwd == "/" else f"cd {shlex.quote(cwd)} && {text}"
