"""A lab.toml, and machines whose power is a file: there while they are on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from behunt_cli import executable

LAB = """\
[lab]
interface = "lab0"
address = "10.77.0.1/24"
range = ["10.77.0.50", "10.77.0.99"]
"""


def lab_file(file: Path, machines: Iterable[str]) -> Path:
    file.write_text("\n".join([LAB, *machines]))
    return file


def machine(number: int, power: str = "", **more: str) -> str:
    """node1, whose card is 02:00:00:00:00:01."""
    rows = [f'name = "node{number}"', f'mac = "02:00:00:00:00:{number:02x}"']
    rows += [f'{key} = "{value}"' for key, value in more.items()]
    return "\n".join(["[[machine]]", *rows, *([f"power = {power}"] if power else [])])


def switched_by(switch: Path, name: str) -> str:
    """The `power` of the machine `name`, which `switch` keeps in a file beside itself."""
    words = {verb: json.dumps([str(switch), verb, name]) for verb in ("on", "off", "status")}
    rows = ", ".join(f"{verb} = {argv}" for verb, argv in words.items())
    return f'{{ method = "command", {rows} }}'


def switch(file: Path) -> Path:
    return executable(
        file,
        f"""\
cd {file.parent} || exit 2
echo "$*" >>asked
case $1 in
    on) : >"$2.on" ;;
    off) rm "$2.on" ;;
    status) test -e "$2.on" ;;
esac""",
    )
