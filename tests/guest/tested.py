"""Tests that run inside the guest, and what became of each."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from guest.machine import POOL, SOURCE, Machine

_REPORT = "/tmp/report.xml"
# What tests inside go by: that there is a pool of their own to work on, and where to keep things.
ENVIRONMENT = {
    "BEHUNT_TEST_POOL": POOL,
    "BEHUNT_TEST_CACHE": "/var/cache/behunt-tests",
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPATH": str(SOURCE),  # it is not installed there
}


@dataclass(frozen=True)
class Outcome:
    """The tests, each as FILE::NAME, by what became of them; and all that pytest printed."""

    passed: tuple[str, ...]
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    said: str


_PYTEST = (
    *("python3", "-m", "pytest", "-q", "--no-header", "--continue-on-collection-errors"),
    *("-p", "no:cacheprovider", "-p", "no:hypothesispytest"),  # half of what it imports
)


def run_inside(machine: Machine, *words: str, timeout: float = 1800.0) -> Outcome:
    """Run pytest with these words (files are named from the checkout's root) in the guest."""
    machine.run(["rm", "-f", _REPORT])
    done = machine.run(
        [*_PYTEST, f"--junitxml={_REPORT}", *words],
        env=ENVIRONMENT,
        cwd=SOURCE,
        timeout=timeout,
        check=False,
    )
    said = done.out + done.err
    report = machine.run(["cat", _REPORT], check=False)
    assert report.code == 0, f"pytest ended with {done.code} before it reported:\n{said}"
    return _read(report.out, said)


def _read(report: str, said: str) -> Outcome:
    fates: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    for case in ET.fromstring(report).iter("testcase"):
        kinds = {child.tag for child in case}
        fate = "failed" if kinds & {"failure", "error"} else "passed"
        file = case.attrib["classname"].replace(".", "/") + ".py"
        fates["skipped" if "skipped" in kinds else fate].append(f"{file}::{case.attrib['name']}")
    return Outcome(*(tuple(names) for names in fates.values()), said=said)
