"""What a hunt was asked, as it is stored: enough to resume it anywhere the home is."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from behunt.drive.lab import Settings
from behunt.errors import HostError, UsageError
from behunt.model import Find, Limits, Release, Test, TestFile, Verdict
from behunt.storage.home import Home


@dataclass(frozen=True, slots=True)
class Budget:
    """What a hunt may cost. None: no end."""

    trials: int | None = None
    seconds: float | None = None


NO_END = Budget()


@dataclass(frozen=True, slots=True)
class Asked:
    """One bisection: the range, the test, and how to search."""

    releases: tuple[Release, ...]  # oldest first
    test: Test
    runner: str
    find: Find = Find.BREAK
    thorough: bool = False
    open_start: bool = False
    jobs: int = 1
    budget: Budget = NO_END
    settings: Settings = Settings()  # noqa: RUF009 - frozen
    catalogues: tuple[str, ...] = ()  # files of the user's that the releases are from

    def to_params(self) -> dict[str, Any]:
        """As JSON can hold it; read back by `from_params`."""
        return {
            "find": str(self.find),
            "runner": self.runner,
            "thorough": self.thorough,
            "open_start": self.open_start,
            "jobs": self.jobs,
            "budget": asdict(self.budget),
            "catalogues": list(self.catalogues),
            "settings": {**asdict(self.settings), "timeout_is": str(self.settings.timeout_is)},
            "test": _test_params(self.test),
            "releases": [_release_params(release) for release in self.releases],
        }


def from_params(params: Mapping[str, Any]) -> Asked:
    """The inverse of `Asked.to_params`."""
    settings = params["settings"]
    return Asked(
        releases=tuple(_release(row) for row in params["releases"]),
        test=_test(params["test"]),
        runner=params["runner"],
        find=Find(params["find"]),
        thorough=params["thorough"],
        open_start=params["open_start"],
        jobs=params["jobs"],
        budget=Budget(**params["budget"]),
        catalogues=tuple(params["catalogues"]),
        settings=Settings(
            **{
                **settings,
                "packages": tuple(settings["packages"]),
                "timeout_is": Verdict(settings["timeout_is"]),
            }
        ),
    )


def brief(asked: Asked) -> dict[str, Any]:
    """`to_params` without the releases and all that is as usual: what a log shows."""
    usual = _usual()
    told: dict[str, Any] = {}
    for name, value in asked.to_params().items():
        if isinstance(value, dict):
            value = {key: part for key, part in value.items() if part != usual[name][key]}  # noqa: PLW2901
        if name != "releases" and value != usual[name] and value != {}:
            told[name] = value
    argv = told["test"].pop("argv")
    return {**told, "argv": list(argv)}


def from_brief(params: Mapping[str, Any], releases: Sequence[Release]) -> Asked:
    """The inverse of `brief`. Raises UsageError for what cannot be one."""
    whole = _usual()
    try:
        for name, value in params.items():
            if name == "argv":
                whole["test"]["argv"] = value
            elif name != "releases":
                whole[name] = {**whole[name], **value} if isinstance(value, dict) else value
        asked = replace(from_params(whole), releases=tuple(releases))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"the log's first command cannot be understood: {error}",
            "`behunt bisect log` shows what it looks like",
        ) from error
    if not asked.runner:
        raise UsageError("the log names no runner", "add one to its first command: --runner none")
    return asked


def _usual() -> dict[str, Any]:
    return Asked((), Test("", ()), "").to_params()


def kept(asked: Asked, home: Home) -> Asked:
    """The same with the test's files copied to the home.

    So the hunt asks every release the same, also when the user edits the test meanwhile, or
    resumes it next week.
    """
    directory = home.sessions / asked.test.digest()[:24]
    files = []
    for file in asked.test.files:
        target = directory / PurePosixPath(file.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            partial = target.with_name(f".{target.name}.partial")
            shutil.copy(file.path, partial)
            partial.rename(target)
        files.append(TestFile(file.name, target))
    return replace(asked, test=replace(asked.test, files=tuple(files)))


def check_kept(asked: Asked) -> None:
    """Raises HostError where the test's files are gone, so that the hunt cannot go on."""
    for file in asked.test.files:
        if not file.path.is_file():
            raise HostError(
                f"the kept copy of {file.name} is gone: {file.path}", "start the hunt again"
            )


def _test_params(test: Test) -> dict[str, Any]:
    return {
        **asdict(test),
        "files": [[file.name, str(file.path)] for file in test.files],
        "needs": sorted(test.needs),
    }


def _test(row: Mapping[str, Any]) -> Test:
    return Test(
        **{
            **row,
            "argv": tuple(row["argv"]),
            "files": tuple(TestFile(name, Path(path)) for name, path in row["files"]),
            "needs": frozenset(row["needs"]),
            "limits": Limits(**row["limits"]),
            "env": tuple((name, value) for name, value in row["env"]),
        }
    )


def _release_params(release: Release) -> dict[str, Any]:
    days = {"date": release.date, "eol": release.eol}
    return {**asdict(release), **{k: day.isoformat() if day else None for k, day in days.items()}}


def _release(row: Mapping[str, Any]) -> Release:
    pairs = {key: tuple((k, v) for k, v in row[key]) for key in ("traits", "pinned")}
    days = {key: dt.date.fromisoformat(row[key]) if row[key] else None for key in ("date", "eol")}
    plain = {"arches": tuple(row["arches"]), "sources": tuple(row["sources"])}
    return Release(**{**row, **pairs, **days, **plain})
