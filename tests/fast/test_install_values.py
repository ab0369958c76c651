"""Orders and command lines of the installers, as values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from behunt.drive.installing import name_of
from behunt.errors import InstallError
from behunt.hosts.protocol import Completed
from behunt.install import INSTALLERS, aptmirror, installer_for, mmdebstrap, tar, tree
from behunt.install.protocol import Order, Origin, archive_key
from behunt.model import Release

SID = Release(
    "debian-sid-amd64",
    "debian",
    "sid",
    "amd64",
    codename="sid",
    sources=("http://deb.debian.org/debian", "http://archive.debian.org/debian"),
    traits=(("installer", "mmdebstrap"), ("suite", "unstable"), ("keyring", "k.gpg")),
)
ORIGIN = Origin("http://m/debian", "ab" * 32)


def test_the_command_line_of_mmdebstrap() -> None:
    assert mmdebstrap.arguments(Order(SID), ORIGIN, Path("/root")) == [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--architectures=amd64",
        "--skip=cleanup/apt/lists",
        "--verbose",
        "unstable",
        "/root",
        "deb [signed-by=/usr/share/keyrings/k.gpg] http://m/debian unstable main",
    ]


def test_what_an_order_adds_to_it(tmp_path: Path) -> None:
    contrib = replace(SID, traits=(*SID.traits, ("components", "main contrib")))
    order = Order(contrib, packages=("curl", "bash"), keyring=str(tmp_path / "own.gpg"))
    argv = mmdebstrap.arguments(order, replace(ORIGIN, expired=True), Path("/r"), proxy="http://p")
    assert "--include=bash,curl" in argv
    assert '--aptopt=Acquire::http::Proxy "http://p"' in argv
    assert argv[-1] == (
        f"deb [check-valid-until=no signed-by={tmp_path}/own.gpg] http://m/debian unstable "
        "main contrib"
    )


def test_a_recipe_is_all_that_decides_what_is_installed(tmp_path: Path) -> None:
    recipe = INSTALLERS["mmdebstrap"].recipe
    first = recipe(Order(SID))
    assert first == recipe(Order(SID, mirror="http://elsewhere/debian", timeout=1))
    others = [
        recipe(Order(SID, packages=("curl",))),
        recipe(Order(SID, keyring="/own.gpg")),
        recipe(Order(replace(SID, arch="arm64"))),
        recipe(Order(replace(SID, traits=(("suite", "sid"),)))),
    ]
    own = tmp_path / "k.gpg"
    for key in (b"mine", b"theirs"):
        own.write_bytes(key)
        others.append(recipe(Order(SID, keyring=str(own))))
    assert len({first, *others}) == len(others) + 1
    assert recipe(Order(SID, packages=("a", "b"))) == recipe(Order(SID, packages=("b", "a")))


def test_the_key_of_an_archive_follows_recipe_and_content_not_the_place() -> None:
    key = archive_key("recipe", ORIGIN)
    assert key == archive_key("recipe", replace(ORIGIN, url="http://other/debian", expired=True))
    assert key != archive_key("recipe", replace(ORIGIN, digest="cd" * 32))
    assert key != archive_key("another", ORIGIN)


OWN = "http://near.example/debian"
DEB, ARCHIVE = SID.sources


@pytest.mark.parametrize(
    ("mirror", "own", "sources", "tried"),
    [
        ("", "", SID.sources, [DEB, ARCHIVE]),
        ("", OWN, SID.sources, [OWN, DEB, ARCHIVE]),
        ("http://mine/debian/", OWN, SID.sources, ["http://mine/debian", OWN, DEB, ARCHIVE]),
        (DEB, DEB, SID.sources, [DEB, ARCHIVE]),
        # A suite that no live mirror has any more.
        ("", OWN, (ARCHIVE,), [ARCHIVE]),
        ("", "", (), []),
    ],
)
def test_mirrors_are_tried_in_this_order(
    mirror: str, own: str, sources: tuple[str, ...], tried: list[str]
) -> None:
    order = Order(replace(SID, sources=sources), mirror=mirror)
    assert mmdebstrap.candidates(order, own) == tried


def test_the_machines_own_mirror_is_read_where_apt_reads_it(tmp_path: Path) -> None:
    assert aptmirror.mirror(tmp_path) == ""
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    for name, host in (
        ("a.list.save", "ignored"),
        ("b.sources.bak", "ignored"),
        ("c.list", "one-line"),
    ):
        (parts / name).write_text(f"deb http://{host}/debian sid main\n")
    assert aptmirror.mirror(tmp_path) == "http://one-line/debian"
    (parts / "b.sources").write_text("Types: deb\nURIs: http://deb822/debian\n")
    (parts / "d.list").mkdir()
    assert aptmirror.mirror(tmp_path) == "http://deb822/debian"
    (tmp_path / "sources.list").write_bytes(b"\xff\ndeb http://main/debian sid main\n")
    assert aptmirror.mirror(tmp_path) == "http://main/debian"


def test_a_tree_is_copied_or_unpacked(tmp_path: Path) -> None:
    assert tree.arguments(tmp_path, Path("/r")) == [
        *("cp", "-a", "--reflink=auto", f"{tmp_path}/.", "/r")
    ]
    argv = tree.arguments(tmp_path / "r.tar", Path("/r"))
    assert argv[:2] == ["tar", "--extract"]
    assert {"--directory=/r", f"--file={tmp_path}/r.tar"} < set(argv)
    assert not {"-P", "--absolute-names", "--keep-directory-symlink"} & set(argv)


@pytest.mark.parametrize(
    ("err", "why"),
    [
        (
            "tar: Removing leading `/' from member names\ntar: x: Cannot open: No space\n"
            "tar: y: Cannot open: No space\ntar: Exiting with failure status\n",
            "tar: x: Cannot open: No space",
        ),
        (
            "gzip: stdin: not in gzip format\ntar: Child returned status 1\n"
            "tar: Error is not recoverable: exiting now\n",
            "gzip: stdin: not in gzip format",
        ),
        ("tar: Exiting with failure status due to previous errors\n", "exit 2"),
        ("", "exit 2"),
    ],
)
def test_what_tar_complains_about(err: str, why: str) -> None:
    assert tar.why(Completed((), 2, err=err)) == why


def test_an_installer_that_is_not_there_is_named() -> None:
    with pytest.raises(InstallError, match="it has no installer `bsdinstall`") as caught:
        installer_for(replace(SID, traits=(("installer", "bsdinstall"),)))
    assert "mmdebstrap, tree" in caught.value.hint


@pytest.mark.parametrize(
    ("packages", "name"),
    [
        ((), "debian-sid-amd64"),
        (("git", "curl", "git"), "debian-sid-amd64+curl+git"),
        (("g++",), "debian-sid-amd64+g++"),
    ],
)
def test_names_of_boot_environments(packages: tuple[str, ...], name: str) -> None:
    assert name_of(SID, packages) == name


def test_a_name_is_short_and_no_path_whatever_the_packages() -> None:
    for packages in (["../../x"], [f"package-{n}" for n in range(99)]):
        name = name_of(SID, packages)
        assert name.startswith("debian-sid-amd64+")
        assert len(name) < 60
        assert "/" not in name
