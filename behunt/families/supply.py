"""What brings a missing program, on the systems that behunt runs on. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAMES = {"debian": "Debian or Ubuntu", "freebsd": "FreeBSD"}
_COMMANDS = {"debian": "apt install", "freebsd": "pkg install"}

# What is needed -> the package that has it. "" where it is part of the base system; a system
# that is not named has no such package.
_PACKAGES = {
    "mmdebstrap": {"debian": "mmdebstrap"},
    "debian-archive-keyring.gpg": {"debian": "debian-archive-keyring"},
    "debian-archive-removed-keys.gpg": {"debian": "debian-archive-keyring"},
    "tar": {"debian": "tar", "freebsd": ""},
    "zstd": {"debian": "zstd", "freebsd": ""},
    "bsdtar": {"debian": "libarchive-tools"},
    "xz": {"debian": "xz-utils", "freebsd": ""},
    "signify-openbsd": {"debian": "signify-openbsd", "freebsd": "signify"},
    "signify-openbsd-keys": {"debian": "signify-openbsd-keys"},
    "zfs": {"debian": "zfsutils-linux", "freebsd": ""},  # Debian: in contrib
    "libzfs_core": {"debian": "python3-pyzfs", "freebsd": "py{python}-libzfs_core"},
    "qemu-system-x86_64": {"debian": "qemu-system-x86", "freebsd": "qemu"},
    "qemu-system-aarch64": {"debian": "qemu-system-arm", "freebsd": "qemu"},
    "qemu-img": {"debian": "qemu-utils", "freebsd": "qemu"},
    "dnsmasq": {"debian": "dnsmasq-base", "freebsd": "dnsmasq"},
    "ganesha.nfsd": {"debian": "nfs-ganesha-vfs"},
    "ipxe": {"debian": "ipxe", "freebsd": "ipxe"},
    "nfsd": {"freebsd": ""},
}


def system_of(uname: str, os_release: str = "") -> str:
    """`debian` (Ubuntu and all that descend from it too), `freebsd`, or "" for another system.

    `uname` is what uname -s says, `os_release` the text of os-release(5).
    """
    if uname == "FreeBSD":
        return "freebsd"
    ids = re.findall(r"^ID(?:_LIKE)?=(.*)$", os_release, re.MULTILINE)
    words = {word for value in ids for word in value.strip("\"'").split()}
    return "debian" if words & {"debian", "ubuntu"} else ""


def fix(needed: Sequence[str], system: str, python: str = "3") -> str:
    """The command that brings all of `needed` to `system`, or what to do where there is none.

    `python` is the version that FreeBSD has in the names of its packages: 311.
    """
    known = {name: _PACKAGES.get(name, {}) for name in needed}
    packages = [systems[system] for systems in known.values() if systems.get(system)]
    if packages:
        names = dict.fromkeys(name.format(python=python) for name in packages)
        return f"{_COMMANDS[system]} {' '.join(names)}"
    listed = " and ".join(needed)
    if any(system in systems for systems in known.values()):
        return f"{listed} is part of the base system: repair it"
    elsewhere = sorted({_NAMES[name] for systems in known.values() for name in systems})
    if system and elsewhere:
        return f"there is no package of {listed}: use {' or '.join(elsewhere)}"
    return f"install {listed}"
