"""Find the release where the answer changed."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from behunt.drive.asked import Asked, check_kept, kept
from behunt.drive.installing import check
from behunt.drive.lab import Lab
from behunt.drive.trial import answer, known
from behunt.errors import BehuntError, UsageError
from behunt.events import HuntEnded, HuntStarted, Narrowed
from behunt.model import (
    Answered,
    Find,
    Hunt,
    HuntOutcome,
    Outcome,
    Release,
    Suspect,
    Trial,
    Verdict,
    verdict_of,
)
from behunt.results.log import Logged
from behunt.results.sessions import Session, State
from behunt.search import Question, about_left, conclude, next_probes
from behunt.storage.home import InUseError, exclusive


class InterruptedHuntError(BehuntError):
    """The user ended it. Its session can be resumed."""

    exit_code = 130

    def __init__(self, session: int) -> None:
        super().__init__(f"interrupted; nothing that was finished is lost (session {session})")
        self.session = session


def bisect(lab: Lab, asked: Asked) -> Hunt:
    """Hunt for what `asked` asks, as a new session.

    Raises UsageError or another BehuntError before anything is installed where it cannot work,
    InterruptedHuntError on Ctrl-C.
    """
    _check(lab, asked)
    asked = kept(asked, lab.home)
    session = lab.results.new_session("bisect", asked.to_params())
    with _alone(lab, session):
        return _hunt(lab, Search(session, asked))


def resume(lab: Lab, session: Session, asked: Asked) -> Hunt:
    """Go on with a session that was interrupted or killed. What it has answered counts.

    `asked` is what it was asked, perhaps with other jobs and another budget.
    """
    check_kept(asked)
    _check(lab, asked)
    with _alone(lab, session.id):
        search = Search(session.id, asked, resumed=session.resumed + 1)
        for answered in lab.results.answers(session.id):
            search.take(answered)
        for step in lab.results.unfinished(session.id):
            lab.results.end(step.id, "interrupted")
        lab.results.add_event(session.id, State.RESUMED)
        return _hunt(lab, search)


@contextlib.contextmanager
def _alone(lab: Lab, session: int) -> Iterator[None]:
    """Hold a session: two behunts must not write its history."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(exclusive(lab.home, f"session.{session}"))
        except InUseError as error:
            raise InUseError(
                f"session {session} is being run by another behunt", "wait for it to end"
            ) from error
        yield


def replay(lab: Lab, asked: Asked, answers: Sequence[Logged]) -> Hunt:
    """A new session that begins with the answers of a log, and asks for what they leave open."""
    _check(lab, asked)
    session = lab.results.new_session("bisect", asked.to_params())
    for logged in answers:
        told = replace(_told(asked, logged), session=session)
        lab.results.add_trial(told, verdict=logged.verdict)
    return resume(lab, lab.results.session(session), asked)


def _told(asked: Asked, logged: Logged) -> Trial:
    """A line of a log as a trial. Where a person changed its verdict, the outcome follows."""
    changed = verdict_of(logged.outcome, asked.settings.timeout_is) is not logged.verdict
    by_hand = {
        Verdict.GOOD: Outcome.PASSED,
        Verdict.BAD: Outcome.FAILED,
        Verdict.UNKNOWN: Outcome.SKIPPED,
    }
    return Trial(
        release=logged.release,
        test=asked.test.name,
        runner=asked.runner,
        outcome=by_hand[logged.verdict] if changed else logged.outcome,
        key="",  # what somebody wrote into a log is no answer to anything else
        reason="told by the log" if changed else logged.reason,
    )


def _check(lab: Lab, asked: Asked) -> None:
    ids = [release.id for release in asked.releases]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise UsageError(f"{', '.join(twice)} is twice in the range", "name each release once")
    if len(ids) < 2:  # noqa: PLR2004
        ends = ids[0] if ids else "nothing"
        raise UsageError(
            f"{ends} is both ends of the range: there is nothing to bisect",
            "name two releases, or use `behunt run` to ask one",
        )
    check(lab, asked.releases, asked.test)


