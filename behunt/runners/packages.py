"""Packages of a Debian release as one more layer over a clone of it.

They are fetched with the release's own apt, so their signatures are checked against its keys,
and only unpacked: no script of theirs is run, and the boot environment stays as it was sealed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from behunt.errors import HostError, InstallError
from behunt.hosts.confined import Confined
from behunt.hosts.sandbox import Bind, Sandbox
from behunt.model import Release
from behunt.runners.protocol import AT
from behunt.storage.protocol import Clone

_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy")
# apt's own user cannot write to the exchange directory
_APT = ("apt-get", "-qq", "-o", "APT::Sandbox::User=root")
# $1 is what to install, $2 a pattern: those of its dependencies that are wanted as well.
_CHOSEN = """
plan=$(apt-get -o Debug::NoLocking=1 --simulate --no-install-recommends install "$1") || exit
echo "$plan" | while read -r what name rest; do
    [ "$what" = Inst ] || continue
    case $name in $2) echo "$name";; esac
done
"""
_UNPACKED = """
set -e
for package in *.deb; do
    echo "$(dpkg-deb -f "$package" Package) $(dpkg-deb -f "$package" Version)"
    dpkg-deb -x "$package" root
    rm "$package"
done >packages
"""


def layer(release: Release, clone: Clone, scratch: Path, package: str, family: str = "") -> Path:
    """`package`, and what it needs of the packages that `family` matches, unpacked.

    The directory holds them below `root`, and a line `name version` for each in `packages`.
    Raises InstallError.
    """
    place = scratch / "layer"
    (place / "root").mkdir(parents=True)
    sandbox = Sandbox(
        namespaces=("mount", "pid", "uts", "ipc"),
        lower=clone.lower,
        root=clone.root,
        stage=clone.stage,
        binds=(Bind(str(place), str(AT)),),
        tame=True,
    )
    try:
        with Confined(sandbox, "apt") as inside:
            _run(inside, [*_APT, "update"])
            chosen = ["sh", "-c", _CHOSEN, "sh", package, family or package]
            _run(inside, [*_APT, "download", *_run(inside, chosen).split()])
            _run(inside, ["sh", "-c", _UNPACKED])
    except HostError as error:
        raise InstallError(
            f"cannot fetch the kernel of {release.id}: {error.message}",
            f"its mirror has to have the package {package} of that release",
        ) from error
    return place


def _run(inside: Confined, argv: Sequence[str]) -> str:
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return inside.run(argv, env=env, cwd=str(AT), timeout=600, check=True).out
