"""Ask one release: have its boot environment, clone it, get inside, run the test, keep all."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from dataclasses import dataclass, replace
from pathlib import Path

from behunt.drive.exchange import Log, directories, kept_outputs, metrics_text, opened_log
from behunt.drive.filling import install_log
from behunt.drive.installing import ensure, have, name_of
from behunt.drive.lab import InterruptedTrialError, Lab
from behunt.errors import BehuntError, InstallError
from behunt.events import TrialEnded, TrialStarted
from behunt.hosts.protocol import Completed, Sink
from behunt.model import (
    Answered,
    BootEnv,
    Outcome,
    Release,
    Test,
    Trial,
    Verdict,
    sha256_of,
    verdict_of,
)
from behunt.runners.protocol import Inside, Setup
from behunt.storage.protocol import Clone
from behunt.suites import contract


def answer(
    lab: Lab, release: Release, test: Test, *, session: int | None = None, sink: Sink | None = None
) -> Answered:
    """The answer of `release`: a cached one to exactly these inputs, or that of a new trial.

    What is BROKEN is tried again `retries` times. Every attempt is stored. `sink` sees the
    test's output as it comes. Raises InterruptedTrialError once the lab is stopping.
    """
    for attempt in itertools.count(1):
        answered = _attempt(lab, _Asked(release, test, session, attempt, sink))
        broken = answered.trial.outcome is Outcome.BROKEN
        if not broken or attempt > lab.settings.retries:
            return answered
    raise AssertionError


def known(lab: Lab, release: Release, test: Test) -> Answered | None:
    """The stored answer of `release` to exactly these inputs, without installing anything."""
    bootenv = have(lab, release) if lab.runner.needs_root_tree else None
    if lab.settings.fresh or (lab.runner.needs_root_tree and bootenv is None):
        return None
    part = lab.runner.prepared(bootenv)
    if part is None:
        return None
    identity = bootenv.identity if bootenv else ""
    found = lab.results.answer_for(trial_key(lab, release, test, identity, part))
    return Answered(found, _verdict(lab, found), cached=True) if found else None


# The oldest shells have no `command -v`; most interpreters are named with their directory.
_IS_THERE = 'case $1 in */*) test -x "$1";; *) command -v "$1";; esac'


@dataclass(frozen=True, slots=True)
class _Asked:
    release: Release
    test: Test
    session: int | None
    attempt: int
    sink: Sink | None


def _attempt(lab: Lab, asked: _Asked) -> Answered:
    step = lab.results.begin(asked.session, "trial", asked.release.id, lab.owner.token)
    blank = Trial(
        release=asked.release.id,
        test=asked.test.name,
        runner=lab.runner.name,
        outcome=Outcome.BROKEN,
        key="",
        started=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
        attempt=asked.attempt,
        session=asked.session,
    )
    began = time.monotonic()
    try:
        done = _worked(lab, asked, blank)
    except BehuntError as error:
        log = _install_log(lab, asked) if isinstance(error, InstallError) else None
        done = replace(
            blank,
            reason=error.message,
            seconds=time.monotonic() - began,
            log=str(log) if log and log.exists() else "",
        )
    if isinstance(done, Answered):
        lab.results.end(step, "cached")
        return done
    if lab.stopping.is_set():
        raise InterruptedTrialError("interrupted")
    stored = lab.results.add_trial(done, step=step)
    lab.emit(TrialEnded(stored))
    return Answered(stored, _verdict(lab, stored))


def _install_log(lab: Lab, asked: _Asked) -> Path:
    return install_log(lab, name_of(asked.release, lab.settings.packages))


def _verdict(lab: Lab, trial: Trial) -> Verdict:
    return verdict_of(trial.outcome, lab.settings.timeout_is)


def _worked(lab: Lab, asked: _Asked, blank: Trial) -> Trial | Answered:
    if not lab.runner.needs_root_tree:
        return _looked_up(lab, asked, blank, None, None)
    bootenv = ensure(lab, asked.release, session=asked.session)
    with lab.store.clone(bootenv) as clone:
        return _looked_up(lab, asked, blank, bootenv, clone)


def _looked_up(
    lab: Lab, asked: _Asked, blank: Trial, bootenv: BootEnv | None, clone: Clone | None
) -> Trial | Answered:
    part = lab.runner.prepare(asked.release, clone) if clone else ""
    identity = bootenv.identity if bootenv else ""
    key = trial_key(lab, asked.release, asked.test, identity, part)
    if cached := _cached(lab, asked, key):
        return Answered(cached, _verdict(lab, cached), cached=True)
    lab.emit(TrialStarted(asked.release.id, asked.test.name, lab.runner.name, asked.attempt))
    return _run(lab, asked, replace(blank, key=key, identity=identity), clone)


def trial_key(lab: Lab, release: Release, test: Test, identity: str, part: str) -> str:
    """SHA-256 of every input of an answer. Without its own kernel the host's counts as one."""
    kernel = part or lab.facts.release
    runner, machine = lab.runner.name, lab.facts.machine
    return sha256_of([release.id, identity, test.digest(), runner, kernel, machine])


def _cached(lab: Lab, asked: _Asked, key: str) -> Trial | None:
    """With --fresh only what this session itself has found counts: it may have been resumed."""
    found = lab.results.answer_for(key)
    if found and lab.settings.fresh and (asked.session is None or found.session != asked.session):
        return None
    return found


def _run(lab: Lab, asked: _Asked, trial: Trial, clone: Clone | None) -> Trial:
    began = time.monotonic()
    with directories(lab, asked.release, asked.test) as (kept, exchange):
        setup = Setup(
            exchange,
            hostname=asked.release.id[:64],
            owner=lab.owner.token,
            home=lab.home.id,
            limits=asked.test.limits,
            network=asked.test.network,
            reboots="reboot" in asked.test.needs,
        )
        with (
            lab.runner.enter(clone, setup) as inside,
            opened_log(kept / "log", asked.sink) as log,
        ):
            if lab.stopping.is_set():  # what is entered from here on is ended by Lab.stop
                raise InterruptedTrialError("interrupted")
            done = _completed(lab, asked, inside, log)
            exhausted = inside.exhausted() if done.code else ""
            ended = contract.ending(done, exhausted=exhausted, exceeded=inside.exceeded())
            kernel, note = inside.kernel(), inside.note()
        return replace(
            trial,
            outcome=ended.outcome,
            reason=ended.reason,
            exit_code=ended.exit_code,
            metrics=contract.metrics(metrics_text(exchange)),
            seconds=time.monotonic() - began,
            log=str(kept / "log"),
            out=kept_outputs(exchange, kept / "out"),
            kernel=kernel,
            note=note,
        )


def _completed(lab: Lab, asked: _Asked, inside: Inside, log: Log) -> Completed:
    """Run the test, unless a program that it cannot start without is missing."""
    test = asked.test
    # The host's kernel tells which interpreter is missing; a machine of its own cannot tell us.
    known = 1 if inside.host is inside.files else 0
    for program in contract.interpreters(test)[known:]:
        found = inside.files.run(["sh", "-c", _IS_THERE, "sh", program], env=dict(test.env))
        if found.started and found.code != 0:
            return Completed(
                test.argv, 127, started=False, failure=f"its interpreter {program!r} is not there"
            )
    return inside.host.run(
        test.argv,
        env={
            "HOME": inside.home,
            **contract.environment(test, asked.release, lab.runner.name, inside.at),
        },
        cwd=str(inside.at / contract.WORK),
        timeout=test.timeout,
        sink=log.take,
    )
