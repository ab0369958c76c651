"""How many trials a search needs, beside `git bisect run` on the same histories.

    python benchmarks/search.py [--histories 600] [--git 60] [--releases 65] [--seed 1] [--json]

A history is a range of releases whose ends are proved (good, bad; not counted as trials), one
change at a uniformly random place among all others, and untestable releases: none, each one
with a fixed chance, or all in a window of consecutive ones at a uniformly random place. The
ends are testable. git runs on the first of the same histories, in a real repository.

over-claimed  the answer excludes the truth, or names one release where an interval remains
wider         the interval could be narrower: testable releases are left in it
same          git names the same candidates for the first bad release
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from tabulate import tabulate

from behunt.model import HuntOutcome, Verdict
from behunt.search import Conclusion, Question, conclude, next_probes


@dataclass(frozen=True)
class Kind:
    """A column of histories, and the mean number of trials that is allowed on it."""

    name: str
    limit: float
    skipped: float = 0.0  # chance of each release to be untestable
    window: int = 0  # consecutive untestable releases


KINDS = (
    Kind("all testable", 6.0),
    Kind("10 % random", 6.7, skipped=0.1),
    Kind("30 % random", 8.2, skipped=0.3),
    Kind("window of 8", 7.6, window=8),
    Kind("window of 16", 9.4, window=16),
    Kind("window of 24", 11.0, window=24),
)


@dataclass(frozen=True)
class History:
    n: int
    first_bad: int
    untestable: frozenset[int]

    def verdict(self, index: int) -> Verdict:
        if index in self.untestable:
            return Verdict.UNKNOWN
        return Verdict.GOOD if index < self.first_bad else Verdict.BAD

    def best(self) -> tuple[int, int]:
        """The narrowest interval that testing everything could prove."""
        testable = [i for i in range(self.n) if i not in self.untestable]
        return (
            max(i for i in testable if i < self.first_bad),
            min(i for i in testable if i >= self.first_bad),
        )


def histories(kind: Kind, count: int, *, n: int = 65, seed: int = 1) -> Iterator[History]:
    """Seeded histories of one kind: the same ones for the same arguments, everywhere."""
    rng = random.Random(f"{seed} {kind.name}")
    for _ in range(count):
        untestable = {i for i in range(1, n - 1) if rng.random() < kind.skipped}
        if kind.window:
            start = rng.randrange(1, n - kind.window)
            untestable |= set(range(start, start + kind.window))
        yield History(n, rng.randrange(1, n), frozenset(untestable))


def hunt(history: History) -> tuple[int, Conclusion]:
    """Let behunt search one history: the number of trials, and what it concludes."""
    question = Question(history.n)
    ends = (0, history.n - 1)
    seen = {end: history.verdict(end) for end in ends}
    while probes := next_probes(question, seen):
        seen |= {probe: history.verdict(probe) for probe in probes}
    return len(seen) - len(ends), conclude(question, seen)


@dataclass(frozen=True)
class Score:
    """What one kind of histories cost. The fields of git are None where it did not run."""

    kind: str
    limit: float
    mean: float
    most: int
    over_claimed: int
    wider: float  # share of the histories
    git_mean: float | None = None
    git_most: int | None = None
    mean_there: float | None = None  # behunt's, on git's histories
    same: float | None = None  # share of git's histories

    @property
    def passed(self) -> bool:
        widest = 0.0 if "window" in self.kind else 0.01
        return self.mean <= self.limit and not self.over_claimed and self.wider <= widest


def over_claims(history: History, conclusion: Conclusion) -> bool:
    before, after = conclusion.before, conclusion.after
    if before is None or after is None or not before < history.first_bad <= after:
        return True
    return (conclusion.kind is HuntOutcome.FOUND) != (after == before + 1)


def score(kind: Kind, sample: Sequence[History], git: GitRepository | None, runs: int) -> Score:
    """Search every history of the sample, the first `runs` with git as well."""
    results = [hunt(history) for history in sample]
    trials = [count for count, _ in results]
    figures = Score(
        kind.name,
        kind.limit,
        fmean(trials),
        max(trials),
        sum(over_claims(h, c) for h, (_, c) in zip(sample, results, strict=True)),
        fmean((c.before, c.after) != h.best() for h, (_, c) in zip(sample, results, strict=True)),
    )
    if git is None or runs < 1:
        return figures
    theirs = [git.bisect(history) for history in sample[:runs]]
    counts = [count for count, _ in theirs]
    ours = [{*c.suspects, c.after} for _, c in results]
    return Score(
        **{
            **asdict(figures),
            "git_mean": fmean(counts),
            "git_most": max(counts),
            "mean_there": fmean(trials[: len(theirs)]),
            "same": fmean(a == b for a, (_, b) in zip(ours, theirs, strict=False)),
        }
    )


class GitRepository:
    """A throw-away repository with one empty commit for each release."""

    def __init__(self, path: Path, n: int) -> None:
        self.path = path
        self._git("init", "--quiet", "--initial-branch=main")
        commits = (
            f"commit refs/heads/main\nmark :{i + 1}\n"
            f"committer behunt <behunt@localhost> {10**9 + i} +0000\ndata 0\n"
            + (f"from :{i}\n" if i else "")
            for i in range(n)
        )
        self._git("fast-import", "--quiet", stdin="".join(commits))
        self.commits = self._git("rev-list", "--reverse", "main").split()

    def bisect(self, history: History) -> tuple[int, set[int]]:
        """Run `git bisect run`: the trials it made, and its candidates for the first bad one."""
        log = self.path / ".git" / "trials"
        log.write_text("")
        script = self.path / ".git" / "trial.sh"
        script.write_text(self._script(history))
        self._git("bisect", "start", "--no-checkout", self.commits[-1], self.commits[0])
        said = self._git("bisect", "run", "sh", str(script), fails=True)
        self._git("bisect", "reset")
        named = re.findall(r"^([0-9a-f]{40})(?: is the first bad commit)?$", said, re.MULTILINE)
        candidates = {self.commits.index(commit) for commit in named}
        return log.read_text().count("\n"), candidates

    def _script(self, history: History) -> str:
        """A test that counts itself and answers with git's exit codes, without a fork."""
        codes = {Verdict.GOOD: 0, Verdict.BAD: 1, Verdict.UNKNOWN: 125}
        cases = (
            f"{commit}) exit {codes[history.verdict(i)]};;" for i, commit in enumerate(self.commits)
        )
        head = "read -r head <.git/BISECT_HEAD\necho >>.git/trials\ncase $head in\n"
        return head + "\n".join(cases) + "\nesac\nexit 255\n"

    def _git(self, *args: str, stdin: str = "", fails: bool = False) -> str:
        done = subprocess.run(
            ["git", *args],
            cwd=self.path,
            input=stdin,
            text=True,
            capture_output=True,
            timeout=60,
            check=not fails,
        )
        return done.stdout


