"""OpenBSD's and NetBSD's sets, read from lists that the real tools made and signed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from bsd_sets import Keys, digests, keys, netbsd, openbsd, run
from hypothesis import given
from hypothesis import strategies as st

from behunt import catalogue
from behunt.errors import InstallError, UsageError
from behunt.install import installer_for
from behunt.install.protocol import Order
from behunt.install.sets import openbsd as openbsd_sets
from behunt.install.sets import sums
from behunt.install.sets.freebsd import Manifest
from behunt.install.sets.freebsd_split import Split
from behunt.install.sets.netbsd import NetBSD
from behunt.install.sets.openbsd import OpenBSD
from behunt.install.sets.places import groups
from behunt.install.sets.protocol import DistSet, Family
from behunt.model import Release

OPENBSD, NETBSD = OpenBSD(), NetBSD()


def release(os: str, version: str, arch: str = "amd64") -> Release:
    return next(one for one in known(os) if (one.version, one.arch) == (version, arch))


def known(os: str) -> list[Release]:
    """Every release for every architecture."""
    return [build for entry in catalogue.load(os).entries for build in entry.builds]


def read(family: Family, order: Order, directory: Path) -> tuple[DistSet, ...]:
    """As it goes for every order: the names, what vouches for them, and then the sets."""
    names = family.sets(order)
    return family.read(order.release, names, texts(family, order, directory))


def texts(family: Family, order: Order, directory: Path) -> dict[str, bytes]:
    names = family.vouchers(order.release, family.sets(order))
    found = {name: directory / name for name in names}
    assert found[names[0]].is_file(), "the first tells that the release is here"
    return {name: path.read_bytes() for name, path in found.items() if path.is_file()}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bsd")


@pytest.fixture(scope="module")
def ours(scratch: Path) -> Keys:
    return keys(scratch, "openbsd-77-base")


@pytest.fixture(scope="module")
def seven(scratch: Path, ours: Keys) -> Path:
    return openbsd(scratch / "7.7/amd64", "7.7", ours)


@pytest.fixture
def copied(seven: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(seven, tmp_path / "7.7"))


def ordered(keyring: Path | None = None, version: str = "7.7", *sets: str) -> Order:
    return Order(release("openbsd", version), keyring=str(keyring or ""), sets=sets)


# ---- OpenBSD, signed


def test_the_usual_sets_in_the_order_of_the_installer(seven: Path, ours: Keys) -> None:
    found = read(OPENBSD, ordered(ours.public), seven)
    assert [one.name for one in found] == ["bsd", "bsd.rd", "base", "comp", "man"]
    files = ["bsd", "bsd.rd", "base77.tgz", "comp77.tgz", "man77.tgz"]
    assert [one.pieces[0].path for one in found] == files
    assert [one.file for one in found] == ["bsd", "bsd.rd", "", "", ""], "a kernel is no archive"
    wanted = run("sha256sum", seven / "base77.tgz").split()[0].decode()
    assert found[2].pieces[0].digests == (("sha256", wanted),)


def test_sets_are_unpacked_in_one_order_however_they_were_named(seven: Path, ours: Keys) -> None:
    found = read(OPENBSD, ordered(ours.public, "7.7", "man", "bsd.rd", "base", "bsd", "man"), seven)
    assert [one.name for one in found] == ["bsd", "bsd.rd", "base", "man"]


def test_a_signature_by_the_key_of_the_release_vouches(seven: Path, ours: Keys) -> None:
    order = ordered(ours.public)
    assert OPENBSD.vouch(order, (), texts(OPENBSD, order, seven)) == ()


def test_the_key_of_another_release_does_not(seven: Path, tmp_path: Path) -> None:
    order = ordered(keys(tmp_path, "openbsd-76-base").public)
    with pytest.raises(InstallError, match=r"not signed by .*openbsd-76-base.pub: .*wrong key"):
        OPENBSD.vouch(order, (), texts(OPENBSD, order, seven))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"(base77.tgz) = ", b"(base77.tgz) = 0"),
        (b"SHA256 (bsd) ", b"SHA256 (BSD) "),
        (b"SHA256 (INSTALL", b"\nSHA256 (INSTALL"),
    ],
)
def test_a_list_that_was_changed_is_refused(
    copied: Path, ours: Keys, before: bytes, after: bytes
) -> None:
    signed = copied / "SHA256.sig"
    changed = signed.read_bytes().replace(before, after)
    assert changed != signed.read_bytes()
    signed.write_bytes(changed)
    order = ordered(ours.public)
    with pytest.raises(InstallError, match="signature verification failed"):
        OPENBSD.vouch(order, (), texts(OPENBSD, order, copied))


@pytest.mark.parametrize("cut", [0, 40, 300])
def test_a_list_that_was_cut_is_refused(copied: Path, ours: Keys, cut: int) -> None:
    signed = copied / "SHA256.sig"
    signed.write_bytes(signed.read_bytes()[:cut])
    order = ordered(ours.public)
    with pytest.raises(InstallError, match=r"SHA256.sig of openbsd-7.7-amd64 is not signed"):
        OPENBSD.vouch(order, (), texts(OPENBSD, order, copied))


def test_a_list_without_a_signature_is_refused(copied: Path, ours: Keys) -> None:
    digests(copied, "sha256sum", "SHA256").rename(copied / "SHA256.sig")
    order = ordered(ours.public)
    with pytest.raises(InstallError, match="is not signed by"):
        OPENBSD.vouch(order, (), texts(OPENBSD, order, copied))


def test_a_newer_release_is_never_taken_from_a_list_nobody_signed() -> None:
    for one in known("openbsd"):
        signed = tuple(map(int, one.version.split("."))) >= (5, 5)
        assert (OPENBSD.vouchers(one, ()) == ["SHA256.sig"]) == signed, one.id
        assert bool(one.trait("signify_key")) == signed, one.id


# ---- OpenBSD's keys


def test_debian_has_the_keys_of_many_releases() -> None:
    """Those that Debian ships are real, and found under the name that the catalogue gives."""
    signed = [one for one in known("openbsd") if one.trait("signify_key")]
    lacking = {one.version for one in signed if OPENBSD.missing(Order(one))}
    assert not lacking & {"5.5", "6.0", "7.0", "7.3"}


def test_a_key_that_is_nowhere_is_asked_for() -> None:
    order = ordered(version="7.9")
    if any((directory / "openbsd-79-base.pub").is_file() for directory in openbsd_sets.KEYS):
        pytest.skip("this machine has the key of 7.9")
    lacks = OPENBSD.missing(order)
    assert "openbsd-79-base.pub of openbsd-7.9-amd64 is not in /etc/signify" in lacks
    assert "apt install signify-openbsd-keys" in lacks
    assert "--keyring" in lacks


def test_a_key_that_the_user_gives_goes_before_all_others(ours: Keys, tmp_path: Path) -> None:
    assert OPENBSD.missing(ordered(ours.public)) == ""
    assert (
        OPENBSD.missing(ordered(tmp_path / "absent.pub"))
        == f"there is no key {tmp_path}/absent.pub"
    )


def test_each_release_finds_its_own_key_in_a_directory(
    seven: Path, ours: Keys, tmp_path: Path
) -> None:
    shutil.copy(ours.public, tmp_path / "openbsd-77-base.pub")
    keys(tmp_path, "openbsd-76-base")
    order = ordered(tmp_path)
    assert OPENBSD.missing(order) == ""
    found = read(OPENBSD, order, seven)
    assert OPENBSD.vouch(order, found, texts(OPENBSD, order, seven)) == ()
    assert OPENBSD.missing(ordered(tmp_path, "7.6")) == ""
    assert (
        OPENBSD.missing(ordered(tmp_path, "7.8"))
        == f"there is no key {tmp_path}/openbsd-78-base.pub"
    )


def test_a_directory_is_all_that_is_looked_into(tmp_path: Path) -> None:
    """7.3's is in Debian's package: the user said not to trust it."""
    assert OPENBSD.missing(ordered(version="7.3")) == ""
    assert "openbsd-73-base.pub" in OPENBSD.missing(ordered(tmp_path, "7.3"))


def test_releases_that_were_never_signed_need_no_signify() -> None:
    assert OPENBSD.missing(ordered(version="5.4")) == ""


# ---- OpenBSD, before it was signed


@pytest.mark.parametrize(
    ("version", "lists", "algorithm"),
    [
        ("3.9", "MD5", "md5"),
        ("4.4", "MD5", "md5"),
        ("4.6", "MD5", "md5"),
        ("4.9", "SHA256", "sha256"),
        ("5.4", "SHA256", "sha256"),
    ],
)
def test_older_releases_have_a_list_that_nobody_signed(
    tmp_path: Path, version: str, lists: str, algorithm: str
) -> None:
    directory = openbsd(tmp_path / version, version, lists=lists)
    order = ordered(version=version)
    found = read(OPENBSD, order, directory)
    assert [one.name for one in found] == ["bsd", "bsd.rd", "base", "etc", "comp", "man"]
    assert {name for one in found for name, _ in one.pieces[0].digests} == {algorithm}
    (note,) = OPENBSD.vouch(order, found, texts(OPENBSD, order, directory))
    assert f"openbsd {version} was never signed" in note


def test_a_place_without_any_list_is_refused(tmp_path: Path) -> None:
    directory = openbsd(tmp_path / "5.0", "5.0")
    (directory / "SHA256").unlink()
    with pytest.raises(InstallError, match="there is no SHA256 and no MD5"):
        read(OPENBSD, ordered(version="5.0"), directory)


# ---- which sets there are


@pytest.mark.parametrize("name", ["../etc", "base77.tgz/", "", "Base", "-x", "a b"])
def test_names_that_no_set_can_have(name: str) -> None:
    with pytest.raises(UsageError, match="cannot have a set"):
        OPENBSD.sets(ordered(None, "7.7", name))


def test_a_set_that_the_release_has_not_is_answered_with_those_it_has(
    seven: Path, ours: Keys
) -> None:
    with pytest.raises(UsageError, match=r"openbsd-7\.7-amd64 has no set `etc`") as caught:
        read(OPENBSD, ordered(ours.public, "7.7", "base", "etc"), seven)
    assert caught.value.hint == "it has: base, bsd, bsd.rd, comp, man"


# ---- NetBSD


def netbsd_order(version: str, *sets: str, arch: str = "amd64") -> Order:
    return Order(release("netbsd", version, arch), sets=sets)


@pytest.mark.parametrize(
    ("name", "suffix", "lists", "usual"),
    [
        ("1.5-i386", "tgz", "MD5", "kern base etc comp man"),
        ("3.1-amd64", "tgz", "MD5 SHA512", "kern-GENERIC base etc comp man"),
        ("5.1-amd64", "tgz", "SHA512 MD5", "kern-GENERIC base etc comp man"),
        ("9.3-i386", "tgz", "SHA512", "kern-GENERIC base etc modules comp man"),
        ("10.1-amd64", "tar.xz", "SHA512", "kern-GENERIC base etc modules comp man"),
    ],
)
def test_the_sets_of_each_era(
    tmp_path: Path, name: str, suffix: str, lists: str, usual: str
) -> None:
    version, arch = name.split("-")
    directory = netbsd(tmp_path / "binary", version, suffix, lists)
    order = netbsd_order(version, arch=arch)
    found = read(NETBSD, order, directory)
    assert [one.name for one in found] == usual.split()
    assert found[1].pieces[0].path == f"sets/base.{suffix}"
    algorithm = order.release.trait("checksum")
    wanted = run(f"{algorithm}sum", directory / f"sets/base.{suffix}").split()[0].decode()
    assert found[1].pieces[0].digests == ((algorithm, wanted),)
    (note,) = NETBSD.vouch(order, found, {})
    assert "nobody vouches that it is NetBSD's" in note


def test_a_kernel_that_has_another_name_on_arm64() -> None:
    assert NETBSD.sets(netbsd_order("10.1", arch="arm64"))[0] == "kern-GENERIC64"


def test_a_set_that_netbsd_has_not(tmp_path: Path) -> None:
    directory = netbsd(tmp_path / "binary", "10.1", "tar.xz")
    with pytest.raises(UsageError, match="has no set `xbase`") as caught:
        read(NETBSD, netbsd_order("10.1", "base", "xbase"), directory)
    assert "base, comp, etc, games, kern-GENERIC" in caught.value.hint
    with pytest.raises(UsageError, match="cannot have a set"):
        NETBSD.sets(netbsd_order("10.1", "../base"))


def test_a_digest_that_the_catalogue_pins_is_one_more_to_hold(tmp_path: Path) -> None:
    directory = netbsd(tmp_path / "binary", "10.1", "tar.xz")
    pin = "ab" * 32
    order = Order(
        replace(release("netbsd", "10.1"), pinned=(("base.tar.xz", pin),)), sets=("base",)
    )
    (found,) = read(NETBSD, order, directory)
    assert [name for name, _ in found.pieces[0].digests] == ["sha256", "sha512"]
    assert dict(found.pieces[0].digests)["sha256"] == pin
    assert NETBSD.vouch(order, (found,), {}) == ()


# ---- lists of digests


HTML = b"<!DOCTYPE html>\n<title>NetBSD 9.2 has moved</title>\n"
HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "text",
    [
        HTML,
        f"SHA256 (base.tgz) = {HEX[:-1]}\n".encode(),
        f"SHA256 (base.tgz) = {HEX}0\n".encode(),
        f"MD5 (base.tgz) = {HEX}\n".encode(),
        f"SHA256 (../base.tgz) = {HEX}\n".encode(),
        f"SHA256 (base.tgz) = {HEX}\nSHA256 (comp".encode(),
        b"\x00\xff",
    ],
)
def test_what_is_no_list_of_digests(text: bytes) -> None:
    with pytest.raises(InstallError, match="sets/SHA256 is no list of digests"):
        sums.parse(text, "sets/SHA256")


@pytest.mark.parametrize("text", [b"", b"\n\n"])
def test_a_list_of_nothing(text: bytes) -> None:
    with pytest.raises(InstallError, match="SHA256 is empty"):
        sums.parse(text, "SHA256")


def test_a_list_that_contradicts_itself() -> None:
    other = HEX[::-1]
    twice = f"SHA256 (base.tgz) = {HEX}\nSHA256 (base.tgz) = {other}\n".encode()
    with pytest.raises(InstallError, match=r"two digests of base\.tgz"):
        sums.parse(twice, "SHA256")
    assert sums.parse(twice.replace(other.encode(), HEX.encode()), "SHA256") == {
        "base.tgz": ("sha256", HEX)
    }


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,20}", fullmatch=True),
        st.binary(min_size=32, max_size=32),
        min_size=1,
    )
)
def test_every_list_of_whole_lines_is_read(listed: dict[str, bytes]) -> None:
    text = "".join(f"SHA256 ({name}) = {digest.hex()}\n" for name, digest in listed.items())
    assert sums.parse(text.encode(), "SHA256") == {
        name: ("sha256", digest.hex()) for name, digest in listed.items()
    }


# ---- the whole catalogue


BSD = [one for os in ("freebsd", "openbsd", "netbsd") for one in known(os)]
UNKNOWN = [one for one in BSD if one.set_format == "unknown"]


def family_of(one: Release) -> Family:
    if one.os == "freebsd":
        return Split() if one.set_format.startswith("split") else Manifest()
    return {"openbsd": OPENBSD, "netbsd": NETBSD}[one.os]


@pytest.mark.parametrize("one", [one for one in BSD if one not in UNKNOWN], ids=lambda one: one.id)
def test_every_release_has_an_installer_that_knows_its_files(one: Release) -> None:
    installer = installer_for(one)
    assert installer.anywhere
    assert installer.recipe(Order(one)).endswith(f"of {one.id}")
    family = family_of(one)
    names = family.sets(Order(one))
    voucher = family.vouchers(one, names)[0]
    urls = {f"{group[0]}/{voucher}" for group in groups(Order(one), family)}
    assert urls == {f"{source.rstrip('/')}/{voucher}" for source in one.sources}
    numbers = {one.version, one.version.replace(".", "")}
    assert all(any(number in url for number in numbers) for url in urls)


@pytest.mark.parametrize("one", UNKNOWN, ids=lambda one: one.id)
def test_releases_of_an_unknown_layout_are_refused(one: Release) -> None:
    assert tuple(map(int, one.version.split("."))) < (2, 0, 5)
    with pytest.raises(InstallError, match=f"behunt cannot install {one.id}"):
        installer_for(one)


@pytest.mark.parametrize(
    ("os", "version", "arch", "tree"),
    [
        ("openbsd", "7.7", "amd64", "7.7/amd64"),
        ("openbsd", "3.3", "i386", "3.3/i386"),
        ("netbsd", "10.1", "amd64", "NetBSD-10.1/amd64/binary"),
        ("netbsd", "10.1", "arm64", "NetBSD-10.1/evbarm-aarch64/binary"),
        ("netbsd", "5.1.2", "i386", "NetBSD-5.1.2/i386/binary"),
    ],
)
def test_a_mirror_may_be_any_directory_above(os: str, version: str, arch: str, tree: str) -> None:
    one = release(os, version, arch)
    family = family_of(one)
    below = set(family.directories(one))
    project = {"openbsd": "OpenBSD", "netbsd": "NetBSD"}[os]
    assert {f"pub/{project}/{tree}", f"{project}/{tree}", tree, ""} <= below
    assert any(source.endswith(f"/{tree}/") for source in one.sources)
    group = next(iter(groups(Order(one, mirror="/pub/"), family)))
    assert f"/pub/{project}/{tree}" in group
    assert "/pub" in group
