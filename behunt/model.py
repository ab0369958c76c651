"""The nouns. Plain frozen values: what can be stored, compared and sent to a worker."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping


class Outcome(StrEnum):
    """What happened in one trial. BROKEN: the harness or the install failed, not the test."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    TIMEOUT = "timeout"
    PANICKED = "panicked"
    BROKEN = "broken"


class Verdict(StrEnum):
    """What the search is told about one release."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


def verdict_of(outcome: Outcome, timeout_is: Verdict = Verdict.UNKNOWN) -> Verdict:
    """Map what happened to what it says about the release: the only place that does.

    A panic counts against the release, because it is PANICKED only once the test had started.
    """
    match outcome:
        case Outcome.PASSED:
            return Verdict.GOOD
        case Outcome.FAILED | Outcome.PANICKED:
            return Verdict.BAD
        case Outcome.TIMEOUT:
            return timeout_is
        case Outcome.SKIPPED | Outcome.BROKEN:
            return Verdict.UNKNOWN


class Find(StrEnum):
    """What is hunted, from the older end to the newer one."""

    BREAK = "break"  # good, then bad
    FIX = "fix"  # bad, then good
    CHANGE = "change"  # either


@dataclass(frozen=True, slots=True)
class Release:
    """What the catalogue knows of one installable build.

    `sources` are candidate URLs or local paths, best first. `traits` are what its era decides
    (`set_format`, `checksum`, `keyring`, `base_set`, …), `pinned` the digests that are known.
    `moving` marks a suite whose content changes under the same name (sid, forky, CURRENT).
    """

    id: str  # "freebsd-11.1-amd64"
    os: str
    version: str
    arch: str
    branch: str = ""
    codename: str = ""
    date: dt.date | None = None
    date_source: str = ""
    eol: dt.date | None = None
    arches: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    traits: tuple[tuple[str, str], ...] = ()
    pinned: tuple[tuple[str, str], ...] = ()
    moving: bool = False

    def trait(self, name: str, default: str = "") -> str:
        return dict(self.traits).get(name, default)

    @property
    def set_format(self) -> str:
        return self.trait("set_format")

    @property
    def label(self) -> str:
        """For people: `debian 12 (bookworm)`."""
        other = self.codename not in {"", self.version}
        return f"{self.os} {self.version}" + (f" ({self.codename})" if other else "")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use. None: as much as the machine has."""

    memory: int | None = None  # bytes
    processes: int | None = None
    cpus: float | None = None
    disk: int | None = None  # bytes the clone may grow by, where it lives on tmpfs


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class TestFile:
    """One file of the user's, placed beside the test under `name` (a relative path)."""

    __test__ = False

    name: str
    path: Path

    def digest(self) -> str:
        executable = bool(self.path.stat().st_mode & 0o111)
        content = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return f"{self.name}:{'x' if executable else '-'}:{content}"


@dataclass(frozen=True, slots=True)
class Test:
    """What is asked: `argv`, run in a directory that holds `files`."""

    __test__ = False  # not a pytest class

    name: str
    argv: tuple[str, ...]
    files: tuple[TestFile, ...] = ()
    timeout: float = 600.0  # seconds
    needs: frozenset[str] = frozenset()  # capabilities of a runner
    network: bool = False
    limits: Limits = UNLIMITED
    env: tuple[tuple[str, str], ...] = ()

    def digest(self) -> str:
        """SHA-256 of all that can change its answer (the name cannot)."""
        return sha256_of(
            {
                "argv": self.argv,
                "files": sorted(f.digest() for f in self.files),
                "timeout": self.timeout,
                "network": self.network,
                "limits": [
                    self.limits.memory,
                    self.limits.processes,
                    self.limits.cpus,
                    self.limits.disk,
                ],
                "env": sorted(self.env),
                **({"reboots": True} if "reboot" in self.needs else {}),
            }
        )


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    version: str
    arch: str = ""


