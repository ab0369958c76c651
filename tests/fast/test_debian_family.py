"""What is particular to Debian, as tables: mirrors, Release files, package database."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behunt.families.debian import (
    apt_option,
    is_package_name,
    mirrors,
    packages,
    source_line,
    valid_until,
)
from behunt.model import Package

ONE_LINE = """
# deb http://commented.example/debian sid main
deb cdrom:[Debian GNU/Linux 12 _Bookworm_ - NETINST]/ bookworm main
deb-src http://only.sources.example/debian bookworm main
  deb [ arch=amd64,arm64 signed-by=/usr/share/keyrings/a.gpg ] http://first.example/debian/ sid main
deb http://security.debian.org/debian-security bookworm-security main
deb\thttp://second.example/pub/debian\tbookworm main contrib # fast
deb [trusted=yes] https://certificates.example/debian sid main
deb http://first.example/debian bookworm-updates main
deb http://apt.example/vendor stable main
deb http://archive.ubuntu.com/ubuntu noble main
deb http://incomplete.example/debian
deb file:/srv/debian sid main
"""
DEB822 = """
# URIs: http://commented.example/debian
Types: deb deb-src
# a comment within
URIs: http://first.example/debian/
  http://second.example/debian
 https://certificates.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 URIs: http://within.example/debian
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security

Enabled: no
Types: deb
URIs: http://disabled.example/debian

Types: deb-src
URIs: http://only.sources.example/debian

types: deb
uris: http://third.example/debian
enabled: yes
"""


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([ONE_LINE], ["http://first.example/debian", "http://second.example/pub/debian"]),
        (
            [DEB822],
            [f"http://{name}.example/debian" for name in ("first", "second", "third")],
        ),
        (["deb http://z/debian sid main", "deb http://a/debian sid main"], ["z", "a"]),
        (["Types: deb\r\nURIs: http://a/debian\r\n"], ["a"]),
        (["", "\n\n", "nonsense: \n continued\n: \n continued before a name"], []),
        ([], []),
    ],
)
def test_mirrors(texts: list[str], found: list[str]) -> None:
    whole = [name if "/" in name else f"http://{name}/debian" for name in found]
    assert mirrors(texts) == whole


@given(st.text(alphabet=st.sampled_from("deb URIsTyp:\n\t []#http/,.-")))
def test_any_text_may_lie_in_etc_apt(text: str) -> None:
    assert all(uri.startswith("http://") for uri in mirrors([text]))


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{text}Z")


@pytest.mark.parametrize(
    ("line", "date"),
    [
        ("Valid-Until: Sat, 17 Oct 2026 20:31:45 UTC", at("2026-10-17T20:31:45")),
        ("Valid-Until: Sat, 17 Oct 2026 20:31:45 +0200", at("2026-10-17T18:31:45")),
        ("Valid-Until: Sat, 17 Oct 2026 20:31:45 -0000", at("2026-10-17T20:31:45")),
        ("Valid-Until: some day", None),
        ("Valid-Until: ", None),
        (" Valid-Until: Sat, 17 Oct 2026 20:31:45 UTC", None),
        ("Date: Sat, 10 Oct 2026 20:31:45 UTC", None),
    ],
)
def test_valid_until(line: str, date: dt.datetime | None) -> None:
    text = f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\n{line}\nSuite: x\n"
    assert valid_until(text) == date


def test_a_source_line_trusts_one_keyring() -> None:
    words = ("http://m/debian", "sid", "main contrib", "/k.gpg")
    assert source_line(*words, expired=False) == "deb [signed-by=/k.gpg] " + " ".join(words[:3])
    assert source_line(*words, expired=True) == (
        "deb [check-valid-until=no signed-by=/k.gpg] http://m/debian sid main contrib"
    )


STATUS = """Package: libc6
Status: install ok installed
Priority: optional
Multi-Arch: same
Architecture: amd64
Version: 2.36-9+deb12u10
Description: GNU C Library: Shared libraries
 Package: not this
 .
 Version: nor this
Homepage: https://www.gnu.org/software/libc/libc.html

Package: libc6
Status: install ok installed
Architecture: i386
Version: 2.36-9+deb12u10

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: half
Status: install reinstreq half-installed
Architecture: amd64
Version: 1

Package: adduser
Status: hold ok installed
Architecture: all
Version: 1:3.134~x
Conffiles:
 /etc/adduser.conf 1234
"""


def test_packages() -> None:
    assert packages(STATUS) == (
        Package("adduser", "1:3.134~x", "all"),
        Package("libc6", "2.36-9+deb12u10", "amd64"),
        Package("libc6", "2.36-9+deb12u10", "i386"),
    )
    assert packages("") == packages("\n\n") == ()


@pytest.mark.parametrize("name", ["bash", "g++", "libstdc++6", "0ad", "python3.11", "a-b"])
def test_names_of_packages(name: str) -> None:
    assert is_package_name(name)


@pytest.mark.parametrize(
    "name", ["", "a", "Bash", "-y", "a,b", "a b", "../x", "a:i386", "a=1", "a\n"]
)
def test_what_names_no_package(name: str) -> None:
    assert not is_package_name(name)


@pytest.mark.parametrize(
    ("dump", "value"),
    [
        ('Acquire::http::Proxy "http://p:3142";\n', "http://p:3142"),
        ('Acquire::http::Proxy "";\nAcquire::http::Proxy::h "DIRECT";\n', ""),
        ('Acquire::http::Proxy::h "DIRECT";\n', ""),
        ("", ""),
    ],
)
def test_options_of_apt(dump: str, value: str) -> None:
    assert apt_option(dump, "Acquire::http::Proxy") == value
