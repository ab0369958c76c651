"""Every figure behunt states, in one run: `make bench`. `--readme` writes them into README.md."""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
PARTS = ("search", "overhead", "startup", "demo")
_MARKED = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- /figures -->)", re.DOTALL)


def figures(part: str) -> Any:
    command = [sys.executable, str(HERE / f"{part}.py"), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def machine() -> str:
    cores = Path("/proc/cpuinfo").read_text(encoding="utf-8").count("processor\t")
    return (
        f"{cores} cores, Linux {platform.release().split('-')[0]}, Python {sys.version.split()[0]}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    options = parser.parse_args()
    if not options.readme:
        for part in PARTS:
            print(f"\n== {part}")
            subprocess.run([sys.executable, str(HERE / f"{part}.py")], check=True)
        return
    found = {part: figures(part) for part in PARTS}
    text = README.read_text(encoding="utf-8")
    README.write_text(_MARKED.sub(lambda _: table(found), text), encoding="utf-8")
    print(table(found))


def table(found: dict[str, Any]) -> str:
    """The Markdown between README's markers."""
    overhead, startup, demo = found["overhead"], found["startup"], found["demo"]
    rows = [
        (
            "one trial (clone, enter, `true`, destroy, record)",
            f"{overhead['behunt_ms']} ms",
            f"{overhead['by_hand_ms']} ms by hand, unrecorded: {overhead['ratio']} ×",
        ),
        (
            "`behunt --help`",
            f"{startup['help_ms']} ms",
            f"{startup['click_ms']} ms for `import click`: {startup['ratio']} ×",
        ),
        ("`behunt releases`", f"{startup['releases_ms']} ms", ""),
        ("`make demo`, nothing installed", f"{demo['cold_s']} s", "four or five installations"),
        ("the same from archives", f"{demo['warm_s']} s", ""),
        ("the same, asked before", f"{demo['answered_s']} s", ""),
    ]
    lines = ["", "| | behunt | beside it |", "| --- | --- | --- |"]
    lines += [f"| {what} | {ours} | {theirs} |" for what, ours, theirs in rows]
    lines += ["", *_search(found["search"]), "", f"Measured on {machine()}, by `make bench`.", ""]
    return "\n".join(lines) + "\n"


def _search(kinds: list[dict[str, Any]]) -> list[str]:
    """Trials per history, ends not counted."""
    lines = [
        "Trials to find the change among 65 releases, both ends given (mean):",
        "",
        "| releases that cannot be tested | behunt | `git bisect run` |",
        "| --- | --- | --- |",
    ]
    return lines + [f"| {k['kind']} | {k['mean']:.1f} | {k['git_mean']:.1f} |" for k in kinds]


if __name__ == "__main__":
    main()
