"""Install a release of a user's own catalogue: a directory that is copied, or a tarball."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from behunt.errors import InstallError, UsageError
from behunt.hosts.local import LocalHost
from behunt.hosts.sandbox import Sandbox
from behunt.install import tar
from behunt.install.protocol import Order, Origin, Say
from behunt.model import Build, sha256_of

# No network, and what tar may start dies with it.
_SANDBOX = Sandbox(namespaces=("mount", "pid", "net", "ipc"))


class Tree:
    name = "tree"
    archived = False
    anywhere = False

    def local(self, order: Order) -> bool:
        del order
        return True

    def missing(self, order: Order) -> str:
        if order.packages:
            raise UsageError(
                f"no packages can be added to {order.release.id}: it is taken as it is",
                "leave out --package, or put them into its source",
            )
        return "" if os.geteuid() == 0 else "installing needs root: run behunt with sudo"

    def recipe(self, order: Order) -> str:
        return f"copy of {_source(order)}"

    def resolve(self, order: Order) -> Origin:
        source = _source(order)
        if source.is_dir():
            return Origin(str(source), _digest_of_tree(source))
        if source.is_file():
            with source.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            _check_pin(order, digest)
            return Origin(str(source), digest)
        raise InstallError(
            f"the source of {order.release.id} is not there: {source}",
            "correct `source` in your catalogue: a directory, a tarball, or leave it out",
        )

    def install(self, order: Order, origin: Origin, root: Path, say: Say) -> Build:
        say(f"copying {origin.url}")
        argv = arguments(Path(origin.url), root)
        done = LocalHost(_SANDBOX, "installer").run(argv, timeout=order.timeout)
        if done.code != 0:
            raise InstallError(
                f"cannot install {order.release.id} from {origin.url}: {tar.why(done)}",
                "check that it is a whole root (`tar tf` lists a tarball), and that there is room",
            )
        return Build(self.recipe(order), ((origin.url, origin.digest),))


def arguments(source: Path, root: Path) -> list[str]:
    """The command that fills `root` from `source`.

    GNU tar refuses `..` and absolute names, and makes links that leave the root only after
    everything else is written: no member can be written through them.
    """
    if source.is_dir():
        return ["cp", "-a", "--reflink=auto", f"{source}/.", str(root)]
    return [
        "tar",
        "--extract",
        "--numeric-owner",
        "--preserve-permissions",
        "--delay-directory-restore",
        f"--directory={root}",
        f"--file={source}",
    ]


def _source(order: Order) -> Path:
    if not order.release.sources:
        raise InstallError(
            f"{order.release.id} has no source to install",
            "give it a `source` in your catalogue, or use --runner none",
        )
    return Path(order.release.sources[0])


def _digest_of_tree(root: Path) -> str:
    """SHA-256 over names, modes, sizes and times: content is not read."""
    rows = []
    for directory, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(directory) / name
            status = path.lstat()
            rows.append(
                [str(path.relative_to(root)), status.st_mode, status.st_size, status.st_mtime_ns]
            )
    return sha256_of(sorted(rows))


def _check_pin(order: Order, digest: str) -> None:
    pinned = dict(order.release.pinned).get("sha256", digest)
    if pinned != digest:
        raise InstallError(
            f"{_source(order)} is not what {order.release.id} is pinned to: "
            f"its SHA-256 is {digest}, not {pinned}",
            "fetch it again, or correct the digest in the catalogue",
        )
