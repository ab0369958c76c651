"""What a machine does for a run that lies in its root, on NFS, as a shell script. Pure.

Nothing is fetched and nothing is sent: test and files are in the root, and what the job tells is
written there, a file being at the server once it is closed.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from behunt.netboot.stages import UP
from behunt.runners.job import attempt
from behunt.runners.protocol import AT
from behunt.runners.vm.job import DONE, System

JOB, TOLD, OUTPUT = ".init", ".told", ".output"  # below AT
REBOOTED = "rebooted"  # what is told by a machine that comes here a second time


def job(
    system: System,
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    *,
    run: str,
    hostname: str,
) -> str:
    """Run `argv`, tell how it goes in the file TOLD, and power off. `run` is no other run's.

    It is run once: a machine that reboots under it, or panics and does so, only tells that.
    """
    body = attempt(argv, env, cwd, output=str(AT / OUTPUT), session=system.session)
    return f"""\
#!/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
tell() {{ echo "$*" >>{AT / TOLD}; }}
off() {{
    sync
    {system.off}
    while :; do sleep 60; done
}}
again=
[ ! -f {AT / TOLD} ] || again=yes
tell run {run}
tell {UP}
if [ $$ = 1 ]; then
{system.first}
fi
if [ -n "$again" ]; then
    tell {REBOOTED}
    off
fi
hostname {shlex.quote(hostname)}
tell kernel "$(uname -r)"
{body}cd {AT}
sync
tell {DONE}
off
"""
