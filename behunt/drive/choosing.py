"""Choose the lightest runner that can answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from behunt import __version__
from behunt.errors import BehuntError, UsageError
from behunt.families import KERNELS
from behunt.families.freebsd import in_jails
from behunt.model import Release, Test
from behunt.runners.protocol import Runner
from behunt.runners.uml_registers import doubt
from behunt.suites.contract import unmet

AUTO = "auto"
# By the kernel that a release's programs call, lightest first. `chroot` shares too much with the
# host to be chosen unasked.
_CANDIDATES = {
    "Linux": ("namespace", "uml", "qemu"),
    "FreeBSD": ("jail", "vnet", "bhyve", "qemu"),
    "OpenBSD": ("vmm",),
}
_ANY = ("namespace", "jail", "vnet", "uml", "qemu", "bhyve", "vmm")


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
    for candidate in _candidates(releases):
        reasons[candidate] = _why_not(known[candidate], releases, test)
        if not reasons[candidate]:
            return candidate
    raise BehuntError(_no_runner(reasons, releases[-1]), way_out(releases[-1]))


def _candidates(releases: Sequence[Release]) -> Sequence[str]:
    """Lightest first, but for what may be wrong here."""
    kernels = {KERNELS.get(release.os, "") for release in releases}
    found = _CANDIDATES.get(kernels.pop(), _ANY) if len(kernels) == 1 else _ANY
    return sorted(found, key=lambda name: name == "uml" and doubt() != "")


def _why_not(runner: Runner, releases: Sequence[Release], test: Test) -> str:
    unfit = next((why for release in releases if (why := runner.unfit(release))), "")
    if lacks := unfit or runner.missing():
        return lacks
    lacking = unmet(test, runner.capabilities)
    return f"it has no {', '.join(lacking)}" if lacking else ""


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
    if kernel == "FreeBSD" and in_jails(release):
        return (
            f"jails of a FreeBSD host run it, if that is {release.version} or later: --host "
            "root@HOST --store zfs:POOL/DATASET (docs/freebsd-host.md)"
        )
    if kernel == "OpenBSD":
        return "vmd of an OpenBSD host boots it: --runner vmm --host root@HOST (docs/vm-hosts.md)"
    return (
        f"missing: a virtual machine that boots {release.label}; behunt {__version__} drives "
        "none yet, a later one will. What runs here: --os debian"
    )
