"""Find the release where the answer changed."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from behunt.drive.asked import Asked, check_kept, from_params, kept
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
    Release,
    Suspect,
    Trial,
    Verdict,
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
    return _hunt(lab, Search(session, asked))


def resume(lab: Lab, session: Session) -> Hunt:
    """Go on with a session that was interrupted or killed. What it has answered counts."""
    asked = from_params(session.params)
    check_kept(asked)
    _check(lab, asked)
    search = Search(session.id, asked, resumed=session.resumed + 1)
    for answered in lab.results.answers(session.id):
        search.take(answered)
    for step in lab.results.unfinished(session.id):
        lab.results.end(step.id, "interrupted")
    lab.results.add_event(session.id, State.RESUMED)
    return _hunt(lab, search)


def replay(lab: Lab, asked: Asked, answers: Sequence[Logged]) -> Hunt:
    """A new session that begins with the answers of a log, and asks for what they leave open."""
    session = lab.results.new_session("bisect", asked.to_params())
    for logged in answers:
        told = Trial(
            release=logged.release,
            test=asked.test.name,
            runner=asked.runner,
            outcome=logged.outcome,
            key="",  # what somebody wrote into a log is no answer to anything else
            reason=logged.reason or "told by the log",
            session=session,
        )
        lab.results.add_trial(told, verdict=logged.verdict)
    return resume(lab, lab.results.session(session))


def _check(lab: Lab, asked: Asked) -> None:
    if len(asked.releases) < 2:  # noqa: PLR2004
        raise UsageError(
            f"{asked.releases[0].id} is both ends of the range: there is nothing to bisect",
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
            release.id, f"{trial.outcome}: {trial.reason}" if trial.reason else str(trial.outcome)
        )


def _hunt(lab: Lab, search: Search) -> Hunt:
    """Search until it is found, told, or the budget is spent; recorded either way."""
    asked = search.asked
    lab.emit(
        HuntStarted(
            search.session, asked.releases, asked.test.name, asked.runner, search.resumed > 0
        )
    )
    started, began = dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), time.monotonic()
    try:
        with exclusive(lab.home, f"session.{search.session}"):
            spent = _searched(lab, search, began)
    except InUseError as error:
        raise InUseError(
            f"session {search.session} is being run by another behunt", "wait for it to end"
        ) from error
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
    _recall(lab, search)
    pool = ThreadPoolExecutor(asked.jobs, thread_name_prefix="trial")
    try:
        while True:
            spent = _spent(search, began)
            if not spent:
                _submit(lab, search, pool, running)
            if not running:
                return spent
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                del running[future]
                _took(lab, search, future.result())
    except BaseException:
        lab.stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _recall(lab: Lab, search: Search) -> None:
    """Take every answer that is stored already: none of these releases has to be asked."""
    asked = search.asked
    for index, release in enumerate(asked.releases):
        if index not in search.seen and (answered := known(lab, release, asked.test)):
            _took(lab, search, answered)


def _submit(
    lab: Lab, search: Search, pool: ThreadPoolExecutor, running: dict[Future[Answered], int]
) -> None:
    asked = search.asked
    want = asked.jobs - len(running)
    for index in next_probes(search.question, search.seen, want, running.values()) if want else ():
        release = asked.releases[index]
        future = pool.submit(answer, lab, release, asked.test, session=search.session)
        running[future] = index


def _took(lab: Lab, search: Search, answered: Answered) -> None:
    search.take(answered)
    lab.results.add_answer(search.session, answered)
    lab.emit(search.narrowed(answered))


def _spent(search: Search, began: float) -> bool:
    budget = search.asked.budget
    tried = sum(not answered.cached for answered in search.answers)
    if budget.trials is not None and tried >= budget.trials:
        return True
    return budget.seconds is not None and time.monotonic() - began >= budget.seconds
