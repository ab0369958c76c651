"""The sentences every form of report shares. Light: the terminal's summary needs them too."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

from behunt.model import Answered, Find, Hunt, HuntOutcome, Release, Verdict

# By name, because a stored trial may be of a runner that this machine does not have.
OWN_KERNEL = frozenset({"uml", "qemu", "bhyve", "vmm", "metal"})
_NAMES = {  # as those who make them write them
    "debian": "Debian",
    "dragonfly": "DragonFly",
    "freebsd": "FreeBSD",
    "netbsd": "NetBSD",
    "omnios": "OmniOS",
    "openbsd": "OpenBSD",
}
_MINUTE, _HOUR = 60, 3600
_FEW_SECONDS = 10


def named(release: Release) -> str:
    """`Debian 12 (bookworm)`."""
    return _NAMES.get(release.os, release.os) + release.label.removeprefix(release.os)


def roles(hunt: Hunt) -> tuple[str, str]:
    """What the two neighbours of the change are called."""
    fix = hunt.find is Find.FIX
    return ("last bad", "first good") if fix else ("last good", "first bad")


def role_of(hunt: Hunt, release_id: str) -> str:
    return dict(zip((hunt.before, hunt.after), roles(hunt), strict=True)).get(release_id, "")


def neighbours(hunt: Hunt) -> list[tuple[str, Release]]:
    """(role, release) of those of the two that were proved."""
    pairs = zip(roles(hunt), (hunt.before, hunt.after), strict=True)
    return [(role, hunt.release(found)) for role, found in pairs if found]


def tested_on(hunt: Hunt, release_id: str) -> str:
    """The day of a release's trial, or of the hunt: what a moving suite is dated by."""
    trials = [a.trial.started for a in hunt.answers if a.trial.release == release_id]
    return next(filter(None, reversed(trials)), hunt.started)[:10]


def date_of(hunt: Hunt, release: Release) -> str:
    """`2023-06-10`, `as of 2026-07-01` for a moving suite, or "" if the catalogue has none."""
    if release.moving:
        day = tested_on(hunt, release.id)
        return f"as of {day}" if day else ""
    return release.date.isoformat() if release.date else ""


def dated(hunt: Hunt, release: Release) -> str:
    """`Debian 12 (bookworm), released 2023-06-10`."""
    date = date_of(hunt, release)
    return ", ".join(
        filter(None, (named(release), date if release.moving or not date else f"released {date}"))
    )


def support(release: Release, today: str) -> str:
    """How a release was supported on `today` (an ISO date), "" if the catalogue does not know."""
    if release.moving:
        return "a moving suite"
    if release.eol is None:
        return ""
    eol = release.eol.isoformat()
    return f"unsupported since {eol}" if today and eol < today else f"supported until {eol}"


