"""Small FreeBSD releases, made with the tools of each era: bsdtar, split, cksum, mtree.

`freebsd(directory, "11.1")` fills a release directory as it lies on a mirror: `MANIFEST` and
`.txz` from 9.0 on, split sets with `.inf`, `.mtree` and CHECKSUM before.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tiny_root import tiny_root

PIECE = 4096  # bytes; real ones had 240 to 1392 KiB
SCHG = ("bin/su", "lib/libc.so.7", "var/empty")


def freebsd(directory: Path, version: str, *, runs: bool = False) -> Path:
    """The sets base (bin, up to 4.11) and kernel, and doc. `runs`: its /bin/sh works on Linux."""
    major = int(version.split(".", maxsplit=1)[0])
    trees = directory.parent / f"trees-{version}"
    world, kernel, doc = trees / "world", trees / "kernel", trees / "doc"
    freebsd_world(world, version, runs=runs)
    (doc / "usr/share/doc").mkdir(parents=True)
    (doc / "usr/share/doc/README").write_text("read me\n")
    if major >= 9:
        kernel_file(kernel / "boot/kernel/kernel", version)
        sets = {"base": world, "doc": doc, "kernel": kernel}
        manifest(directory, {name: txz(directory, name, sets[name]) for name in sets})
    else:
        checksums = ["md5"] if version < "5.5" else ["md5", "sha256"]
        if major >= 6:
            kernel_file(kernel / "GENERIC/kernel", version)
            split(directory / "kernels", "generic", kernel / "GENERIC", checksums, top="GENERIC")
        else:
            kernel_file(world / ("kernel" if major < 5 else "boot/kernel/kernel"), version)
        name = "bin" if major < 5 else "base"
        split(directory / name, name, world, checksums, devices=name == "bin")
        split(directory / "doc", "doc", doc, checksums)
    shutil.rmtree(trees)
    return directory


def freebsd_world(root: Path, version: str, *, runs: bool = False) -> Path:
    """What of a world matters here: who it says it is, links, set-uid programs."""
    major, minor = (int(part) for part in version.split(".")[:2])
    if runs:
        tiny_root(root)
        (root / "bin/su").unlink()  # a link to busybox, which is not to be overwritten
        (root / "sys").rmdir()
    for name in ("bin", "boot/kernel", "etc", "lib", "usr/include/sys", "usr/bin", "var/empty"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "bin/su").write_bytes(b"\x7fELF su")
    (root / "bin/su").chmod(0o4555)
    (root / "usr/bin/chfn").write_bytes(b"\x7fELF chfn")
    (root / "usr/bin/chpass").hardlink_to(root / "usr/bin/chfn")
    (root / "lib/libc.so.7").write_bytes(_noise(version, 10_000))
    (root / "lib/a file").write_text("with a blank in its name\n")
    (root / "sys").symlink_to("usr/src/sys")
    (root / "usr/tmp").symlink_to("/var/tmp")
    (root / "var/empty").chmod(0o555)
    (root / "etc/motd").write_text("FreeBSD ?.?.?  (UNKNOWN)\n")
    number = f"{major * 100 + minor}000" if major >= 5 else f"{major}{minor}0000"[:6]
    param = f"#undef __FreeBSD_version\n#define __FreeBSD_version {number}\t/* Master */\n"
    (root / "usr/include/sys/param.h").write_text(param)
    if major >= 10:
        own = root / "bin/freebsd-version"
        own.write_text(f'#!/bin/sh\nset -e\nUSERLAND_VERSION="{version}-RELEASE"\n')
        own.chmod(0o555)
    return root


def _noise(seed: str, size: int) -> bytes:
    """The same each time, and nothing can make it smaller: sets of several pieces."""
    blocks = (hashlib.sha256(f"{seed}{n}".encode()).digest() for n in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def kernel_file(path: Path, version: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    said = f"@(#)FreeBSD {version}-RELEASE #0 r321309: Fri Jul 21 02:08:28 UTC 2017\n"
    path.write_bytes(b"\x7fELF\0" + bytes(range(256)) * 8 + said.encode() + b"\0" * 64)
    path.chmod(0o555)


def txz(directory: Path, name: str, tree: Path, flagged: Sequence[str] = SCHG) -> Path:
    """`X.txz` of `tree` as release/Makefile makes it, its flags recorded."""
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"{name}.txz"
    spec = _described(tree, flagged)
    _run("bsdtar", "-cJf", target, "-C", tree, f"@{spec}")
    spec.unlink()
    return target


def manifest(
    directory: Path, archives: dict[str, Path], counts: dict[str, int] | None = None
) -> None:
    """As release/scripts/make-manifest.sh writes it; `counts` instead of the true ones."""
    lines = []
    for name, path in archives.items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        count = (counts or {}).get(name) or _run("bsdtar", "-tf", path).count("\n")
        on = "on" if name in {"base", "kernel"} else "off"
        lines.append(f'{path.name}\t{digest}\t{count}\t{name}\t"The {name} system"\t{on}\n')
    (directory / "MANIFEST").write_text("".join(lines))


def split(
    directory: Path,
    stem: str,
    tree: Path,
    checksums: Sequence[str],
    *,
    top: str = "",
    devices: bool = False,
) -> None:
    """As doTARBALL makes it: gzipped tar, split; .inf, .mtree, CHECKSUM files of all there is.

    `top`: the directory of this name above `tree` is archived, while `tree` is described.
    """
    directory.mkdir(parents=True, exist_ok=True)
    spec = _described(tree.parent if top else tree, (), devices=devices, only=top)
    joined = directory / "joined.tgz"
    _run("bsdtar", "-czf", joined, "-C", tree.parent if top else tree, f"@{spec}")
    spec.unlink()
    _run("split", "-b", str(PIECE), "-a", "2", joined, directory / f"{stem}.")
    joined.unlink()
    inf(directory, stem)
    keys = "gname,md5digest,mode,nlink,uname,size,link,type"
    described = _run("mtree", "-c", "-i", "-p", tree, "-k", keys)
    (directory / f"{stem}.mtree").write_text(described)
    (directory / "install.sh").write_text("#!/bin/sh\nexit 1\n")
    vouch(directory, checksums)


def pieces(directory: Path, stem: str) -> list[Path]:
    return sorted(directory.glob(f"{stem}.[a-z][a-z]"))


def inf(directory: Path, stem: str) -> None:
    """As release/scripts/info.sh writes it."""
    lines = [f"Pieces =  {len(pieces(directory, stem))}\n"]
    for piece in pieces(directory, stem):
        crc, size, _ = _run("cksum", piece).split()
        lines.append(f"cksum{piece.suffix} = {crc} {size}\n")
    (directory / f"{stem}.inf").write_text("".join(lines))


def vouch(directory: Path, checksums: Sequence[str]) -> None:
    """CHECKSUM.MD5 and CHECKSUM.SHA256, in the form of BSD, of all other files."""
    names = sorted(p.name for p in directory.iterdir() if not p.name.startswith("CHECKSUM"))
    for name in checksums:
        told = _run(f"{name}sum", "--tag", *names, cwd=directory)
        (directory / f"CHECKSUM.{name.upper()}").write_text(told)


def _described(
    tree: Path, flagged: Sequence[str], *, devices: bool = False, only: str = ""
) -> Path:
    """An mtree(5) file beside `tree`, from which bsdtar makes archives with flags and devices."""
    spec = tree.parent / "spec.mtree"
    options = "--options=mtree:!all,mtree:type,mtree:mode,mtree:uid,mtree:gid,mtree:link"
    text = _run("bsdtar", "-cf", "-", "--format=mtree", options, "-C", tree, only or ".")
    lines = []
    for line in text.splitlines():
        name = line.split(" ")[0].removeprefix("./")
        lines.append(f"{line} flags=schg" if name in flagged else line)
    if devices:
        lines += ["./dev type=dir mode=0755 uid=0 gid=0"]
        lines += ["./dev/null type=char mode=0666 uid=0 gid=0 device=native,1,3"]
    spec.write_text("\n".join(lines) + "\n")
    return spec


def _run(*argv: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=cwd)
    return done.stdout
