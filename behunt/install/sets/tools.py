"""The commands that look into, unpack and check sets on a host, by the system it runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from behunt.errors import InstallError


@dataclass(frozen=True, slots=True)
class Tools:
    """Each of `digests` reads a file on stdin, and its first word on stdout is the hex digest."""

    tar: str  # libarchive's: it knows every compression, and file flags
    unpacking: tuple[str, ...]
    digests: Mapping[str, tuple[str, ...]]
    listed_digests: tuple[str, ...]  # md5 of files, a line each, in their order
    install: str  # the command that brings `tar`, for people
    flags: bool  # whether file flags are set, and can be
    env: Mapping[str, str]


# Names outside ASCII: without a UTF-8 locale libarchive cannot convert them, and says it failed.
FREEBSD = Tools(
    tar="tar",
    unpacking=(),
    digests={name: (name, "-q") for name in ("md5", "sha256", "sha512")},
    listed_digests=("md5", "-q"),
    install="",
    flags=True,
    env={"LC_ALL": "en_US.UTF-8"},
)
# Linux: an immutable flag would make a root that nobody can remove, and an extended attribute
# is as good as a set-uid bit there (security.capability).
LINUX = Tools(
    tar="bsdtar",
    unpacking=("--no-fflags", "--no-xattrs", "--no-acls"),
    digests={name: (f"{name}sum",) for name in ("md5", "sha256", "sha512")},
    listed_digests=("md5sum",),
    install="apt install libarchive-tools",
    flags=False,
    env={"LC_ALL": "C.UTF-8"},
)
_SYSTEMS = {"FreeBSD": FREEBSD, "Linux": LINUX}


def tools_of(system: str) -> Tools:
    """`system` is what uname -s says there."""
    if system not in _SYSTEMS:
        raise InstallError(
            f"behunt does not know how to unpack distribution sets on {system or 'that host'}",
            f"use a host that runs {' or '.join(_SYSTEMS)}",
        )
    return _SYSTEMS[system]


def there(directories: Sequence[str], name: str) -> list[str]:
    """Prints those of `directories` that have `name`."""
    script = 'name=$1; shift; for d; do [ -f "$d/$name" ] && printf "%s\\n" "$d"; done; :'
    return ["sh", "-c", script, "sh", name, *directories]


def read(directory: str, names: Sequence[str]) -> list[str]:
    """Writes those of `names` that are in `directory` as one tar archive."""
    script = (
        'cd "$1" || exit; shift; n=$#; '
        'for f; do [ -f "$f" ] && set -- "$@" "$f"; done; shift "$n"; '
        '[ $# = 0 ] || exec tar -chf - "$@"'
    )
    return ["sh", "-c", script, "sh", directory, *names]


def measured(tools: Tools, algorithms: Sequence[str], files: Sequence[PurePosixPath]) -> list[str]:
    """A line for each file: CRC and size of cksum(1), then a digest per algorithm; or `-`."""
    sums = "".join(f' "$({shlex.join(tools.digests[name])} <"$f")"' for name in algorithms)
    script = (
        'for f; do if [ -f "$f" ] && [ -r "$f" ]; then '
        f'printf "%s " "$(cksum <"$f")"{sums}; echo; else echo -; fi; done'
    )
    return ["sh", "-c", script, "sh", *map(str, files)]


def listing(tools: Tools, files: Sequence[PurePosixPath]) -> list[str]:
    """Lists the archive that `files` are the pieces of. Complaints come last, if it fails."""
    script = (
        f'exec 3>&1; said=$({{ cat "$@" | {tools.tar} --numeric-owner -tvvf -; }} 2>&1 >&3); '
        'code=$?; [ "$code" = 0 ] || printf "%s\n" "$said"; exit "$code"'
    )
    return ["sh", "-c", script, "sh", *map(str, files)]


def flags(tools: Tools, files: Sequence[PurePosixPath]) -> list[str]:
    """Lists members with file flags: `./lib/libc.so.7 flags=schg`."""
    told = "--options=mtree:!all,mtree:flags"
    convert = shlex.join([tools.tar, "-cf", "-", "--format=mtree", told, "@-"])
    return ["sh", "-c", f'cat "$@" | {convert} | grep " flags="; :', "sh", *map(str, files)]


def unpack(
    tools: Tools,
    files: Sequence[PurePosixPath],
    target: PurePosixPath,
    left_out: Sequence[str] = (),
) -> list[str]:
    """Unpacks the archive that `files` are the pieces of in `target`, which it makes.

    Without -P libarchive itself refuses `..`, absolute names, and what lies behind a link.
    """
    excluded = [f"--exclude=^{_literal(name)}$" for name in left_out]
    # -p asks for all that the others leave out: they only count after it
    argv = [tools.tar, "-xpf", "-", "--numeric-owner", *tools.unpacking, *excluded, "-C"]
    script = f'd=$1; shift; mkdir -p "$d" && cat "$@" | {shlex.join(argv)} "$d"'
    return ["sh", "-c", script, "sh", str(target), *map(str, files)]


def _literal(name: str) -> str:
    return "".join(f"\\{c}" if c in "*?[]\\^$" else c for c in name)


def copy(piece: PurePosixPath, target: PurePosixPath) -> list[str]:
    """Copies what is no archive, a kernel: nobody but root has to read it."""
    return ["sh", "-c", 'cp "$1" "$2" && chmod 0700 "$2"', "sh", str(piece), str(target)]


def digests_of_files(tools: Tools) -> list[str]:
    """MD5 of the files whose names come on stdin, each ended by NUL, relative to the directory."""
    return ["xargs", "-0", *tools.listed_digests]


def asked(questions: Sequence[tuple[str, str]]) -> list[str]:
    """For each (path, pattern) what the file says, a line each, after a line of its number.

    Binary files are read like others. Nothing follows where there is no such file.
    """
    script = (
        'n=0; while [ $# -gt 0 ]; do echo "= $n"; if [ -f "$1" ] && [ ! -L "$1" ]; then '
        'LC_ALL=C grep -a -o -E -e "$2" "$1" | sort -u; fi; n=$((n + 1)); shift 2; done; :'
    )
    return ["sh", "-c", script, "sh", *(word for question in questions for word in question)]


def header(file: PurePosixPath, size: int) -> list[str]:
    """The first bytes of a program in hexadecimal; nothing where there is none."""
    script = '[ ! -f "$1" ] || [ -L "$1" ] || exec od -An -tx1 -N "$2" "$1"'
    return ["sh", "-c", script, "sh", str(file), str(size)]
