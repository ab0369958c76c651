"""The command `behunt`: settings, errors and exit codes. Commands are in modules of their own."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from behunt import __version__
from behunt.cli import settings
from behunt.cli.be import be
from behunt.cli.bisect import bisect
from behunt.cli.completion import completion
from behunt.cli.doctor import doctor
from behunt.cli.machines import machines
from behunt.cli.options import Place
from behunt.cli.releases import releases
from behunt.cli.report import report
from behunt.cli.results import results
from behunt.cli.run import run
from behunt.errors import BehuntError


def default_home() -> Path:
    """/var/lib/behunt for root, else below the XDG data home."""
    if os.geteuid() == 0:
        return Path("/var/lib/behunt")
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "behunt"


def _configured(ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    """Read defaults from a behunt.toml, before the other options are looked at."""
    file = value or settings.file()
    if file is not None:
        ctx.default_map = settings.defaults(cli, file)
    return file


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  behunt bisect --os debian --from 11 --to sid test.sh
  behunt run debian-12 -- python3 -c 'import crypt'
  behunt releases --os debian
  behunt report --html out.html

Settings come from options, then BEHUNT_* variables, then behunt.toml here, in
~/.config/behunt or in /etc. See behunt(8).""",
)
@click.version_option(__version__, prog_name="behunt")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    is_eager=True,
    callback=_configured,
    expose_value=False,
    metavar="FILE",
    help="Read settings from this file only.",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, readable=False),
    default=default_home,
    metavar="DIR",
    help="Where releases, logs and results are kept.",
)
@click.option(
    "--database", metavar="URL", default="", help="Keep results in this SQLAlchemy database."
)
@click.pass_context
def cli(ctx: click.Context, home: Path, database: str) -> None:
    """Hunt regressions over historical operating-system releases."""
    ctx.obj = Place(home.expanduser().absolute(), database)


for command in (bisect, run, releases, be, machines, results, report, doctor, completion):
    cli.add_command(command)
settings.listen(cli)


def main() -> NoReturn:
    """Run the command line. Every error ends in one sentence, a hint and its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = cli.main(prog_name="behunt", standalone_mode=False)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BehuntError as error:
        code = _tell(error.message, error.hint, error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        code = _tell("interrupted", "", 130)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        code = _tell(f"{where}{error.strerror or error}", "check the disk and permissions", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _tell(message: str, hint: str, code: int) -> int:
    click.echo(f"behunt: {message}", err=True)
    if hint:
        click.echo(f"  {hint}", err=True)
    return code


def _terminated(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
