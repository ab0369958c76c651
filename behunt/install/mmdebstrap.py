"""Install Debian releases with mmdebstrap(1), signatures checked against one keyring only."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
from pathlib import Path

from behunt.errors import InstallError, UsageError
from behunt.families import debian
from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import CLEAN_ENV
from behunt.hosts.sandbox import Sandbox
from behunt.install import aptmirror
from behunt.install.fetch import first_of
from behunt.install.protocol import Order, Origin, Say
from behunt.model import Build

_VARIANT = "minbase"
# Its mounts and daemons die with it, whatever becomes of behunt.
_SANDBOX = Sandbox(namespaces=("mount", "pid", "uts", "ipc"))
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy")


class Mmdebstrap:
    name = "mmdebstrap"
    archived = True
    anywhere = False

    def local(self, order: Order) -> bool:
        del order
        return False

    def missing(self, order: Order) -> str:
        for package in order.packages:
            if not debian.is_package_name(package):
                raise UsageError(
                    f"`{package}` cannot be the name of a Debian package",
                    "give each one with a --package of its own, without version or architecture",
                )
        if os.geteuid() != 0:
            return "installing needs root: run behunt with sudo"
        if shutil.which("mmdebstrap", path=CLEAN_ENV["PATH"]) is None:
            return "mmdebstrap is not installed: apt install mmdebstrap"
        keyring = _keyring(order)
        if not keyring.is_file():
            return f"the keyring {keyring} is missing: apt install debian-archive-keyring"
        return ""

    def recipe(self, order: Order) -> str:
        return " ".join(
            [
                "mmdebstrap",
                f"--variant={_VARIANT}",
                *_include(order),
                f"--architectures={order.release.arch}",
                _suite(order),
                order.release.trait("components", "main"),
                f"signed-by={_trusted(order)}",
            ]
        )

    def resolve(self, order: Order) -> Origin:
        suite = _suite(order)
        # Suites before wheezy have no InRelease.
        urls = {
            f"{mirror}/dists/{suite}/{name}": mirror
            for mirror in candidates(order, aptmirror.mirror())
            for name in ("InRelease", "Release")
        }
        url, content = first_of(list(urls), f"the Debian suite {suite}", proxy=aptmirror.proxy())
        notes = []
        until = debian.valid_until(content.decode(errors="replace"))
        expired = until is not None and until < dt.datetime.now(dt.UTC)
        if expired and until:
            notes.append(
                f"the Release file of {suite} expired on {until:%Y-%m-%d}: this is a frozen or "
                "archived copy (its signature was checked)"
            )
        digest = hashlib.sha256(content).hexdigest()
        return Origin(urls[url], digest, expired=expired, notes=tuple(notes))

    def install(self, order: Order, origin: Origin, root: Path, say: Say) -> Build:
        argv = arguments(order, origin, root, proxy=aptmirror.proxy())
        lines = _Lines(say)
        env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        done = LocalHost(_SANDBOX, "installer").run(
            argv, env=env, timeout=order.timeout, sink=lines.take
        )
        if done.code != 0 or done.timed_out:
            raise InstallError(
                f"mmdebstrap could not install {order.release.id} ({done.how}): {lines.why()}",
                _hint(lines.text),
            )
        return _sealed_build(self.recipe(order), order, origin, root)


def candidates(order: Order, own: str) -> list[str]:
    """Mirrors to try, in order; `own` is the one of this machine, which has the live suites."""
    sources = order.release.sources
    nearest = [order.mirror, own if debian.DEFAULT_MIRROR in sources else ""]
    return list(dict.fromkeys(url.rstrip("/") for url in (*nearest, *sources) if url))


def arguments(order: Order, origin: Origin, root: Path, *, proxy: str = "") -> list[str]:
    """The command line that installs `order` from `origin` into `root`."""
    line = debian.source_line(
        origin.url,
        _suite(order),
        order.release.trait("components", "main"),
        str(_keyring(order)),
        expired=origin.expired,
    )
    return [
        "mmdebstrap",
        "--mode=root",
        f"--variant={_VARIANT}",
        *_include(order),
        f"--architectures={order.release.arch}",
        # Kept until the digest of the Release file that apt used is taken from them.
        "--skip=cleanup/apt/lists",
        *([f'--aptopt={debian.APT_PROXY} "{proxy}"'] if proxy else []),
        "--verbose",
        _suite(order),
        str(root),
        line,
    ]


def _include(order: Order) -> list[str]:
    return [f"--include={','.join(sorted(order.packages))}"] if order.packages else []


def _suite(order: Order) -> str:
    return order.release.trait("suite") or order.release.codename


def _keyring(order: Order) -> Path:
    name = order.release.trait("keyring", "debian-archive-keyring.gpg")
    return order.key_file(name, [debian.KEYRINGS])


def _trusted(order: Order) -> str:
    """The keyring as the recipe knows it; Debian's own by name, as it gains keys over the years."""
    path = _keyring(order)
    if not order.keyring or not path.is_file():
        return path.name
    return f"{path.name}:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def _sealed_build(recipe: str, order: Order, origin: Origin, root: Path) -> Build:
    lists = root / "var/lib/apt/lists"
    used = sorted(lists.glob("*_InRelease")) + sorted(lists.glob("*_Release"))
    origins = tuple(
        (f"{origin.url} {_suite(order)}", hashlib.sha256(path.read_bytes()).hexdigest())
        for path in used
    )
    if not origins:
        raise InstallError(
            f"apt left no Release file for {order.release.id}",
            "this is a fault of behunt: report it",
        )
    shutil.rmtree(lists)
    (lists / "partial").mkdir(parents=True)
    (root / "etc/hostname").write_text(f"{order.release.id}\n", encoding="ascii")
    status = (root / "var/lib/dpkg/status").read_text(encoding="utf-8", errors="replace")
    return Build(recipe, origins, debian.packages(status), origin.notes)


class _Lines:
    """Passes whole lines on, and keeps the last of them for the reason of a failure."""

    def __init__(self, say: Say) -> None:
        self.text = ""
        self._say = say
        self._partial = b""

    def take(self, data: bytes) -> None:
        *whole, self._partial = (self._partial + data).split(b"\n")
        for line in whole:
            text = line.decode(errors="replace").strip()
            self.text = (self.text + "\n" + text)[-20_000:]
            self._say(text)

    def why(self) -> str:
        """The line that tells most: apt's own errors before mmdebstrap's account of them."""
        lines = [line for line in self.text.splitlines() if line]
        for prefix in ("W: GPG error", "E: The repository", "E: ", "dpkg: error"):
            for line in lines:
                if line.startswith(prefix):
                    return line
        return lines[-1] if lines else "it said nothing"


def _hint(text: str) -> str:
    if "GPG error" in text or "NO_PUBKEY" in text or "not signed" in text:
        return "the mirror's signature is not by the keyring of this release: name another mirror"
    if "No space left" in text:
        return "make room (`behunt be prune`), or move BEHUNT_HOME to a larger disk"
    if "Unable to locate package" in text:
        return "this release has no package of that name: leave it out of --package"
    return "run it again with --verbose to see all of its output"
