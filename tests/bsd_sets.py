"""Small sets of the BSDs, made with the real tools, as the projects lay them out."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from behunt.hosts.local import LocalHost
from behunt.hosts.protocol import CLEAN_ENV, Completed, Sink

Tree = Mapping[str, bytes | str]  # a file's content, or where a link points


@dataclass(frozen=True)
class Keys:
    public: Path
    secret: Path


def keys(directory: Path, name: str) -> Keys:
    """A new pair of keys that signify made."""
    made = Keys(directory / f"{name}.pub", directory / f"{name}.sec")
    directory.mkdir(parents=True, exist_ok=True)
    run("signify-openbsd", "-G", "-n", "-p", made.public, "-s", made.secret)
    return made


def sign(directory: Path, made: Keys) -> Path:
    """Write SHA256.sig: the text of SHA256 with a signature before it."""
    signed = directory / "SHA256.sig"
    message = directory / "SHA256"
    run("signify-openbsd", "-S", "-e", "-s", made.secret, "-m", message, "-x", signed)
    return signed


def digests(directory: Path, program: str, name: str) -> Path:
    """Write `name`: what `program`, sha256sum or its like, says of every file in BSD's form."""
    files = sorted(path.name for path in directory.iterdir() if path.name not in _LISTS)
    listed = run(program, "--tag", "--", *files, cwd=directory)
    (directory / name).write_bytes(listed)
    return directory / name


_LISTS = {"MD5", "SHA256", "SHA256.sig", "SHA512"}


def archive(path: Path, tree: Tree, scratch: Path) -> Path:
    """`tree` as a tar archive, whose names begin with `./` as BSD's sets have them."""
    root = scratch / f"{path.name}.tree"
    for name, content in tree.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            file.symlink_to(content)
        else:
            file.write_bytes(content)
    packed = "--xz" if path.suffix == ".xz" else "--gzip"
    owners = ("--owner=0", "--group=0", "--numeric-owner")
    run("tar", "--create", "--format=ustar", packed, *owners, "-C", root, "-f", path, ".")
    return path


def kernel(system: str, version: str) -> bytes:
    """What grep finds in a kernel, among what it must not stumble over."""
    text = f"{system} {version} (GENERIC) #619: Sun Apr 13 08:18:07 MDT 2025\n"
    return b"\x7fELF\x02\0\xff" + f"@(#){text}\0{system} %s\0\n".encode() + b"\xfe\n"


def openbsd(directory: Path, version: str, made: Keys | None = None, lists: str = "") -> Path:
    """A release directory of the era of `version`; `lists` names another list of digests."""
    scratch = directory.parent / f"{directory.name}.scratch"
    directory.mkdir(parents=True)
    nodot, number = version.replace(".", ""), float(version)
    (directory / "INSTALL.amd64").write_text("INSTALLATION NOTES\n")
    (directory / "bsd").write_bytes(kernel("OpenBSD", version))
    (directory / "bsd.rd").write_bytes(b"\x1f\x8b")
    etc = {"etc/myname": b"my.domain\n", "etc/fstab": b""}
    base: dict[str, bytes | str] = {"bin/ksh": b"ksh", "bin/sh": "ksh", "etc/ksh.kshrc": b""}
    if number >= 5.7:
        inner = archive(scratch.parent / "etc.tgz", etc, scratch)
        place = "var" if number >= 5.9 else "usr/share"
        base[f"{place}/sysmerge/etc.tgz"] = inner.read_bytes()
    else:
        archive(directory / f"etc{nodot}.tgz", etc, scratch)
    defined = f"#define OpenBSD\t202504\n#define OpenBSD{version.replace('.', '_')} 1\n"
    comp = {"usr/include/sys/param.h": defined.encode(), "usr/bin/cc": b"cc"}
    archive(directory / f"base{nodot}.tgz", base, scratch)
    archive(directory / f"comp{nodot}.tgz", comp, scratch)
    archive(directory / f"man{nodot}.tgz", {"usr/share/man/man1/ls.1": b".Dd"}, scratch)
    name = lists or ("SHA256" if number >= 4.5 else "MD5")
    digests(directory, f"{name.lower()}sum", name)
    if made:
        sign(directory, made)
        (directory / "SHA256").unlink()
    return directory


