"""Evidence to make reports of: a Debian hunt, a FreeBSD one of any length, and hostile logs."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

from behunt.model import (
    Answered,
    Build,
    Find,
    Hunt,
    HuntOutcome,
    Metric,
    Outcome,
    Package,
    Release,
    Suspect,
    Test,
    TestFile,
    Trial,
    Verdict,
    verdict_of,
)
from behunt.report.data import Evidence

MADE = "2026-07-20T09:12:44+00:00"
DEBIAN = (
    ("11", "bullseye", "2021-08-14", "2024-08-14"),
    ("12", "bookworm", "2023-06-10", "2026-07-11"),
    ("13", "trixie", "2025-08-09", "2028-08-09"),
    ("14", "forky", "", ""),
    ("sid", "sid", "1993-08-16", ""),
)
HOSTILE = (
    "<script>alert('log')</script>\n"
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\x9b5m\n"
    "nul \x00 bell \x07 delete \x7f\n"
    "right \u202eto left\u2066 zero\u200bwidth \udcff surrogate \ufffe noncharacter\n"
    "progress 1%\rprogress 100%\r\n"
    "</pre></div><img src=http://192.0.2.1/x onerror=alert(1)>{{ 7*7 }} ]]> &lt; ``` | @someone\n"
    + "x" * 50_000
    + "\n"
)
TRACEBACK = """\
Traceback (most recent call last):
  File "<string>", line 1, in <module>
