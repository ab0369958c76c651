"""Every figure behunt states, in one run: `make bench`. `--readme` writes them into README.md.

Those of ZFS are made and written only where `--zfs` says on what.
"""

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
PARTS = ("search", "overhead", "startup", "demo", "vm", "metal")


def figures(part: str, *words: str) -> Any:
    command = [sys.executable, str(HERE / f"{part}.py"), *words, "--json"]
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
    parser.add_argument("--zfs", metavar="WHERE", help="a dataset of this machine, or `guest`")
    options = parser.parse_args()
    parts: dict[str, tuple[str, ...]] = dict.fromkeys(PARTS, ())
    parts |= {"zfs": (options.zfs,)} if options.zfs else {}
    if not options.readme:
        for part, words in parts.items():
            print(f"\n== {part}")
            subprocess.run([sys.executable, str(HERE / f"{part}.py"), *words], check=True)
        return
    found = {part: figures(part, *words) for part, words in parts.items()}
    write("figures", table(found))
    if options.zfs:
        write("zfs", zfs_table(found["zfs"]))


def write(mark: str, text: str) -> None:
    """Put `text` between README's markers."""
    marked = re.compile(rf"(?<=<!-- {mark} -->\n).*?(?=<!-- /{mark} -->)", re.DOTALL)
    README.write_text(marked.sub(lambda _: text, README.read_text("utf-8")), encoding="utf-8")
    print(text)


def table(found: dict[str, Any]) -> str:
    """All but ZFS, as Markdown."""
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
        *_machines(found["vm"]),
        *_metal(found["metal"]),
    ]
    lines = ["", "| | behunt | beside it |", "| --- | --- | --- |"]
    lines += [f"| {what} | {ours} | {theirs} |" for what, ours, theirs in rows]
    lines += ["", *_search(found["search"]), "", f"Measured on {machine()}, by `make bench`.", ""]
    return "\n".join(lines) + "\n"


def _machines(vm: dict[str, Any]) -> list[tuple[str, str, str]]:
    bare = (
        f"{vm['bare_s']} s for a bare boot, {vm['runner_s']} s for the runner: {vm['overhead']} ×"
    )
    return [
        (
            "`behunt run --runner qemu debian-12 -- true`, the first, which boots",
            f"{vm['first_s']} s",
            bare,
        ),
        (
            "a later one, which resumes",
            f"{vm['resumed_s']} s",
            f"the first: {vm['resumed_ratio']} ×",
        ),
    ]


def _metal(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (
            f"`behunt run --runner metal debian-12 -- true`, {firmware.upper()}",
            f"{row['behunt_s']} s",
            f"{row['bare_s']} s for the bare chain: {row['ratio']} ×",
        )
        for firmware, row in found.items()
    ]


def zfs_table(found: dict[str, Any]) -> str:
    """Snapshot, clone, mount, unmount and destroy of a nested boot environment, as Markdown."""
    count = found["local"]["datasets"]
    lines = ["", f"| {count} datasets, each | behunt | a loop of `zfs` |", "| --- | --- | --- |"]
    rows = {"by libzfs_core": found["local"], "over ssh": found.get("ssh")}
    lines += [
        f"| {what} | {row['behunt_ms']} ms | {row['by_hand_ms']} ms: {row['ratio']} × |"
        for what, row in rows.items()
        if row
    ]
    return "\n".join([*lines, "", f"OpenZFS, {found['machine'] or machine()}.", ""]) + "\n"


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