def netbsd(directory: Path, version: str, suffix: str = "tgz", lists: str = "SHA512") -> Path:
    """binary/ of a port, in the era of `version`."""
    sets, scratch = directory / "sets", directory.parent / f"{directory.name}.scratch"
    sets.mkdir(parents=True)
    trees: dict[str, Tree] = {
        "kern-GENERIC" if float(version[:3]) >= 1.6 else "kern": {
            "netbsd": kernel("NetBSD", version)
        },
        "base": {
            "bin/sh": b"sh",
            "etc/release": f"NetBSD {version}/amd64\nSources: built from CVS\n".encode(),
        },
        "etc": {"etc/rc": b"#!/bin/sh\n", "etc/rc.conf": b"rc_configured=NO\n"},
        "comp": {"usr/bin/cc": b"cc"},
        "man": {"usr/share/man/man1/ls.1": b".Dd"},
        "modules": {"stand/amd64/modules/nfs/nfs.kmod": b""},
        "games": {"usr/games/fortune": b""},
    }
    for name, tree in trees.items():
        archive(sets / f"{name}.{suffix}", tree, scratch)
    for name in lists.split():
        digests(sets, f"{name.lower()}sum", name)
    return directory


def run(*argv: object, cwd: Path | None = None) -> bytes:
    words = [str(word) for word in argv]
    return subprocess.run(words, check=True, capture_output=True, cwd=cwd).stdout


PKG = r"""#!/bin/sh
# pkg --rootdir R --repo-conf-dir C -o A -o B -o C VERB …
[ "$1" = -N ] && exit 0
[ "$1 $3" = "--rootdir --repo-conf-dir" ] || { echo "what is $*?" >&2; exit 64; }
root=$2 conf=$4
shift 10
echo "$*" >>"$root/told"
cp "$conf/FreeBSD-base.conf" "$root/told.conf" || exit
keys=$(sed -n 's/.*fingerprints: "\(.*\)".*/\1/p' "$conf/FreeBSD-base.conf")
case $1 in
update) [ -z "$keys" ] || ls "$root$keys/trusted" >"$root/trusted" || exit ;;
install) mkdir -p "$root/bin" "$root/var/cache/pkg" && touch "$root/var/cache/pkg/x.pkg" ;;
query) printf 'FreeBSD-runtime\t%s\tFreeBSD:15:amd64\n' "${VERSION:-15.0p2}"
	printf 'FreeBSD-clibs\t15.0\tFreeBSD:15:amd64\n' ;;
esac
"""


@dataclass(frozen=True)
class WithPkg:
    """This machine, as if `directory` were in its PATH.

    No pkg runs on Linux: a small program stands for it, which holds what it is told against what
    bsdinstall tells it, and puts into the root what it was told.
    """

    directory: Path
    version: str = "15.0p2"
    name: str = "fbsd.lab"

    @classmethod
    def made(cls, directory: Path) -> WithPkg:
        directory.mkdir()
        (directory / "pkg").write_text(PKG)
        (directory / "pkg").chmod(0o755)
        return cls(directory)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: bytes | Path = b"",
        timeout: float = 60.0,
        check: bool = False,
        sink: Sink | None = None,
    ) -> Completed:
        path = f"{self.directory}:{CLEAN_ENV['PATH']}"
        env = {**(env or {}), "PATH": path, "VERSION": self.version}
        local = LocalHost()
        return local.run(
            argv, env=env, cwd=cwd, stdin=stdin, timeout=timeout, check=check, sink=sink
        )

    def put(self, source: Path, target: PurePosixPath) -> None:
        LocalHost().put(source, target)

    def get(self, source: PurePosixPath, target: Path) -> None:
        LocalHost().get(source, target)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return list(argv)


def repository(directory: Path, *, signed: bool) -> Path:
    """packagesite.pkg as `pkg repo` lays it out, with a signature or without."""
    directory.mkdir(parents=True)
    (directory / "packagesite.yaml").write_text(json.dumps({"name": "FreeBSD-runtime"}) + "\n")
    (directory / "awskms-15.sig").write_bytes(b"signature")
    names = ["packagesite.yaml", *(["awskms-15.sig"] if signed else [])]
    with tarfile.open(directory / "packagesite.pkg", "w:xz") as archive:
        for name in names:
            archive.add(directory / name, name)
    return directory


def pkgbase_keys(tmp_path: Path) -> Path:
    trusted = tmp_path / "keys/pkgbase-15/trusted"
    trusted.mkdir(parents=True)
    (trusted / "awskms-15").write_text('function: "sha256"\n')
    return trusted.parent
