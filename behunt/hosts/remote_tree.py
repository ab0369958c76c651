"""Shell for a host that has nothing of ours: find the processes of a command, and end them all.

Daemons too: by a reaper where the system has one, else by what their environment says, their
ancestors and their process groups.
"""

from __future__ import annotations

import shlex
from enum import StrEnum

MARK = "BEHUNT_TREE"  # a variable in the environment of every process of a command
ROOT = "BEHUNT_ROOT"  # and of the shell that watches over it


class Way(StrEnum):
    """How the processes of a tree are found on a system."""

    REAPER = "reaper"  # FreeBSD's timeout(1) is the reaper of all below it: procctl(2)
    PROC = "proc"  # Linux: their environment, in /proc
    PS = "ps"  # elsewhere: their environment, as ps(1) shows it


WHICH = f"""\
way={Way.PS}
[ -r /proc/self/environ ] && way={Way.PROC}
[ "$(uname -s)" = FreeBSD ] && command -v timeout >/dev/null && way={Way.REAPER}
echo $way
"""


def ending(tree: str, way: Way) -> str:
    """Shell functions: `end` kills the whole tree, us included; `finish` says something first."""
    if way is Way.REAPER:
        return """\
end() { while kill -s ALRM $PPID; do sleep 1; done; kill -s KILL -- -$$; exit; }
finish() { say "$@"; end; }"""
    # In a session of its own, a sweep outlives the group that it kills.
    return f"""\
sweep={shlex.quote(_sweep(tree, way))}
end() {{
    away=setsid
    command -v setsid >/dev/null || away=
    $away sh -c "$sweep"
    kill -s KILL -- -$$
    exit
}}
finish() {{
    say "$@"
    {_left(tree, way)} && end
    kill -s KILL -- -$$
    exit
}}"""


def killing(tree: str, way: Way) -> str:
    """Kill the tree of another command. `$found` is then what did not die."""
    return _alarm(tree) if way is Way.REAPER else _sweep(tree, way)


def _left(tree: str, way: Way) -> str:
    """Whether the command left anything, asked as cheaply as can be."""
    if way is Way.PROC:
        return f"grep -qs {MARK}={tree} /proc/[0-9]*/environ"
    return f"ps axeww -o command= | grep -q '{_pattern(MARK, tree)}'"


def _pattern(name: str, tree: str) -> str:
    """A regular expression that does not match itself, where ps(1) shows it."""
    return f"[{name[0]}]{name[1:]}={tree}"


def _marked(tree: str, way: Way) -> str:
    """A shell function that lists the processes which carry a mark."""
    pattern = _pattern("BEHUNT_[A-Z]*", tree)
    if way is Way.PROC:
        return f"marked() {{ grep -ls '{pattern}' /proc/[0-9]*/environ | tr -dc '0-9\\n'; }}"
    listing = "ps axeww -o pid= -o command="
    return f"marked() {{ {listing} | sed -n 's/^ *\\([0-9]*\\) .*{pattern}.*/\\1/p'; }}"


def _alarm(tree: str) -> str:
    """Have the reaper kill all below it, which is what it does when its time is over.

    A signal that meets the end of a child is lost on it: say it again.
    """
    return f"""\
{_marked(tree, Way.PS)}
for pause in 0.1 1 1 1 1 1 1 1; do
    found=$(marked)
    [ -n "$found" ] || break
    kill -s ALRM $found
    sleep $pause
done"""


_PARENTS = {
    # "7 (any (thing)) S 1 7 …": the name goes
    Way.PROC: "cat /proc/[0-9]*/stat | sed 's/(.*) .//'",
    Way.PS: "ps -A -o pid= -o ppid= -o pgid=",
}


def _sweep(tree: str, way: Way) -> str:
    """Kill, until there are none, the groups of all that is marked and of all below it.

    A group dies at once, so nothing in it can outrun this. Our own is left out.
    """
    return f"""\
{_marked(tree, way)}
groups() {{
    {_PARENTS[way]} | awk -v "roots=$*" -v me=$$ '
        {{ parent[$1] = $2; group[$1] = $3 }}
        END {{
            split(roots, root, " ")
            for (i in root) if (root[i] in group) doomed[root[i]]
            do {{
                more = 0
                for (p in parent)
                    if (!(p in doomed) && parent[p] in doomed) {{ doomed[p]; more = 1 }}
            }} while (more)
            for (p in doomed) if (group[p] != group[me] && !told[group[p]]++) print "-" group[p]
        }}'
}}
for pause in 0 0 0 0 0 0 0 0 1 1 1 1 1 1 1; do
    found=$(groups $(marked))
    [ -n "$found" ] || break
    kill -s KILL -- $found
    [ $pause = 0 ] || sleep 1
done"""
