"""The initial RAM disk of a Linux machine: what it takes to mount its root, and nothing else."""

from __future__ import annotations

import gzip
import lzma
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from behunt.errors import InstallError

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")  # in the section .modinfo
_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    ".ko": bytes,
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
}


def needed(modules: Path, wanted: Iterable[str], welcome: Iterable[str] = ()) -> dict[str, bytes]:
    """The modules in `wanted` with what they depend on, by name, in the order to load them in.

    `modules` is a kernel's /lib/modules/VERSION, which depmod(8) need not have seen. What the
    kernel has built in is left out; so is what is only `welcome` where there is none.
    InstallError if it has one that is wanted in neither way.
    """
    builtin = {_name(line) for line in _lines(modules / "modules.builtin")}
    files = {_name(path.name): path for path in modules.glob("kernel/**/*.ko*")}
    found: dict[str, bytes] = {}

    def take(name: str) -> None:
        if name in found or name in builtin:
            return
        if name not in files:
            raise InstallError(
                f"the kernel {modules.name} has no {name}",
                "use a kernel that can mount its root from a virtual disk, as the "
                "distribution's own can",
            )
        content = _unpacked(files[name])
        depends = _DEPENDS.search(content)
        for other in depends[1].decode("ascii").split(",") if depends and depends[1] else ():
            take(other.replace("-", "_"))
        found[name] = content

    for name in (*(name for name in welcome if name in files), *wanted):
        take(name)
    return found


def loadable(modules: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """What modprobe(8) needs to load those in `wanted` that there are, by name or for a device.

    These are files of a /lib/modules/VERSION. depmod(8) must have seen `modules`.
    """
    depends = dict(line.split(":", 1) for line in _lines(modules / "modules.dep"))
    paths = {_name(path): path for path in depends}
    found: dict[str, list[str]] = {}

    def take(name: str) -> None:
        if name in paths and name not in found:
            found[name] = [_name(path) for path in depends[paths[name]].split()]
            for other in found[name]:
                take(other)

    for name in wanted:
        take(name)
    aliases = (line for line in _lines(modules / "modules.alias") if line.startswith("alias "))
    ours = [line for line in aliases if _name(line.rpartition(" ")[2]) in found]
    lists = [f"{name}.ko: {' '.join(f'{one}.ko' for one in on)}" for name, on in found.items()]
    return {
        "modules.alias": "".join(f"{line}\n" for line in ours).encode(),
        "modules.dep": "".join(f"{line}\n" for line in lists).encode(),
        **{f"{name}.ko": _unpacked(modules / paths[name]) for name in found},
    }


def _lines(path: Path) -> Iterator[str]:
    yield from path.read_text(encoding="ascii").splitlines()


def _name(path: str) -> str:
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def _unpacked(path: Path) -> bytes:
    if path.suffix not in _UNPACK:
        raise InstallError(
            f"cannot unpack {path.name} of the kernel", "known: .ko, .ko.gz and .ko.xz"
        )
    return _UNPACK[path.suffix](path.read_bytes())


def initrd(
    busybox: bytes, init: str, modules: Mapping[str, bytes], files: Mapping[str, bytes]
) -> bytes:
    """An archive with `init` to run, `modules` to load in this order, and further `files`."""
    members = {
        "init": (0o755, init.encode()),
        "bin/busybox": (0o755, busybox),
        **{
            f"modules/{number:02}-{name}.ko": (0o644, content)
            for number, (name, content) in enumerate(modules.items())
        },
        **{name: (0o755, content) for name, content in files.items()},
    }
    holding = {str(above) for name in members for above in PurePosixPath(name).parents} - {"."}
    return cpio(sorted({"dev", "root"} | holding), members)


def cpio(directories: Iterable[str], files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """An archive that the kernel unpacks: newc, of those that cpio has."""
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in directories]
    entries += [(name, stat.S_IFREG | mode, content) for name, (mode, content) in files.items()]
    entries.append(("TRAILER!!!", 0, b""))
    return b"".join(_entry(at, *entry) for at, entry in enumerate(entries, 1))


def _entry(number: int, name: str, mode: int, content: bytes) -> bytes:
    # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
