"""An operator of boot environments, who types `behunt be` about the datasets of some machine."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from behunt_cli import Behunt, Done
from release_sets import freebsd
from tiny_root import tiny_root

from behunt.hosts.protocol import Host


@dataclass(frozen=True)
class Operator:
    """Works on the datasets below `root` of `machine`; `host` are the words that name it."""

    behunt: Behunt
    machine: Host
    root: str
    host: tuple[str, ...] = ()

    @property
    def store(self) -> tuple[str, ...]:
        return (*self.host, "--store", f"zfs:{self.root}")

    def be(self, verb: str, *words: str | Path) -> Done:
        done = self.behunt("be", verb, *self.host, *words)
        assert done.code == 0, done.err
        return done

    def refused(self, verb: str, *words: str | Path, says: str, code: int = 2) -> None:
        self.behunt.fails(code, "be", verb, *self.host, *words, says=says)

    def rows(self) -> dict[str, dict[str, object]]:
        listed = self.be("list", "--store", f"zfs:{self.root}", "--json").json
        return {row["name"]: row for row in listed}

    def zfs(self, *words: str) -> str:
        return self.machine.run(["zfs", *words], check=True).out

    def datasets(self) -> list[str]:
        """All below `root`, by their names there."""
        names = self.zfs("list", "-H", "-r", "-o", "name", self.root).split()
        return [name.removeprefix(f"{self.root}/") for name in names[1:]]

    def read(self, path: str) -> str:
        return self.machine.run(["cat", path], check=True).out

    def write(self, path: str, text: str) -> None:
        self.machine.run(["tee", path], stdin=text.encode(), check=True)

    def has(self, path: str) -> bool:
        return self.machine.run(["test", "-e", path]).code == 0

    def mounts(self) -> list[str]:
        """What of `root` is mounted."""
        table = self.read("/proc/self/mounts").splitlines()
        return [line for line in table if line.startswith(f"{self.root}/")]

    def forget(self) -> None:
        """Destroy `root` with all that is left in it."""
        for line in reversed(self.mounts()):
            self.machine.run(["umount", line.split()[1]])
        snapshots = ["zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "name", self.root]
        if found := self.machine.run(snapshots).out.split():
            self.machine.run(["zfs", "release", "behunt", *found])
        self.machine.run(["zfs", "destroy", "-R", self.root])


@contextlib.contextmanager
def working(behunt: Behunt, machine: Host, root: str, *host: str) -> Iterator[Operator]:
    operator = Operator(behunt, machine, root, host)
    try:
        yield operator
    finally:
        operator.forget()


def pub(directory: Path, version: str = "11.1") -> Path:
    """A mirror's tree with one release of FreeBSD."""
    at = directory / f"pub/FreeBSD/releases/amd64/amd64/{version}-RELEASE"
    at.mkdir(parents=True)
    freebsd(at, version)
    return directory / "pub"


def own_releases(directory: Path, versions: Sequence[int]) -> Path:
    """A catalogue of these releases of `demo`: trees that know their version."""
    rows = ['os = "demo"']
    for version in versions:
        root = tiny_root(directory / f"tree-{version}")
        (root / "etc/version").write_text(str(version))
        rows.append(f'[[release]]\nversion = "{version}"\nsource = "tree-{version}"')
    file = directory / "own.toml"
    file.write_text("\n".join(rows))
    return file


def hunt(operator: Operator, catalogue: Path, test: Path) -> list[str | Path]:
    """The words that have behunt hunt through all of them."""
    versions = [row["version"] for row in tomllib.loads(catalogue.read_text())["release"]]
    words = [*operator.store, "--from", versions[0], "--to", versions[-1]]
    return ["bisect", *words, "--catalogue", catalogue, test]
