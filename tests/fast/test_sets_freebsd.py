"""What FreeBSD's own files say about its sets, and where they lie."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import pytest

from behunt.catalogue import find, load
from behunt.errors import InstallError, UsageError
from behunt.install import SETS, installer_for
from behunt.install.protocol import Order
from behunt.install.sets import freebsd, freebsd_split
from behunt.install.sets.freebsd import Manifest
from behunt.install.sets.freebsd_split import Split
from behunt.model import Release

BASE = "bb80ededf207c48122434833b83110225b798fb31273051fcb64316ff782c1ef"
KERNEL = "da3701cd487945803ce83c6b7e4a953da14e77dab3f0516895b99dd8f4e54477"
MANIFEST = (
    f'base.txz\t{BASE}\t22029\tbase\t"Base system (MANDATORY)"\ton\n'
    f'kernel.txz\t{KERNEL}\t842\tkernel\t"Kernel (MANDATORY)"\ton\n'
    f'base-dbg.txz\t{KERNEL}\t1\tbase_dbg\t"Base system (Debugging)"\toff\n'
).encode()
INF = b"Pieces =  2\ncksum.aa = 3218194212 245760\ncksum.ab = 829486358 2607\n"


def release(version: str, arch: str = "i386") -> Release:
    return find(load("freebsd"), version, arch=arch)


def test_every_release_with_sets_has_the_installer() -> None:
    formats = {"split-bin", "split-base", "txz-manifest", "pkgbase+txz"}
    all_of = [build for entry in load("freebsd").entries for build in entry.builds]
    served = [build for build in all_of if SETS.serves(build)]
    assert served == [build for build in all_of if build.set_format in formats]
    assert all(installer_for(build).name == "sets" for build in served)
    for build in served:
        usual = SETS.recipe(Order(build)).removesuffix(f" of {build.id}").split()[1:]
        assert usual[0] == ("bin" if build.set_format == "split-bin" else "base")
        assert build.trait("kernel_path")


@pytest.mark.parametrize(
    ("version", "recipe"),
    [
        ("11.1", "sets base kernel of freebsd-11.1-i386"),
        ("8.4", "sets base kernels/generic of freebsd-8.4-i386"),
        ("5.5", "sets base of freebsd-5.5-i386"),
        ("2.2.8", "sets bin of freebsd-2.2.8-i386"),
    ],
)
def test_the_usual_sets(version: str, recipe: str) -> None:
    assert SETS.recipe(Order(release(version), mirror="/pub")) == recipe


def test_sets_are_named_as_people_do() -> None:
    order = Order(release("11.1"), sets=("doc", "base.txz", "doc"))
    assert Manifest().sets(order) == ("base", "doc")
    old = Order(release("8.4"), sets=("kernels/SMP", "games", "base", "src/ssys"))
    assert Split().sets(old) == ("base", "kernels/smp", "games", "src/ssys")


def test_unknown_sets_are_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"freebsd-8.4-i386 has no set `bin`") as caught:
        Split().sets(Order(release("8.4"), sets=("bin",)))
    assert "base, catpages, dict" in caught.value.hint
    with pytest.raises(UsageError, match="no set `games`") as late:
        Manifest().read(release("11.0"), ["base", "games"], {"MANIFEST": MANIFEST})
    assert late.value.hint == "it has base, base-dbg, kernel"


def test_packages_are_refused() -> None:
    with pytest.raises(UsageError, match="no packages can be added"):
        SETS.missing(Order(release("11.1"), packages=("curl",)))


def test_trees_of_a_mirror() -> None:
    assert freebsd.directories(release("11.1", "arm64")) == (
        "releases/arm64/aarch64/11.1-RELEASE",
        "releases/arm64/11.1-RELEASE",
        "FreeBSD/releases/arm64/aarch64/11.1-RELEASE",
        "FreeBSD/releases/arm64/11.1-RELEASE",
        "pub/FreeBSD/releases/arm64/aarch64/11.1-RELEASE",
        "pub/FreeBSD/releases/arm64/11.1-RELEASE",
        "old-releases/arm64/aarch64/11.1-RELEASE",
        "old-releases/arm64/11.1-RELEASE",
        "FreeBSD-Archive/old-releases/arm64/aarch64/11.1-RELEASE",
        "FreeBSD-Archive/old-releases/arm64/11.1-RELEASE",
        "pub/FreeBSD-Archive/old-releases/arm64/aarch64/11.1-RELEASE",
        "pub/FreeBSD-Archive/old-releases/arm64/11.1-RELEASE",
        "arm64/aarch64/11.1-RELEASE",
        "arm64/11.1-RELEASE",
        "11.1-RELEASE",
        "",
    )


def test_snapshots_lie_elsewhere() -> None:
    stable = replace(release("14.3", "amd64"), version="14.3-STABLE")
    assert freebsd.directories(stable)[:2] == (
        "snapshots/amd64/amd64/14.3-STABLE",
        "snapshots/amd64/14.3-STABLE",
    )


def test_a_manifest() -> None:
    base, kernel = Manifest().read(release("11.0"), ["base", "kernel"], {"MANIFEST": MANIFEST})
    assert (base.name, base.entries, base.pieces[0].path) == ("base", 22029, "base.txz")
    assert kernel.pieces[0].digests == (("sha256", KERNEL),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>404</html>",
        MANIFEST.decode()[:60],
        f"../base.txz\t{BASE}\t1",
        f"a.txz\t{BASE}\tx",
    ],
)
def test_a_damaged_manifest(text: str) -> None:
    with pytest.raises(InstallError, match="its MANIFEST is"):
        freebsd.manifest(text)


def test_pinned_digests_vouch_for_the_manifest() -> None:
    order = Order(release("11.0", "amd64"))
    texts = {"MANIFEST": MANIFEST}
    sets = Manifest().read(order.release, ["base", "kernel"], texts)
    assert Manifest().vouch(order, sets, texts) == ()
    more = Manifest().read(order.release, ["base", "base-dbg"], texts)
    assert Manifest().vouch(order, more, texts) == (
        "unverified source: nobody signed the digests of base-dbg",
    )
    with pytest.raises(InstallError, match=r"base.txz is not that of freebsd-11.1-amd64"):
        Manifest().vouch(Order(release("11.1", "amd64")), sets, texts)


def old_texts(inf: bytes = INF, checksums: bytes = b"") -> dict[str, bytes]:
    own = "".join(f"MD5 (bin.{s}) = {hashlib.md5(s.encode()).hexdigest()}\n" for s in ("aa", "ab"))
    listed = own + f"MD5 (bin.inf) = {hashlib.md5(INF).hexdigest()}\n"
    return {"bin/bin.inf": inf, "bin/CHECKSUM.MD5": listed.encode() + checksums}


def test_a_set_of_pieces() -> None:
    (found,) = Split().read(release("4.11"), ["bin"], old_texts())
    assert [piece.path for piece in found.pieces] == ["bin/bin.aa", "bin/bin.ab"]
    assert (found.pieces[0].crc, found.pieces[0].size) == (3218194212, 245760)
    assert found.pieces[1].digests == (("md5", hashlib.md5(b"ab").hexdigest()),)
    assert (found.target, found.devices) == ("", "dev")


@pytest.mark.parametrize(
    "inf",
    [
        b"",
        b"<html>",
        INF.replace(b"Pieces =  2", b"Pieces =  3"),
        INF.replace(b"cksum.ab", b"cksum.ac"),
        INF.replace(b"Pieces =  2\n", b""),
    ],
)
def test_a_damaged_inf(inf: bytes) -> None:
    with pytest.raises(InstallError, match=r"its .inf says|bin.inf is damaged"):
        freebsd_split.inf(inf.decode())
    with pytest.raises(InstallError, match=r"bin.inf is damaged"):
        Split().read(release("4.11"), ["bin"], old_texts(inf))


def test_more_pieces_than_the_inf_says() -> None:
    more = f"MD5 (bin.ac) = {hashlib.md5(b'ac').hexdigest()}\n".encode()
    with pytest.raises(InstallError, match="says 2 pieces, but digests are listed of 3"):
        Split().read(release("4.11"), ["bin"], old_texts(checksums=more))


def test_a_piece_that_nobody_vouches_for() -> None:
    texts = old_texts()
    texts["bin/CHECKSUM.MD5"] = texts["bin/CHECKSUM.MD5"].replace(b"bin.ab", b"bin.zz.ab")
    with pytest.raises(InstallError, match=r"nothing vouches for bin/bin.ab"):
        Split().read(release("4.11"), ["bin"], texts)
    del texts["bin/CHECKSUM.MD5"]
    with pytest.raises(InstallError, match=r"it has no bin/CHECKSUM.MD5"):
        Split().read(release("4.11"), ["bin"], texts)


def test_more_than_26_pieces() -> None:
    suffixes = [f"{a}{b}" for a in "ab" for b in "abcdefghijklmnopqrstuvwxyz"][:30]
    text = "Pieces =  30\n" + "".join(f"cksum.{s} = 1 1\n" for s in suffixes)
    assert list(freebsd_split.inf(text)) == suffixes


def test_where_old_sets_are_unpacked() -> None:
    vouchers = Split().vouchers(release("8.4"), ["base", "kernels/generic", "src/sbin", "ports"])
    assert vouchers == (
        "base/base.inf",
        "base/base.mtree",
        "base/CHECKSUM.SHA256",
        "kernels/generic.inf",
        "kernels/generic.mtree",
        "kernels/CHECKSUM.SHA256",
        "src/sbin.inf",
        "src/sbin.mtree",
        "src/CHECKSUM.SHA256",
        "ports/CHECKSUM.SHA256",
    )
    ports = {"ports/CHECKSUM.SHA256": f"SHA256 (ports.tgz) = {BASE}\n".encode()}
    (found,) = Split().read(release("8.4"), ["ports"], ports)
    assert (found.target, found.pieces[0].path) == ("usr", "ports/ports.tgz")


@pytest.mark.parametrize(
    ("version", "path", "said", "believed"),
    [
        ("11.1", "boot/kernel/kernel", "FreeBSD 11.1-RELEASE", True),
        ("11.1", "boot/kernel/kernel", "FreeBSD 11.1-RELEASE-p4", True),
        ("11.1", "boot/kernel/kernel", "FreeBSD 11.0-RELEASE", False),
        ("11.1", "boot/kernel/kernel", "FreeBSD 11.1-STABLE", False),
        ("11.1", "bin/freebsd-version", 'USERLAND_VERSION="11.1-RELEASE"', True),
        ("11.1", "bin/freebsd-version", 'USERLAND_VERSION="11.10-RELEASE"', False),
        ("13.2", "usr/include/sys/param.h", "#define __FreeBSD_version 1302001", True),
        ("9.3", "usr/include/osreldate.h", "#define\t__FreeBSD_version\t903000", True),
        ("9.3", "usr/include/osreldate.h", "#define __FreeBSD_version 902001", False),
        ("4.11", "kernel", "FreeBSD 4.11-RELEASE", True),
        ("2.2.8", "kernel", "FreeBSD 2.2.8-RELEASE", True),
        ("2.2.8", "kernel", "FreeBSD 2.2.7-RELEASE", False),
    ],
)
def test_oracles(version: str, path: str, said: str, *, believed: bool) -> None:
    oracle = next(o for o in freebsd.oracles(release(version)) if o.path == path)
    assert bool(re.fullmatch(oracle.wanted, said)) == believed
    # grep's classes are the only thing in these that Python does not know
    assert re.search(oracle.pattern.replace("[[:space:]]", r"\s"), said)