ModuleNotFoundError: No module named 'crypt'
"""


def day(text: str) -> dt.date | None:
    return dt.date.fromisoformat(text) if text else None


def debian() -> tuple[Release, ...]:
    return tuple(
        Release(
            id=f"debian-{version}-amd64",
            os="debian",
            version=version,
            arch="amd64",
            codename=codename if codename != version else "",
            date=day(date),
            eol=day(eol),
            moving=codename in {"forky", "sid"},
        )
        for version, codename, date, eol in DEBIAN
    )


def freebsd(number: int) -> tuple[Release, ...]:
    """`number` releases since 1993, of which every tenth has no known end."""
    first = dt.date(1993, 11, 1)
    step = (dt.date(2025, 12, 2) - first) / max(number, 1)
    return tuple(
        Release(
            id=f"freebsd-{index // 7 + 1}.{index % 7}-amd64",
            os="freebsd",
            version=f"{index // 7 + 1}.{index % 7}",
            arch="amd64",
            date=first + index * step,
            eol=None if index % 10 == 9 else first + index * step + dt.timedelta(days=730),
        )
        for index in range(number)
    )


def answered(
    release: Release, outcome: Outcome, *, reason: str = "", cached: bool = False
) -> Answered:
    reasons = {
        Outcome.PASSED: "exit code 0",
        Outcome.FAILED: "exit code 1",
        Outcome.SKIPPED: "the test skipped itself (exit code 125)",
        Outcome.TIMEOUT: "no end after 600 s",
        Outcome.PANICKED: "panic: page fault\ncpuid = 0\nKDB: enter: panic",
        Outcome.BROKEN: "https://deb.example.org/debian answered 404 to dists/forky/InRelease",
    }
    trial = Trial(
        release=release.id,
        test="crypt.sh",
        runner="namespace",
        outcome=outcome,
        key="0" * 64,
        reason=reason or reasons[outcome],
        exit_code={Outcome.PASSED: 0, Outcome.FAILED: 1, Outcome.SKIPPED: 125}.get(outcome),
        metrics=(Metric("import", 12.5, "ms"),) if outcome is Outcome.PASSED else (),
        started="2026-07-20T09:10:02+00:00",
        seconds=0.31 + len(release.id) / 7,
        log=f"/var/lib/behunt/runs/{release.id}/log",
        kernel="Linux 6.12.38",
    )
    return Answered(trial, verdict_of(outcome), cached)


def hunt(
    releases: tuple[Release, ...], *outcomes: tuple[int, Outcome], first_bad: int | None = None
) -> Hunt:
    answers = tuple(answered(releases[i], o, cached=i == 0) for i, o in outcomes)
    good = [i for i, o in outcomes if verdict_of(o) is Verdict.GOOD]
    return Hunt(
        session=7,
        outcome=HuntOutcome.FOUND,
        find=Find.BREAK,
        releases=releases,
        test=Test("crypt.sh", ("./crypt.sh",), (TestFile("crypt.sh", Path("crypt.sh")),)),
        runner="namespace",
        before=releases[max(good)].id if good and first_bad is not None else None,
        after=releases[first_bad].id if first_bad is not None else None,
        answers=answers,
        installs=len(answers) - 1,
        started="2026-07-20T09:09:31+00:00",
        seconds=192.4,
    )


def panicked(evidence: Evidence, reason: str = "") -> Evidence:
    """The same, where what failed has panicked."""
    answers = tuple(
        replace(a, trial=replace(answered(r, Outcome.PANICKED, reason=reason).trial, runner="qemu"))
        if a.trial.outcome is Outcome.FAILED
        else a
        for a in evidence.hunt.answers
        for r in [evidence.hunt.release(a.trial.release)]
    )
    return replace(evidence, hunt=replace(evidence.hunt, answers=answers))


def packages(serial: int) -> tuple[Package, ...]:
    listed = [
        Package(f"lib{name}{n}", f"{n}.{serial}-{n + 1}+deb{serial}u1", "amd64")
        for n in range(30)
        for name in ("alpha", "beta", "gamma", "delta")
    ]
    names = {12: "python3.11", 13: "python3.13"}
    return (
        *listed,
        Package("base-files", f"{serial}.1", "amd64"),
        Package("tzdata", "2026a-1", "all"),
        Package("python3", f"3.{serial - 1}.2-1", "amd64"),
        Package(names[serial], f"3.{serial - 1}.2-1", "amd64"),
    )


def build(serial: int, *notes: str) -> Build:
    return Build(
        recipe="mmdebstrap --variant=minbase --include=python3-minimal",
        origins=((f"https://deb.example.org/debian/dists/{serial}/InRelease", "ab" * 32),),
        packages=packages(serial),
        notes=notes,
    )


def log(version: str, tail: str) -> str:
    boring = "".join(f"checking for step {n:03d} ... yes\n" for n in range(60))
    return f"{boring}+ python3 --version\nPython 3.{version}\n+ python3 -c 'import crypt'\n{tail}"


def debian_evidence() -> Evidence:
    """Five releases: two suites that move, one trial broken, one cached."""
    releases = debian()
    found = hunt(
        releases,
        (4, Outcome.FAILED),
        (0, Outcome.PASSED),
        (2, Outcome.FAILED),
        (1, Outcome.PASSED),
        (3, Outcome.BROKEN),
        first_bad=2,
    )
    return Evidence(
        hunt=found,
        logs={
            releases[1].id: log("11.2", "<string>:1: DeprecationWarning: 'crypt' is deprecated\n"),
            releases[2].id: log("13.5", TRACEBACK),
            releases[3].id: "E: the repository has no Release file\n",
            releases[4].id: log("14.0", TRACEBACK),
        },
        builds={
            releases[1].id: build(12),
            releases[2].id: build(13, "The Release file expired on 2026-07-01 and was accepted"),
        },
        script="#!/bin/sh\nset -ex\npython3 --version\npython3 -c 'import crypt'\n",
        reproduce=(
            ("first bad", "behunt run debian-13-amd64 crypt.sh --package python3-minimal"),
            ("last good", "behunt run debian-12-amd64 crypt.sh --package python3-minimal"),
        ),
        version="0.1.0",
        host="build-host",
        made=MADE,
    )


def freebsd_evidence(number: int) -> Evidence:
    """A bisection of `number` releases that leaves an interval, for some could not be tested."""
    releases = freebsd(number)
    first = number * 2 // 3
    probes = [0, number - 1, number // 2, number * 3 // 4, first, first - 4, first - 2]
    outcomes = [
        (i, Outcome.SKIPPED if i == first - 2 else Outcome.FAILED if i >= first else Outcome.PASSED)
        for i in dict.fromkeys(probes)
    ]
    found = hunt(releases, *outcomes, first_bad=first)
    suspects = tuple(
        Suspect(releases[i].id, "skipped: no compiler" if i == first - 2 else "not tested: between")
        for i in range(first - 3, first)
    )
    reason = "the releases between could not be tested"
    found = replace(found, outcome=HuntOutcome.AMBIGUOUS, suspects=suspects, reason=reason)
    return replace(debian_evidence(), hunt=found, logs={}, builds={}, made="2026-07-20T00:00:00Z")


def hostile_evidence() -> Evidence:
    """Every text that comes from outside is hostile, and the logs are huge."""
    evidence = debian_evidence()
    found = evidence.hunt
    releases = tuple(replace(r, codename=HOSTILE[:300]) for r in found.releases)
    answers = tuple(replace(a, trial=replace(a.trial, reason=HOSTILE[:400])) for a in found.answers)
    noise = "".join(f"{n} <&\"'> {HOSTILE[:200]}\n" for n in range(3000))
    return replace(
        evidence,
        hunt=replace(found, releases=releases, answers=answers, reason=HOSTILE[:400]),
        logs={r.id: f"{r.id}\n{HOSTILE}{noise}" for r in found.releases},
        script=HOSTILE,
        reproduce=(("first bad", f"behunt run '{HOSTILE[:300]}'"),),
        host=HOSTILE[:100],
    )