def table(scores: Sequence[Score]) -> str:
    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    head = "history|limit|mean|most|over-claimed|wider|git mean|git most|mean there|same"
    rows = [
        (
            s.kind,
            cell(s.limit, ".1f"),
            cell(s.mean, ".2f"),
            s.most,
            s.over_claimed,
            cell(s.wider, ".1%"),
            cell(s.git_mean, ".2f"),
            cell(s.git_most, "d"),
            cell(s.mean_there, ".2f"),
            cell(s.same, ".0%"),
        )
        for s in scores
    ]
    return tabulate(rows, head.split("|"), disable_numparse=True, stralign="right")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--histories", type=int, default=600, help="a kind (default 600)")
    parser.add_argument("--git", type=int, default=60, help="of these with git too (default 60)")
    parser.add_argument("--releases", type=int, default=65, help="in a history (default 65)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="behunt-benchmark-") as directory:
        git = GitRepository(Path(directory), args.releases) if args.git else None
        scores = [
            score(
                kind,
                list(histories(kind, args.histories, n=args.releases, seed=args.seed)),
                git,
                args.git,
            )
            for kind in KINDS
        ]
    if args.json:
        print(json.dumps([{**asdict(s), "passed": s.passed} for s in scores], indent=2))
    else:
        print(f"Trials to find one change among {args.releases} releases, the ends not counted:\n")
        print(table(scores))
    return 0 if all(s.passed for s in scores) else 1


if __name__ == "__main__":
    sys.exit(main())
