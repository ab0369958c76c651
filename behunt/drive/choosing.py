"""Choose the lightest runner that can answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from behunt import __version__
from behunt.errors import BehuntError, UsageError
from behunt.families import KERNELS
from behunt.model import Release, Test
from behunt.runners.protocol import Runner
from behunt.suites.contract import unmet

AUTO = "auto"
# Lightest first. `chroot` shares too much with the host to be chosen unasked.
_CANDIDATES = ("namespace", "uml")


def choose(known: Mapping[str, Runner], name: str, releases: Sequence[Release], test: Test) -> str:
    """The name of the runner to use: `name`, or for `auto` the lightest that can answer.

    Releases that have nothing to install are left to the runner `none`. Raises UsageError for a
    name that is not known, and BehuntError with every reason where no runner will do.
    """
    if name != AUTO:
        if name not in known:
            raise UsageError(f"there is no runner {name}", f"runners: auto, {', '.join(known)}")
        return name
    if not any(release.sources for release in releases):
        return "none"
    reasons = {}
    for candidate in _CANDIDATES:
        reasons[candidate] = _why_not(known[candidate], releases, test)
        if not reasons[candidate]:
            return candidate
    raise BehuntError(_no_runner(reasons, releases[-1]), way_out(releases[-1]))


def _why_not(runner: Runner, releases: Sequence[Release], test: Test) -> str:
    if lacking := unmet(test, runner.capabilities):
        return f"it has no {', '.join(lacking)}"
    unfit = next((why for release in releases if (why := runner.unfit(release))), "")
    return unfit or runner.missing()


def _no_runner(reasons: Mapping[str, str], release: Release) -> str:
    if len(set(reasons.values())) == 1:
        return f"no runner here can answer for {release.id}: {next(iter(reasons.values()))}"
    told = "; ".join(f"{name}: {why}" for name, why in reasons.items())
    return f"no runner here can answer for {release.id} ({told})"


def way_out(release: Release) -> str:
    """What would run `release`, and how to get it."""
    kernel = KERNELS.get(release.os, "Linux")
    if kernel == "Linux":
        return "`behunt doctor` lists what this machine can do and what it lacks"
    return (
        f"missing: a {kernel} host, or a virtual machine that boots {release.label}; behunt "
        f"{__version__} drives neither yet, a later one will. What runs here: --os debian"
    )