@dataclass(frozen=True, slots=True)
class Build:
    """Exactly what was installed: the build identity of a boot environment.

    `origins` are (URL, SHA-256) of what the packages or sets were taken from: the Release file
    of a Debian suite, the MANIFEST of a FreeBSD release.
    """

    recipe: str  # "mmdebstrap --variant=minbase --include=…", what was asked for
    origins: tuple[tuple[str, str], ...] = ()
    packages: tuple[Package, ...] = ()
    notes: tuple[str, ...] = ()  # what a reader of the report must know, e.g. an expired Release

    def identity(self) -> str:
        """SHA-256 over recipe, origins and packages; part of every trial's key."""
        return sha256_of(
            {
                "recipe": self.recipe,
                "origins": sorted(self.origins),
                "packages": sorted((p.name, p.version, p.arch) for p in self.packages),
            }
        )


@dataclass(frozen=True, slots=True)
class BootEnv:
    """One installed root in a store."""

    name: str  # "debian-12-amd64", "debian-12-amd64+python3"
    release: str  # Release.id
    path: Path  # its root directory, or its mount point
    sealed: bool = False
    identity: str = ""  # Build.identity(), "" until sealed
    layout: str = "flat"
    created: str = ""  # ISO 8601, UTC
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    value: float
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """One stored answer. Never changed once it is written."""

    release: str  # Release.id
    test: str  # Test.name
    runner: str
    outcome: Outcome
    key: str  # SHA-256 of every input: build identity, test, runner
    reason: str = ""  # one sentence: why this outcome; below it a panicked machine's last screen
    exit_code: int | None = None
    metrics: tuple[Metric, ...] = ()
    started: str = ""  # ISO 8601, UTC
    seconds: float = 0.0
    log: str = ""  # path of the transcript
    out: str = ""  # path of what the test left in BEHUNT_OUT, "" if nothing
    identity: str = ""  # Build.identity() of the boot environment
    kernel: str = ""  # the kernel that answered, as uname -r says it
    attempt: int = 1
    note: str = ""  # what a reader must know of how it came about, as a sentence
    id: int | None = None  # given by the results store
    session: int | None = None

    @property
    def why(self) -> str:
        """The sentence of the reason."""
        return self.reason.partition("\n")[0]

    @property
    def screen(self) -> str:
        """What a machine that went down showed last; empty if none did."""
        return self.reason.partition("\n")[2]


class HuntOutcome(StrEnum):
    """How a bisection ended."""

    FOUND = "found"
    AMBIGUOUS = "ambiguous"
    CONTRADICTION = "contradiction"
    BROKEN = "broken"
    BUDGET = "budget"
    UNFINISHED = "unfinished"  # interrupted, or still running


@dataclass(frozen=True, slots=True)
class Suspect:
    release: str  # Release.id
    reason: str  # why it is still open: "not tested: …", "broken: mirror answered 404"


@dataclass(frozen=True, slots=True)
class Answered:
    """One release's answer within a hunt, in the order in which the hunt got it."""

    trial: Trial
    verdict: Verdict
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Hunt:
    """The result of one bisection, whole: what the summary, JSON and the report are made from.

    `before` and `after` are the two neighbours of the change: for a break the last good and the
    first bad release, for a fix the last bad and the first good one. They are set whenever the
    search proved them, also when `suspects` lie between them.
    """

    session: int
    outcome: HuntOutcome
    find: Find  # BREAK or FIX: a CHANGE is resolved once both ends are known
    releases: tuple[Release, ...]  # the range, oldest first
    test: Test
    runner: str
    before: str | None = None
    after: str | None = None
    suspects: tuple[Suspect, ...] = ()
    answers: tuple[Answered, ...] = ()
    reason: str = ""  # one sentence where the outcome is not FOUND
    installs: int = 0
    started: str = ""
    seconds: float = 0.0
    resumed: int = 0

    def release(self, release_id: str) -> Release:
        return next(r for r in self.releases if r.id == release_id)

    @property
    def last_good(self) -> str | None:
        return self.before if self.find is not Find.FIX else None

    @property
    def first_bad(self) -> str | None:
        return self.after if self.find is not Find.FIX else None

    @property
    def last_bad(self) -> str | None:
        return self.before if self.find is Find.FIX else None

    @property
    def first_good(self) -> str | None:
        return self.after if self.find is Find.FIX else None


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `behunt doctor`."""

    area: str  # "store", "runner", "installer", "network boot", "report"
    name: str
    ok: bool
    detail: str = ""
    fix: str = ""  # the command that brings it
    optional: bool = field(default=False)


def sha256_of(value: Mapping[str, Any] | Iterable[Any]) -> str:
    """Digest of a JSON-able value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
