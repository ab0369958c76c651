"""Check pieces, look into archives, unpack them and ask the root what it is: all on its host."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from behunt.errors import InstallError
from behunt.hosts.protocol import Completed, Host
from behunt.install import tar
from behunt.install.protocol import Say
from behunt.install.sets import elf, members, mtree, tools
from behunt.install.sets.members import Member
from behunt.install.sets.protocol import DistSet, Oracle, Piece
from behunt.install.sets.tools import Tools
from behunt.model import Release

Files = Sequence[PurePosixPath]
_AGAIN = "fetch it again, or take it from another mirror with --mirror"


@dataclass(frozen=True, slots=True)
class Unpacker:
    """Fills `root` on `host`."""

    host: Host
    tools: Tools
    root: PurePosixPath
    timeout: float  # seconds, of each step

    def verify(self, pieces: Sequence[Piece], files: Files) -> None:
        """Compare size, CRC and digests of every piece. Raises InstallError naming the first."""
        algorithms = sorted({name for piece in pieces for name, _ in piece.digests})
        done = self._run(tools.measured(self.tools, algorithms, files))
        lines = done.out.splitlines()
        if done.code != 0 or len(lines) != len(files):
            raise InstallError(f"cannot read the sets on {self.host.name}: {tar.why(done)}")
        for piece, line in zip(pieces, lines, strict=True):
            if why := _difference(piece, algorithms, line.split()):
                raise InstallError(f"{piece.path} is damaged: {why}", _AGAIN)

    def look(self, item: DistSet, files: Files) -> list[Member]:
        """What the archive of a set has. Raises InstallError if that is not what it must be."""
        if item.file:
            return [Member(item.file, "-")]
        listed: list[bytes] = []
        done = self._run(tools.listing(self.tools, files), listed)
        text = b"".join(listed).decode(errors="surrogateescape")
        if done.code != 0:
            said = text.strip().rpartition("\n")[2] or done.how
            raise InstallError(f"the set {item.name} cannot be read: {said}", _AGAIN)
        found = members.parse(text)
        if item.entries is not None and len(found) != item.entries:
            raise InstallError(
                f"the set {item.name} has {len(found)} members, not the {item.entries} "
                "that its manifest counts",
                _AGAIN,
            )
        placed = members.placed(found, item.target)
        if item.mtree:
            described = members.below(placed, str(PurePosixPath(item.target, item.described)))
            mtree.check(mtree.parse(item.mtree), described, item.name)
        return placed

    def flagged(self, item: DistSet, files: Files) -> list[str]:
        """Members with file flags that this host does not set: `lib/libc.so.7 flags=schg`."""
        if self.tools.flags or item.file:
            return []
        listed: list[bytes] = []
        self._run(tools.flags(self.tools, files), listed)
        return b"".join(listed).decode(errors="replace").splitlines()

    def unpack(self, item: DistSet, files: Files, left_out: Sequence[str]) -> None:
        target = self.root / (item.file or item.target)
        argv = tools.unpack(self.tools, files, target, left_out)
        done = self._run(tools.copy(files[0], target) if item.file else argv)
        if done.code != 0:
            raise InstallError(
                f"cannot unpack the set {item.name}: {tar.why(done)}", "check that there is room"
            )
        if item.mtree:
            self._compare(item)

    def _compare(self, item: DistSet) -> None:
        """MD5 of what was unpacked against the set's mtree(5), which has nothing better."""
        directory = self.root / item.target / item.described
        wanted = {entry.name: entry.md5 for entry in mtree.parse(item.mtree) if entry.md5}
        names = b"".join(name.encode(errors="surrogateescape") + b"\0" for name in wanted)
        blocks: list[bytes] = []
        done = self.host.run(
            tools.digests_of_files(self.tools),
            cwd=str(directory),
            stdin=names,
            timeout=self.timeout,
            sink=blocks.append,
        )
        lines = b"".join(blocks).decode(errors="replace").splitlines()
        found = [line.lstrip("\\")[:32] for line in lines]
        if done.code != 0 or len(found) != len(wanted):
            said = next((line for line in lines if ": " in line), done.how)
            raise InstallError(f"what {item.name} was unpacked to cannot be read: {said}", _AGAIN)
        for (name, md5), got in zip(wanted.items(), found, strict=True):
            if md5 != got:
                raise InstallError(
                    f"{name} of {item.name} is not what its .mtree describes: its MD5 is {got}, "
                    f"not {md5}",
                    "check the disk, then take the set from another mirror",
                )

    def ask(self, release: Release, oracles: Sequence[Oracle], say: Say) -> tuple[str, ...]:
        """Hold what the root says of itself against `release`. Returns notes."""
        if not oracles:
            return ()
        questions = [(str(self.root / oracle.path), oracle.pattern) for oracle in oracles]
        done = self._run(tools.asked(questions))
        answers: dict[int, list[str]] = {}
        current: list[str] = []
        for line in done.out.splitlines():
            if re.fullmatch(r"= \d+", line):
                answers[int(line[2:])] = current = []
            else:
                current.append(line)
        for number, oracle in enumerate(oracles):
            _believe(release, oracle, answers.get(number, []), say)
        if any(answers.values()):
            return ()
        return (f"nothing in it says that it is {release.label}",)

    def check_arch(self, release: Release) -> None:
        """Raises InstallError if its shell is for another processor: no version tells that."""
        said = self._run(tools.header(self.root / "bin/sh", elf.SIZE)).out
        found = elf.arch_of(bytes.fromhex("".join(said.split())))
        if found and release.arch in elf.ARCHES - {found}:
            raise InstallError(
                f"these are not the sets of {release.id}: its programs are for {found}",
                f"the directory has another architecture's; name one of {release.arch}'s",
            )

    def _run(self, argv: Sequence[str], blocks: list[bytes] | None = None) -> Completed:
        sink = None if blocks is None else blocks.append
        return self.host.run(argv, env=self.tools.env, timeout=self.timeout, sink=sink)


def _difference(piece: Piece, algorithms: Sequence[str], words: Sequence[str]) -> str:
    if words == ["-"]:
        return "it is missing"
    crc, size, *digests = words
    found = dict(zip(algorithms, digests, strict=False))
    if piece.size not in {None, int(size)}:
        return f"it has {size} bytes, not {piece.size}"
    if piece.crc not in {None, int(crc)}:
        return f"its cksum is {crc}, not {piece.crc}"
    for name, wanted in piece.digests:
        if found.get(name) != wanted:
            return f"its {name} is {found.get(name)}, not {wanted}"
    return ""


def _believe(release: Release, oracle: Oracle, said: Sequence[str], say: Say) -> None:
    if not said:
        say(f"{oracle.path} does not say what it is")
    elif not any(re.fullmatch(oracle.wanted, line.strip()) for line in said):
        raise InstallError(
            f"these are not the sets of {release.id}: {oracle.path} says `{said[0].strip()}`",
            "the directory has another release under this name; name another with --mirror",
        )
