"""JUnit XML: one test case per trial of a hunt."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from behunt.model import Answered, Outcome, Verdict
from behunt.report.clean import ends, lines_of, one_line
from behunt.report.data import Evidence
from behunt.report.objects import as_json

_LOG = 16_000  # bytes of each log that go along


def junit(evidence: Evidence) -> str:
    """An XML document. What a release answered decides, not what the hunt concluded from it."""
    hunt = evidence.hunt
    suite = ET.Element(
        "testsuite",
        name=one_line(hunt.test.name),
        timestamp=hunt.started.removesuffix("Z").partition("+")[0],
        hostname=one_line(evidence.host),
        time=f"{hunt.seconds:.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in as_json(hunt).items():
        if isinstance(value, str | int) and value != "":
            ET.SubElement(properties, "property", name=name, value=one_line(str(value)))
    cases = [
        _case(suite, answered, evidence.log(answered.trial.release)) for answered in hunt.answers
    ]
    suite.set("tests", str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ET.Element, answered: Answered, log: str) -> ET.Element:
    trial = answered.trial
    case = ET.SubElement(
        suite,
        "testcase",
        classname=one_line(trial.test),
        name=one_line(trial.release),
        time=f"{trial.seconds:.3f}",
    )
    text = ends(lines_of(log), _LOG, len).text()
    if tag := _tag(answered):
        result = ET.SubElement(case, tag, message=one_line(trial.why or trial.outcome))
        if tag != "skipped":
            result.set("type", trial.outcome.value)
            result.text = text
    elif text:
        ET.SubElement(case, "system-out").text = text
    return case


def _tag(answered: Answered) -> str:
    """The element that says how it went, "" where it passed.

    A timeout is an error, because the test gave no answer, unless the hunt counted it as bad.
    """
    match answered.trial.outcome:
        case Outcome.PASSED:
            return ""
        case Outcome.SKIPPED:
            return "skipped"
        case Outcome.FAILED | Outcome.PANICKED:
            return "failure"
        case Outcome.TIMEOUT:
            return "failure" if answered.verdict is Verdict.BAD else "error"
        case Outcome.BROKEN:
            return "error"
