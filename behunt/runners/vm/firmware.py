"""Where a UEFI firmware for virtual machines is on this machine: OVMF, of EDK II."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from behunt.errors import HostError
from behunt.runners.vm.machine import Uefi

# Without secure boot. Debian and Ubuntu, Fedora, Arch Linux, openSUSE; QEMU's own; FreeBSD.
_CODE = (
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_CODE.fd",
    "/usr/share/edk2/ovmf/OVMF_CODE.fd",
    "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
    "/usr/share/qemu/ovmf-x86_64-code.bin",
    "/usr/share/qemu/edk2-x86_64-code.fd",
    "/usr/local/share/qemu/edk2-x86_64-code.fd",
)


def found() -> bool:
    return _code() is not None


def uefi() -> Uefi:
    """A firmware without a place for its variables, which live as long as its machine.

    Raises HostError where none is installed.
    """
    if (code := _code()) is None:
        raise HostError(
            "no UEFI firmware for virtual machines is installed", "install OVMF: the package ovmf"
        )
    return Uefi(PurePosixPath(code))


def _code() -> Path | None:
    return next((path for path in map(Path, _CODE) if path.is_file()), None)
