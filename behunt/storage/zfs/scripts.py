"""Several commands as one `sh -c`: one round trip to a host, however far, and all of them or none.

What the commands are given are positional arguments, so no name is ever read as shell. The
scripts need a POSIX sh and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

POOL_SAYS = "pool health: "


@dataclass(frozen=True, slots=True)
class Step:
    """A command, or a function of `_FUNCTIONS`; and what takes it back if a later one fails."""

    do: Sequence[str]
    undo: Sequence[str] = ()


# $1 is the pool, empty where none is concerned. What fails is undone in reverse, and how the pool
# is goes behind what it said: a dataset that "does not exist" may be one of a pool that is gone.
_FUNCTIONS = f"""\
LC_ALL=C; export LC_ALL
pool=$1
health() {{ [ -z "$pool" ] || zpool list -H -o health "$pool" 2>&1; }}
patiently() {{
    tries=0
    until said=$("$@" 2>&1); do
        tries=$((tries + 1))
        case $said in *' busy'*) [ "$tries" -ge 20 ] || {{ sleep 0.1; continue; }} esac
        printf '%s\\n' "$said" >&2
        return 1
    done
}}
gone() {{
    said=$(patiently "$@" 2>&1) && return 0
    case $said in
    *'not mounted'* | *'not a file system root'* | *'unknown file system'*)
        return 0 ;;
    *'does not exist'* | *'not find any snapshots'* | *'no such tag'*)
        health >/dev/null && return 0 ;;
    esac
    printf '%s\\n' "$said" >&2
    return 1
}}
unplaced() {{
    # zfs(8) removes, with a dataset, the directory that it would be mounted on if it inherits that:
    # an empty /var/tmp of the host's. Below what is mounted nowhere there is none.
    zfs set mountpoint=none "$1" && shift && zfs destroy "$@"
}}
hold() {{
    # Each by itself only where one is held already.
    tag=$1; shift
    zfs hold "$tag" "$@" 2>/dev/null && return 0
    for name; do
        said=$(zfs hold "$tag" "$name" 2>&1) && continue
        case $said in *'ag already exists'*) continue; esac
        printf '%s\\n' "$said" >&2
        return 1
    done
}}
release() {{
    tag=$1; shift
    zfs release "$tag" "$@" 2>/dev/null && return 0
    for name; do gone zfs release "$tag" "$name" || return; done
}}
directory() {{
    path=$1; shift
    if [ -h "$path" ] || {{ [ -e "$path" ] && [ ! -d "$path" ]; }}; then
        echo "cannot mount on '$path': not a directory" >&2
        return 1
    fi
    [ -d "$path" ] || "$@" "$path"
}}
unmounted() {{
    mounts=$(cat /proc/self/mounts 2>/dev/null || mount -p)
    for name; do
        case "
$mounts" in *"
$name"[[:blank:]/]*)
            echo "'$name' is mounted, or something below it" >&2
            return 1
        esac
    done
}}
writable() {{
    mounts=$(cat /proc/self/mounts 2>/dev/null || mount -p)
    printf '%s\\n' "$mounts" | while read -r source _ type options _; do
        case $source,$type,$options, in "$1,zfs,ro,"*)
            echo "'$1' is mounted read-only" >&2
            exit 1
        esac
    done
}}
fuse_mount() {{
    unmounted "$2"
    was=$(zfs get -H -o value mountpoint "$2")
    origin=$(zfs get -H -o source mountpoint "$2")
    # As in `unplaced`; a directory that is mounted on stays.
    unshare --mount sh -c '
        [ ! -d "$1" ] || mount --bind "$1" "$1"
        zfs set mountpoint="$2" "$3"
    ' sh "$was" "$3" "$2"
    status=0
    zfs mount -o "$1" "$2" || status=$?
    # The property goes back where nobody sees a mount that would have to follow it.
    unshare --mount sh -c '
        [ "$1" != 0 ] || umount -R "$2"
        if [ "$3" = local ]; then zfs set mountpoint="$4" "$5"; else zfs inherit mountpoint "$5"; fi
    ' sh "$status" "$3" "$origin" "$was" "$2"
    return "$status"
}}
done=0
ended() {{
    status=$?
    trap - EXIT
    set +e
    [ "$status" = 0 ] || {{ undo "$@"; printf '\\n%s\\n' "{POOL_SAYS}$(health)" >&2; }}
    exit "$status"
}}
"""


def script(pool: str, steps: Sequence[Step]) -> list[str]:
    """The argv that does `steps` in order, and takes back what was done if one of them fails.

    A step may begin with `patiently` (again for 2 s while busy), `gone` (the same, and what is
    gone already is fine), `hold TAG SNAPSHOT…` (those that are held already are fine), `release TAG
    SNAPSHOT…` (those that are not held or not there are fine), `directory PATH MKDIR…` (made
    unless it is there; no link), `unmounted DATASET…` (nor what is below), `writable DATASET` (as
    it is mounted now), `unplaced TOP DATASET` (destroyed, and no directory with it: TOP, which it
    inherits from, is mounted nowhere then) or `fuse_mount OPTIONS DATASET DIRECTORY`.
    """
    words = [pool]
    todo, undo = [], []
    for number, step in enumerate(steps, 1):
        # In a subshell: where a function fails, FreeBSD's sh runs the EXIT trap with its arguments.
        todo += [f"( {_line(words, step.do)} )", f"done={number}"]
        if step.undo:
            undo.append(f"    [ $done -lt {number} ] || {_line(words, step.undo)}")
    text = [
        _FUNCTIONS + "undo() {",
        *(reversed(undo) if undo else ("    :",)),
        "}",
        "trap 'ended \"$@\"' EXIT",
        "set -e",
        *todo,
    ]
    return ["sh", "-c", "\n".join(text), "sh", *words]


def _line(words: list[str], argv: Sequence[str]) -> str:
    first = len(words) + 1
    words += argv
    return " ".join(f'"${{{n}}}"' for n in range(first, len(words) + 1))
