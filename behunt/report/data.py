"""What a report is made from: a hunt, and the evidence that was kept of it."""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from behunt.model import Build, Hunt, Test

if TYPE_CHECKING:
    from behunt.results.store import Results

_LOG_END = 2_000_000  # bytes read of each end of a log; a report shows far less


@dataclass(frozen=True, slots=True)
class Evidence:
    """A hunt with its logs and builds. Nothing in it is trusted: what shows it cleans it."""

    hunt: Hunt
    logs: Mapping[str, str] = field(default_factory=dict)  # Release.id → its trial's log
    builds: Mapping[str, Build] = field(default_factory=dict)  # Release.id → what was installed
    script: str = ""  # the text of the test
    reproduce: tuple[tuple[str, str], ...] = ()  # (label, command line)
    version: str = ""  # behunt's
    host: str = ""
    made: str = ""  # ISO 8601, UTC

    def log(self, release_id: str | None) -> str:
        return self.logs.get(release_id, "") if release_id else ""

    def build(self, release_id: str | None) -> Build | None:
        return self.builds.get(release_id) if release_id else None


def gather(results: Results, hunt: Hunt, reproduce: tuple[tuple[str, str], ...] = ()) -> Evidence:
    """The evidence of a hunt: its logs and builds as they were stored.

    `reproduce` are (label, command line). What is gone from the disk is left out.
    """
    trials = [answered.trial for answered in hunt.answers]
    builds = {trial.release: results.build(trial.identity) for trial in trials if trial.identity}
    session = results.session(hunt.session)
    return Evidence(
        hunt=hunt,
        logs={trial.release: _log(Path(trial.log)) for trial in trials if trial.log},
        builds={release: build for release, build in builds.items() if build},
        script=_script(hunt.test),
        reproduce=reproduce,
        version=session.version,
        host=session.host,
        made=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    )


def _script(test: Test) -> str:
    """The command line and the files of a test, each file under its name."""
    files = [f"# {file.name}\n{_log(file.path)}" for file in test.files]
    return "\n".join([f"$ {shlex.join(test.argv)}", *files])


def _log(path: Path) -> str:
    """A text of whatever bytes a file holds; only its two ends if it is huge, "" if it is gone."""
    try:
        with path.open("rb") as file:
            content = file.read(_LOG_END)
            size = path.stat().st_size
            if size > 2 * _LOG_END:
                file.seek(size - _LOG_END)
                content += f"\n… {size - 2 * _LOG_END:,} bytes left out …\n".encode()
            content += file.read()
    except OSError:
        return ""
    return content.decode(errors="replace")