def span(seconds: float) -> str:
    """`35 ms`, `1.4 s`, `12 s`, `3 min 20 s`, `1 h 02 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _FEW_SECONDS:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def spoken(items: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = items
    return f"{', '.join(most)} and {last}" if most else last


def headline(hunt: Hunt) -> str:
    """The verdict in a few words."""
    done = "Fixed" if hunt.find is Find.FIX else "Broke"
    if hunt.outcome is HuntOutcome.FOUND and hunt.after:
        return f"{done} in {named(hunt.release(hunt.after))}"
    if hunt.outcome is HuntOutcome.CONTRADICTION:
        return "The answers contradict each other"
    ended = {
        HuntOutcome.BROKEN: "Too much was broken",
        HuntOutcome.BUDGET: "The budget was spent",
        HuntOutcome.UNFINISHED: "Unfinished",
    }.get(hunt.outcome, "")
    interval = _interval(hunt, done.lower() if ended else done)
    return ": ".join(filter(None, (ended, interval or "no answer yet")))


def _interval(hunt: Hunt, done: str) -> str:
    match [named(release) for _, release in neighbours(hunt)]:
        case [before, after]:
            return f"{done} after {before} and by {after}"
        case _:
            return ""


def sentence(hunt: Hunt) -> str:
    """One sentence that can be pasted into a mail to those who made the release."""
    was, now = ("fails", "passes") if hunt.find is Find.FIX else ("passes", "fails")
    if not (hunt.before and hunt.after):
        return _without_interval(hunt)
    before, after = (dated(hunt, release) for _, release in neighbours(hunt))
    if hunt.outcome is HuntOutcome.FOUND:
        return f"{hunt.test.name} last {was} on {before}, and first {now} on {after}."
    open_ = len(hunt.suspects)
    where = (
        f"; where between them it changed is open for {count(open_, 'release')}" if open_ else ""
    )
    return f"{hunt.test.name} {was} on {before}, and {now} on {after}{where}."


def _without_interval(hunt: Hunt) -> str:
    proved = [f"{role}: {dated(hunt, release)}" for role, release in neighbours(hunt)]
    known = f" ({proved[0]})" if proved else ""
    return f"Where {hunt.test.name} changed is not known{known}."


def grounds(hunt: Hunt) -> tuple[str, ...]:
    """Why the verdict can be believed, and how far."""
    told = (stop(hunt.reason), _coverage(hunt), *_order(hunt), *kernels(hunt), *_notes(hunt))
    return tuple(filter(None, told))


def stop(text: str) -> str:
    """A sentence: with a full stop, and a capital unless it begins with the id of a release."""
    text = text.strip()
    if not text:
        return ""
    first = text if "-" in text.split()[0] else text[:1].upper() + text[1:]
    return first if text.endswith((".", "!", "?")) else f"{first}."


def _coverage(hunt: Hunt) -> str:
    tested, total = len({a.trial.release for a in hunt.answers}), len(hunt.releases)
    ends = f", {named(hunt.releases[0])} to {named(hunt.releases[-1])}" if hunt.releases else ""
    which = "All" if tested == total else f"{tested} of the"
    text = f"{which} {count(total, 'release')} in the range{ends}, were tested"
    if hunt.outcome is HuntOutcome.FOUND:
        text += "; no release of the range lies between the two"
    return f"{text}."


def still_open(hunt: Hunt) -> Iterator[tuple[str, str]]:
    """(releases, reason): suspects that follow each other with the same reason are told at once."""
    for reason, group in groupby(hunt.suspects, lambda suspect: suspect.reason):
        found = [hunt.release(suspect.release) for suspect in group]
        first, last = named(found[0]), named(found[-1])
        yield first if first == last else f"{first} to {last} ({len(found)})", reason


def seen(hunt: Hunt) -> list[tuple[Release, tuple[Verdict, ...]]]:
    """What each tested release answered, oldest first."""
    answers: dict[str, list[Verdict]] = {}
    for answered in hunt.answers:
        answers.setdefault(answered.trial.release, []).append(answered.verdict)
    return [(r, tuple(answers[r.id])) for r in hunt.releases if r.id in answers]


def _order(hunt: Hunt) -> Iterator[str]:
    """What was seen, where it does not fit into `one kind, then the other`."""
    if hunt.outcome is HuntOutcome.CONTRADICTION:
        told = (f"{named(release)} {'/'.join(verdicts)}" for release, verdicts in seen(hunt))
        yield f"Seen, oldest first: {', '.join(told)}."


def kernels(hunt: Hunt) -> Iterator[str]:
    """What each runner's verdicts are about: a shared kernel cannot show a kernel's regression."""
    by_runner: dict[str, list[Answered]] = {}
    for answered in hunt.answers:
        by_runner.setdefault(answered.trial.runner, []).append(answered)
    for runner, answers in by_runner.items():
        names = sorted({a.trial.kernel for a in answers if a.trial.kernel})
        yield _kernel(runner, count(len(answers), "verdict"), names)


def _kernel(runner: str, verdicts: str, names: list[str]) -> str:
    given = f"{verdicts} given by runner {runner}"
    if runner in OWN_KERNEL:
        return f"{given}: each release ran its own kernel."
    kernel = f" ({spoken(names)})" if names else ""
    if runner == "none":
        return f"{given}: the test ran on the host itself{kernel}, not inside the releases."
    return f"{given}: about the releases' userland; the kernel was the host's{kernel}."


def _notes(hunt: Hunt) -> Iterator[str]:
    notes = Counter(answered.trial.note for answered in hunt.answers)
    for note, times in notes.items():
        if note:
            yield f"{count(times, 'verdict')} with a doubt: {note}."


def days_between(hunt: Hunt) -> int | None:
    """Days from one neighbour's release to the other's; None where a date is missing or moves."""
    dates = [r.date for _, r in neighbours(hunt) if not r.moving and isinstance(r.date, dt.date)]
    return abs((dates[1] - dates[0]).days) if len(dates) == 2 else None  # noqa: PLR2004
