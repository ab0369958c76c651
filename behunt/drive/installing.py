"""Have a release's boot environment: the sealed one, its archive, or a fresh installation."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from behunt.drive.choosing import way_out
from behunt.drive.filling import Source, filled, order_of, source_of
from behunt.drive.lab import AGAIN, InterruptedTrialError, Lab
from behunt.errors import BehuntError, InstallError, UsageError
from behunt.events import InstallEnded, InstallStarted
from behunt.install import installer_for
from behunt.model import BootEnv, Build, Release, Test
from behunt.storage.home import InUseError, exclusive
from behunt.suites.contract import unmet

_LONGEST = 120  # characters of a boot environment's name


def name_of(release: Release, packages: Sequence[str] = ()) -> str:
    """`debian-12-amd64`, or `debian-12-amd64+curl+git` with packages beyond the usual."""
    name = "+".join([release.id, *sorted(set(packages))])
    if len(name) <= _LONGEST and "/" not in name:
        return name
    return f"{release.id}+{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def check(lab: Lab, releases: Sequence[Release], test: Test | None = None) -> None:
    """Refuse what cannot work on this machine, before anything is installed or tested."""
    if test and (lacking := unmet(test, lab.runner.capabilities)):
        raise UsageError(
            f"the test needs {', '.join(lacking)}, which the runner {lab.runner.name} has not",
            "choose another with --runner; behunt(8) lists what each can do",
        )
    if lacks := lab.runner.missing():
        raise BehuntError(lacks, "`behunt doctor` lists what this machine can do")
    for release in releases:
        if why := lab.runner.unfit(release):
            raise BehuntError(
                f"the runner {lab.runner.name} cannot run {release.id} here: {why}",
                way_out(release),
            )
        if lab.runner.needs_root_tree:
            _check_installer(lab, release)


def _check_installer(lab: Lab, release: Release) -> None:
    if have(lab, release):
        return
    if lacks := installer_for(release).missing(order_of(lab, release)):
        raise InstallError(lacks, "`behunt doctor` lists what this machine can do")


def ensure(lab: Lab, release: Release, *, session: int | None = None) -> BootEnv:
    """The sealed boot environment of `release`. Raises InstallError."""
    found = have(lab, release)
    if found is None:
        name = name_of(release, lab.settings.packages)
        # Two trials, or two behunts, that need the same one: the second waits and finds it.
        with _turn(lab, f"install.{name}"):
            found = have(lab, release) or _installed(lab, release, session)
    return found


def install_all(lab: Lab, releases: Sequence[Release], jobs: int) -> list[BootEnv]:
    """Have all of them, `jobs` at a time. Raises the first error after the others have ended."""
    if lab.runner.needs_root_tree:
        check(lab, releases)
    else:  # nothing is run, so it is all the same where its runner works
        for release in releases:
            _check_installer(lab, release)
    with ThreadPoolExecutor(jobs) as pool:
        wanted = [pool.submit(ensure, lab, release) for release in releases]
        try:
            return [future.result() for future in wanted]
        except BaseException as error:
            begun = [future for future in wanted if not future.cancel()]
            if isinstance(error, KeyboardInterrupt):
                lab.end(begun)
            raise


@contextlib.contextmanager
def _turn(lab: Lab, name: str) -> Iterator[None]:
    """Hold `name` once nobody else does. Raises InterruptedTrialError if the lab stops first."""
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(exclusive(lab.home, name))
                break
            except InUseError as error:
                if lab.stopping.wait(AGAIN):
                    raise InterruptedTrialError("interrupted") from error
        yield


def have(lab: Lab, release: Release) -> BootEnv | None:
    """The sealed boot environment of `release`, if there is one and it is what is ordered.

    It may not be: two catalogues can give one name to different sources, and a source of the
    user's own changes. This is looked at once in the life of a lab.
    """
    found = _sealed(lab, release)
    return found if found and _is_current(lab, release, found) else None


def _is_current(lab: Lab, release: Release, found: BootEnv) -> bool:
    if found not in lab.current:
        if not _is_ordered(lab, release, lab.store.build(found)):
            return False
        lab.current.add(found)
    return True


def _sealed(lab: Lab, release: Release) -> BootEnv | None:
    return lab.store.find(name_of(release, lab.settings.packages))


def _is_ordered(lab: Lab, release: Release, build: Build) -> bool:
    installer, order = installer_for(release), order_of(lab, release)
    if build.recipe != installer.recipe(order):
        return False
    if not installer.local(order):  # a suite stays as it was when it was installed
        return True
    with contextlib.suppress(InstallError):
        return installer.resolve(order).digest in {digest for _, digest in build.origins}
    return False


def _installed(lab: Lab, release: Release, session: int | None) -> BootEnv:
    step = lab.results.begin(session, "install", release.id, lab.owner.token)
    began = time.monotonic()
    how, error = "", ""
    try:
        how, bootenv = _by_any_means(lab, release)
    except BehuntError as failure:
        error = failure.message
        if lab.stopping.is_set():
            raise InterruptedTrialError("interrupted during an installation") from failure
        raise
    finally:
        lab.results.end(step, error or how)
        lab.emit(InstallEnded(release.id, how, time.monotonic() - began, error))
    return bootenv


def _by_any_means(lab: Lab, release: Release) -> tuple[str, BootEnv]:
    source = source_of(lab, release)
    lab.emit(InstallStarted(release.id, source.how))
    try:
        return source.how, _made(lab, release, source)
    except UsageError:
        # A behunt of another home, which knows nothing of our turn, may have been faster.
        if theirs := have(lab, release):
            return source.how, theirs
        raise


def _made(lab: Lab, release: Release, source: Source) -> BootEnv:
    if found := _sealed(lab, release):
        if _is_current(lab, release, found):
            return found
        lab.store.destroy(found)
    bootenv = lab.store.create(name_of(release, source.order.packages), release.id)
    return filled(lab, source, bootenv)