@dataclass
class Search:
    """A hunt under way: what was asked, and what was answered so far."""

    session: int
    asked: Asked
    resumed: int = 0
    answers: list[Answered] = field(default_factory=list)
    seen: dict[int, Verdict] = field(default_factory=dict)

    @property
    def question(self) -> Question:
        asked = self.asked
        return Question(len(asked.releases), asked.find, asked.thorough, asked.open_start)

    @property
    def tried(self) -> int:
        return sum(not answered.cached for answered in self.answers)

    def take(self, answered: Answered) -> None:
        ids = [release.id for release in self.asked.releases]
        if answered.trial.release not in ids:
            raise UsageError(
                f"{answered.trial.release} is not in the range of session {self.session}",
                "correct the log",
            )
        self.answers.append(answered)
        self.seen[ids.index(answered.trial.release)] = answered.verdict

    def narrowed(self, answered: Answered) -> Narrowed:
        found = conclude(self.question, self.seen)
        left = about_left(self.question, self.seen)
        return Narrowed(answered, found.before, found.after, left)

    def hunt(self, *, started: str, seconds: float, installs: int, spent: bool = False) -> Hunt:
        releases = self.asked.releases
        found = conclude(self.question, self.seen, lambda index: releases[index].id)
        unfinished = found.kind is HuntOutcome.UNFINISHED
        return Hunt(
            session=self.session,
            outcome=HuntOutcome.BUDGET if spent and unfinished else found.kind,
            find=Find.BREAK if found.find is Find.CHANGE else found.find,
            releases=releases,
            test=self.asked.test,
            runner=self.asked.runner,
            before=None if found.before is None else releases[found.before].id,
            after=None if found.after is None else releases[found.after].id,
            suspects=tuple(self._suspect(releases[index]) for index in found.suspects),
            answers=tuple(self.answers),
            reason=found.reason,
            installs=installs,
            started=started,
            seconds=seconds,
            resumed=self.resumed,
        )

    def _suspect(self, release: Release) -> Suspect:
        trial = next(
            (a.trial for a in reversed(self.answers) if a.trial.release == release.id), None
        )
        if trial is None:
            return Suspect(release.id, "not tested")
        return Suspect(
            release.id, f"{trial.outcome}: {trial.why}" if trial.why else str(trial.outcome)
        )


def _hunt(lab: Lab, search: Search) -> Hunt:
    """Search until it is found, told, or the budget is spent; recorded either way."""
    asked = search.asked
    lab.emit(
        HuntStarted(
            search.session, asked.releases, asked.test.name, asked.runner, search.resumed > 0
        )
    )
    for answered in search.answers:  # of a session that is resumed
        lab.emit(search.narrowed(answered))
    started, began = dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), time.monotonic()
    try:
        spent = _searched(lab, search, began)
    except KeyboardInterrupt:
        lab.results.add_event(search.session, State.INTERRUPTED)
        raise InterruptedHuntError(search.session) from None
    seconds = time.monotonic() - began
    hunt = search.hunt(
        started=started,
        seconds=seconds,
        installs=lab.results.installs(search.session),
        spent=spent,
    )
    conclusion = {"outcome": str(hunt.outcome), "seconds": seconds}
    lab.results.add_event(search.session, State.ENDED, conclusion)
    lab.emit(HuntEnded(hunt))
    return hunt


def _searched(lab: Lab, search: Search, began: float) -> bool:
    """Ask until nothing more is worth asking. Whether the budget was spent before that."""
    asked = search.asked
    running: dict[Future[Answered], int] = {}
    most = math.inf if asked.budget.trials is None else search.tried + asked.budget.trials
    _recall(lab, search)
    pool = ThreadPoolExecutor(asked.jobs, thread_name_prefix="trial")
    try:
        while True:
            late = time.monotonic() - began >= (asked.budget.seconds or math.inf)
            left = 0 if late else most - search.tried - len(running)
            _submit(lab, search, pool, running, min(left, asked.jobs - len(running)))
            if not running or not next_probes(search.question, search.seen):
                break  # decided: what still runs can change nothing
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                del running[future]
                _took(lab, search, future.result())
    except BaseException:
        lab.stop()
        raise
    finally:
        lab.end(running)  # none of these leaves an answer
        pool.shutdown(wait=True, cancel_futures=True)
    return left <= 0


def _recall(lab: Lab, search: Search) -> None:
    """Take every answer that is stored already: none of these releases has to be asked."""
    releases = search.asked.releases
    newest = len(releases) - 1
    for index in (newest, *range(newest)):  # the ends first, as when they are asked
        answered = index not in search.seen and known(lab, releases[index], search.asked.test)
        if answered:
            _took(lab, search, answered)


def _submit(
    lab: Lab,
    search: Search,
    pool: ThreadPoolExecutor,
    running: dict[Future[Answered], int],
    want: float,
) -> None:
    """Begin up to `want` more trials, if that many are worth it."""
    asked = search.asked
    if want <= 0:
        return
    for index in next_probes(search.question, search.seen, int(want), running.values()):
        release = asked.releases[index]
        future = pool.submit(answer, lab, release, asked.test, session=search.session)
        running[future] = index


def _took(lab: Lab, search: Search, answered: Answered) -> None:
    own = answered.trial.session == search.session  # killed before it was told
    answered = replace(answered, cached=answered.cached and not own)
    search.take(answered)
    lab.results.add_answer(search.session, answered)
    lab.emit(search.narrowed(answered))
