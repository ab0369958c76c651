"""Where sets are found: trees of a mirror, bare directories, URLs, and on which machine."""

from __future__ import annotations

import contextlib
import functools
import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import release_sets
import sshd

from behunt.catalogue import find, load
from behunt.errors import InstallError
from behunt.hosts.local import LocalHost, Prefixed
from behunt.hosts.protocol import Host
from behunt.install import SETS
from behunt.install.protocol import Order
from behunt.model import Build, Release

pytestmark = pytest.mark.real

VERSION = "11.1"
RELEASE = replace(find(load("freebsd"), VERSION, arch="i386"), sources=())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release directory; tests copy it."""
    directory = tmp_path_factory.mktemp("release") / VERSION
    directory.mkdir()
    return release_sets.freebsd(directory, VERSION)


@pytest.fixture
def pub(tmp_path: Path) -> Path:
    path = tmp_path / "pub"
    path.mkdir()
    return path


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Silent."""


@dataclass(frozen=True)
class Site:
    """The directory `pub`, at `url` over HTTP."""

    pub: Path
    url: str


@pytest.fixture
def site(pub: Path) -> Iterator[Site]:
    with served(functools.partial(Quiet, directory=str(pub))) as url:
        yield Site(pub, url)


@contextlib.contextmanager
def served(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def install(tmp_path: Path, release: Release, mirror: str, host: Host | None = None) -> Build:
    root = tmp_path / "root"
    root.mkdir()
    downloads = tmp_path / "downloads"
    order = Order(release, mirror=mirror, host=host or LocalHost(), downloads=downloads)
    assert SETS.missing(order) == ""
    build = SETS.install(order, SETS.resolve(order), root, print)
    assert (root / "bin/freebsd-version").is_file()
    assert not (root / ".behunt").exists()
    return build


SHAPES = [
    ("FreeBSD/releases/i386/i386/11.1-RELEASE", ""),
    ("FreeBSD/releases/i386/11.1-RELEASE", ""),
    ("FreeBSD-Archive/old-releases/i386/i386/11.1-RELEASE", ""),
    ("FreeBSD-Archive/old-releases/i386/11.1-RELEASE", ""),
    ("releases/i386/11.1-RELEASE", ""),
    ("old-releases/i386/11.1-RELEASE", ""),
    ("releases/i386/11.1-RELEASE", "releases/i386/11.1-RELEASE/"),
    ("FreeBSD/releases/i386/i386/11.1-RELEASE", "FreeBSD/releases"),
    ("FreeBSD/releases/i386/11.1-RELEASE", "FreeBSD/releases/i386"),
    ("11.1-RELEASE", ""),
]


@pytest.mark.parametrize(("below", "mirror"), [*SHAPES, ("with a blank", "with a blank")])
def test_shapes_of_a_tree(tmp_path: Path, whole: Path, below: str, mirror: str) -> None:
    shutil.copytree(whole, tmp_path / "pub" / below)
    build = install(tmp_path, RELEASE, f"{tmp_path}/pub/{mirror}")
    assert build.origins[0][0] == f"{tmp_path}/pub/{below}/MANIFEST"


@pytest.mark.parametrize(("below", "mirror"), SHAPES)
def test_shapes_of_a_site(site: Site, whole: Path, below: str, mirror: str) -> None:
    shutil.copytree(whole, site.pub / below)
    build = install(site.pub.parent, RELEASE, f"{site.url}/{mirror}")
    assert build.origins[0][0] == f"{site.url}/{below}/MANIFEST"


def test_a_mirror_may_be_relative_or_a_file_url(tmp_path: Path, whole: Path) -> None:
    shutil.copytree(whole, tmp_path / "11.1")
    origins = set()
    for mirror in ("11.1", f"file://{tmp_path}/11.1"):
        with contextlib.chdir(tmp_path):
            order = Order(RELEASE, mirror=mirror)
            assert SETS.local(order)
            origins.add(SETS.resolve(order).url)
    assert origins == {f"{tmp_path}/11.1"}


def test_a_snapshot(tmp_path: Path, pub: Path, whole: Path) -> None:
    stable = replace(RELEASE, version="11.1-STABLE", id="freebsd-11.1-STABLE-i386")
    shutil.copytree(whole, pub / "snapshots/i386/i386/11.1-STABLE")
    with pytest.raises(InstallError, match=r"not the sets of freebsd-11.1-STABLE.*11.1-RELEASE"):
        install(tmp_path, stable, str(pub))


def test_the_sources_of_the_release_come_after_the_mirror(
    tmp_path: Path, pub: Path, whole: Path, site: Site
) -> None:
    shutil.copytree(whole, pub / "second")
    release = replace(RELEASE, sources=(f"{site.url}/first/", f"{site.url}/second/"))
    build = install(tmp_path, release, str(tmp_path / "nothing"))
    assert build.origins[0][0] == f"{site.url}/second/MANIFEST"
    kept = sorted(path.name for path in (tmp_path / "downloads").iterdir())
    assert kept == sorted(f"sha256-{digest}" for _, digest in build.origins[1:])


def test_nothing_anywhere_names_all_that_was_tried(pub: Path, site: Site) -> None:
    release = replace(RELEASE, sources=(f"{site.url}/a", "http://127.0.0.1:1/b"))
    with pytest.raises(InstallError) as caught:
        SETS.resolve(Order(release, mirror=str(pub)))
    for tried in (
        f"there is no MANIFEST in {pub}, ",  # as it was named; a line may be cut behind it
        f"{pub}/FreeBSD/releases/i386/11.1-RELEASE",
        f"{site.url}/a/MANIFEST answered 404",
        "http://127.0.0.1:1/b/MANIFEST could not be read",
    ):
        assert tried in caught.value.message
    assert "--mirror" in caught.value.hint


def test_several_are_fetched_at_once(tmp_path: Path, pub: Path, whole: Path) -> None:
    """No set is sent before all three are asked for."""
    shutil.copytree(whole, pub / "whole")
    together = threading.Barrier(3)

    class Waiting(Quiet):
        def do_GET(self) -> None:
            if self.path.endswith(".txz"):
                together.wait(timeout=60)
            super().do_GET()

    handler = functools.partial(Waiting, directory=str(pub))
    with served(handler) as url:
        order = Order(RELEASE, mirror=f"{url}/whole", sets=("base", "kernel", "doc"))
        order = replace(order, downloads=tmp_path / "downloads")
        (tmp_path / "root").mkdir()
        SETS.install(order, SETS.resolve(order), tmp_path / "root", print)
    assert not together.broken
    assert len(list((tmp_path / "downloads").iterdir())) == 3


def test_a_page_about_an_error_is_passed_over(
    tmp_path: Path, pub: Path, whole: Path, site: Site
) -> None:
    """Some mirrors answer for what they do not have with a page, not with 404."""
    (pub / "first").mkdir()
    (pub / "first/MANIFEST").write_text("<html>It has moved</html>\n")
    shutil.copytree(whole, pub / "second")
    release = replace(RELEASE, sources=(f"{site.url}/first", f"{site.url}/second"))
    build = install(tmp_path, release, "")
    assert build.origins[0][0] == f"{site.url}/second/MANIFEST"
    assert any(f"passed over {site.url}/first: its MANIFEST is damaged" in n for n in build.notes)


def test_a_damaged_directory_of_the_user_is_not_passed_over(
    pub: Path, whole: Path, site: Site
) -> None:
    shutil.copytree(whole, pub / "good")
    (pub / "MANIFEST").write_text("<html>\n")
    release = replace(RELEASE, sources=(f"{site.url}/good",))
    with pytest.raises(InstallError, match=f"^{pub}: its MANIFEST is damaged"):
        SETS.resolve(Order(release, mirror=str(pub)))


def test_what_is_pinned_must_match_on_any_site(site: Site, whole: Path) -> None:
    shutil.copytree(whole, site.pub / "11.1")
    pinned = replace(RELEASE, pinned=(("base.txz", "0" * 64),))
    with pytest.raises(InstallError, match=r"the catalogue has another SHA-256"):
        SETS.resolve(Order(pinned, mirror=f"{site.url}/11.1"))


def test_a_damaged_download_is_not_kept(tmp_path: Path, pub: Path, whole: Path, site: Site) -> None:
    directory = shutil.copytree(whole, pub / "11.1")
    content = (directory / "base.txz").read_bytes()
    (directory / "base.txz").write_bytes(content[:-1] + b"x")
    with pytest.raises(InstallError, match=r"base.txz is not what its release says it is"):
        install(tmp_path, RELEASE, f"{site.url}/11.1")
    rows = (directory / "MANIFEST").read_text().splitlines()
    listed = dict(row.split("\t")[:2] for row in rows)
    # the other one, which was ended by this, is continued the next time
    assert not list((tmp_path / "downloads").glob(f"sha256-{listed['base.txz']}*"))
    assert list((tmp_path / "root").iterdir()) in ([], [tmp_path / "root/.behunt"])


def test_only_what_users_may_change_is_looked_at_each_time(pub: Path) -> None:
    assert SETS.local(Order(RELEASE, mirror=str(pub)))
    assert not SETS.local(Order(RELEASE, mirror="https://example.org/pub"))
    assert not SETS.local(Order(RELEASE))


# ---- another host


def elsewhere(hidden: Path) -> Host:
    """The same machine, but for `hidden`, which is empty there: a namespace for each command."""
    script = 'mount -t tmpfs none "$0" && exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-c", script, str(hidden))
    return Prefixed(LocalHost(), prefix, "elsewhere")


def test_a_directory_of_the_other_host_is_used_as_it_lies(
    tmp_path: Path, pub: Path, whole: Path
) -> None:
    shutil.copytree(whole, pub / "11.1")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    said: list[str] = []
    order = Order(RELEASE, mirror=f"{pub}/11.1", host=elsewhere(hidden))
    root = tmp_path / "root"
    root.mkdir()
    SETS.install(order, SETS.resolve(order), root, said.append)
    assert not [line for line in said if line.startswith("copying")]
    assert (root / "boot/kernel/kernel").is_file()


def test_a_directory_of_the_controller_is_copied_there(
    tmp_path: Path, pub: Path, whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole, pub / "11.1")
    install(tmp_path, RELEASE, f"{pub}/11.1", elsewhere(pub))
    assert "copying base.txz to elsewhere" in capfd.readouterr().out


def test_downloads_are_the_controllers_and_copied_there(
    tmp_path: Path, pub: Path, whole: Path, site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole, pub / "11.1")
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    install(tmp_path, RELEASE, f"{site.url}/11.1", elsewhere(downloads))
    assert capfd.readouterr().out.count("copying sha256-") == 2


def test_a_file_that_the_controller_lacks_is_said(tmp_path: Path, pub: Path, whole: Path) -> None:
    directory = shutil.copytree(whole, pub / "11.1")
    (directory / "kernel.txz").unlink()
    with pytest.raises(InstallError, match=r"kernel.txz is missing"):
        install(tmp_path, RELEASE, str(directory), elsewhere(pub))


def test_what_a_host_lacks_is_said(tmp_path: Path) -> None:
    without = Prefixed(LocalHost(), ("env", f"PATH={bare(tmp_path)}"), "bare")
    assert SETS.missing(Order(RELEASE, host=without)) == (
        "bsdtar is not installed on bare: apt install libarchive-tools"
    )


def bare(tmp_path: Path) -> Path:
    path = tmp_path / "bin"
    path.mkdir()
    for name in ("sh", "uname", "id"):
        (path / name).symlink_to(str(shutil.which(name)))
    return path


def test_old_sets_over_ssh(
    tmp_path: Path, pub: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = pub / "releases/i386/8.4-RELEASE"
    directory.mkdir(parents=True)
    old = release_sets.freebsd(directory, "8.4")
    release = replace(find(load("freebsd"), "8.4", arch="i386"), sources=())
    with sshd.running(tmp_path_factory.mktemp("ssh")) as server:
        (tmp_path / "root").mkdir()
        order = Order(release, mirror=str(pub), host=server.host())
        assert SETS.missing(order) == ""
        build = SETS.install(order, SETS.resolve(order), tmp_path / "root", print)
    assert build.origins[0][0] == f"{old}/base/base.inf"
    assert (tmp_path / "root/boot/kernel/kernel").is_file()
