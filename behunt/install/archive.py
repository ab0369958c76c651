"""Keep what was installed as a tar.zst, and make a root of it again in a second."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from behunt.errors import HostError
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import Host
from behunt.hosts.sandbox import Sandbox
from behunt.install import tar
from behunt.model import Build, Package

_SANDBOX = Sandbox(namespaces=("mount", "pid", "net", "ipc"))
_TIMEOUT = 900.0
_EXTRACT = ("tar", "--extract", "--numeric-owner", "--preserve-permissions", "--xattrs")


def pack(root: Path, build: Build, directory: Path, key: str, owner: str) -> None:
    """Write `key`.tar.zst and then `key`.json beside it: only a whole archive has both."""
    partial = directory / f"{key}.{owner}.partial"
    argv = ["tar", "--zstd", "--create", "--numeric-owner", "--xattrs"]
    try:
        _tar([*argv, f"--file={partial}", f"--directory={root}", "."])
        partial.rename(directory / f"{key}.tar.zst")
        about = directory / f"{key}.json"
        partial.write_text(json.dumps(asdict(build)), encoding="utf-8")
        partial.rename(about)
    finally:
        partial.unlink(missing_ok=True)


def find(directory: Path, key: str) -> Build | None:
    """What the archive called `key` holds, or None."""
    try:
        about = json.loads((directory / f"{key}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return Build(
        about["recipe"],
        tuple((url, digest) for url, digest in about["origins"]),
        tuple(Package(**package) for package in about["packages"]),
        tuple(about["notes"]),
    )


def latest(directory: Path, recipe: str) -> tuple[str, Build] | None:
    """(key, build) of the newest archive that `recipe` made, whatever its origin."""
    newest = sorted(directory.glob("*.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    for path in newest:
        build = find(directory, path.stem)
        if build and build.recipe == recipe:
            return path.stem, build
    return None


def unpack(directory: Path, key: str, host: Host, root: Path, owner: str) -> None:
    """Make the root of `key` again at `root`, an empty directory of `host`."""
    content = directory / f"{key}.tar.zst"
    if isinstance(host, LocalHost):
        _tar([*_EXTRACT, "--zstd", f"--file={content}", f"--directory={root}"])
        return
    # What a host has in any case is a tar that knows no compression.
    plain = directory / f"{key}.{owner}.partial"
    try:
        _run(["zstd", "--decompress", "--quiet", "--force", str(content), "-o", str(plain)])
        _sent(plain, host, root)
    finally:
        plain.unlink(missing_ok=True)


def send(tree: Path, host: Host, root: Path, directory: Path, owner: str) -> None:
    """Copy `tree`, which is here, into `root`, an empty directory of `host`."""
    plain = directory / f"sent.{tree.parent.name}.{owner}.partial"
    try:
        _tar(["tar", "--create", "--numeric-owner", f"--file={plain}", f"--directory={tree}", "."])
        _sent(plain, host, root)
    finally:
        plain.unlink(missing_ok=True)


def _sent(plain: Path, host: Host, root: Path) -> None:
    argv = ["tar", "-x", "-p", "--numeric-owner", "-f", "-", "-C", str(root)]
    done = host.run(argv, stdin=plain, timeout=_TIMEOUT)
    if done.code != 0:
        raise HostError(f"tar failed on {host.name}: {tar.why(done)}", "make room there")


def _tar(argv: list[str]) -> None:
    _run(argv, "make room (`behunt be prune`), or apt install tar zstd")


def _run(argv: list[str], hint: str = "make room (`behunt be prune`)") -> None:
    done = LocalHost(_SANDBOX, "archiver").run(argv, timeout=_TIMEOUT)
    if done.code != 0:
        raise HostError(f"{argv[0]} failed: {tar.why(done)}", hint)
