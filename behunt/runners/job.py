"""A command as a shell script that a machine runs by itself, telling how it goes. Pure.

Where nobody can ask the machine's kernel what became of an exec, the script finds out beforehand:
setsid(1) and env(1) hand a foreign binary to the shell, and their exit status looks like the
test's, as it does where the interpreter of a script is missing.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

# For any POSIX sh and the older ones of the BSDs, whose `command` has no -v, with nothing but what
# every base system has.
_STARTABLE = """\
where() (
    case $1 in */*) test -x "$1" && echo "$1"; exit ;; esac
    IFS=:
    for place in $PATH; do
        test -f "$place/$1" && test -x "$place/$1" && echo "$place/$1" && exit
    done
    exit 1
)
first() { dd if="$2" bs="$1" count=1 2>/dev/null; } # head(1) has no -c everywhere
machine() { first 20 "$1" | od -An -tx1 -j 18 -N 2; }
foreign() {
    case $(first 4 "$1" | tr -d '\\0') in
        '#!'*) return 1 ;;
        *ELF) test "$(machine "$1")" != "$(machine /bin/sh)" ;;
    esac
}
lacking() {
    case $(first 2 "$1" | tr -d '\\0') in '#!') ;; *) return 1 ;; esac
    interpreter=$(sed -e 's/^#![[:blank:]]*//' -e 's/[[:blank:]].*//' -e q "$1")
    ! test -x "$interpreter"
}
"""


def attempt(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    *,
    output: str,
    session: str = "",
    while_it_runs: str = "",
) -> str:
    """Lines that run `argv`, print to the device `output`, and call `tell` with what happens.

    That is `failed WHY` if it cannot be started, else `started` and, once it has ended, `exit
    CODE`. `session` is a command, such as setsid, that it is run by. `while_it_runs` are lines
    done behind `started`; `stop`, if they define it, is called when the command has ended.
    """
    words = shlex.join([f"{name}={value}" for name, value in env.items()])
    program = shlex.quote(argv[0])
    return f"""\
{_STARTABLE}stop() {{ :; }}
if ! cd {shlex.quote(cwd)}; then
    tell failed cannot change to the working directory
elif ! found=$(where {program}); then
    tell failed cannot execute {program}: No such file or directory
elif test -f "$found" && foreign "$found"; then
    tell failed cannot execute {program}: Exec format error
elif test -f "$found" && lacking "$found"; then
    tell failed cannot execute {program}: its interpreter "$interpreter" is not there
else
    {while_it_runs or ":"}
    tell started
    env -i {words} {session} {shlex.join(argv)} </dev/null >{output} 2>&1 &
    wait $!
    code=$?
    stop
    tell exit $code
fi
"""


def told(text: str) -> dict[str, str]:
    """Lines `word text` of the job, the first of each word."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        found.setdefault(word, rest)
    return found
