"""Accelerators are tried with kernels: Debian's own, and small ones of our own that go wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from guest import debian

from behunt.runners.vm import accel
from behunt.runners.vm.accel import Acceleration

pytestmark = pytest.mark.real

HANG = "ebfe"
RESET = "b0fe e664 ebfe"  # the keyboard controller's reset line
FLOOD = "b078 ee ebfd"  # x, for ever
NO_ROOT = "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n"


def kernel(path: Path, code: str, text: str = "") -> Path:
    """A file that QEMU takes for a Linux kernel (Documentation/arch/x86/boot.rst of Linux).

    It prints `text` on the first serial line, and then runs `code`.
    """
    # mov dx, 0x3f8; mov si, 0x300; print: lodsb; test al, al; jz done; out dx, al; jmp print
    program = bytes.fromhex("baf803 be0003 ac 84c0 7403 ee ebf8" + code)
    setup = bytearray(1024)
    setup[0x1F1] = 1  # sectors of setup code, from 0x200 on
    setup[0x1FE:0x202] = b"\x55\xaa\xeb\x3e"  # jump over the header
    setup[0x202:0x208] = b"HdrS\x02\x02"
    setup[0x211] = 1  # loaded high
    setup[0x240 : 0x240 + len(program)] = program
    setup[0x300 : 0x300 + len(text) + 1] = text.encode() + b"\0"
    path.write_bytes(bytes(setup) + bytes(4096))
    return path


def left(path: Path) -> list[str]:
    """Processes that were started with that file."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if str(path).encode() in words:
            found.append(line.parent.name)
    return found


@pytest.mark.timeout(2400)  # the kernel is built, if it is not kept
def test_debians_kernel_boots_where_it_is_emulated() -> None:
    linux = debian.kernel(debian.root()) / "vmlinuz"
    assert "a kernel booted in it" in accel.tried("tcg", linux, deadline=120).why


@pytest.mark.parametrize(
    ("code", "text", "says"),
    [
        (HANG, "", "had not booted after 1 s"),
        (HANG, "Probing EDD", "had not booted after 1 s"),
        (RESET, "", "did not boot: exit 0"),
        (RESET, "Kernel panic - not syncing: early", "did not boot: Kernel panic - not sync"),
        (HANG, "KVM internal error. Suberror: 1", 'stopped with "KVM internal error"'),
        (FLOOD, "", "said no end of things"),
        (HANG, NO_ROOT, "a kernel booted in it"),
    ],
)
def test_a_kernel_that(tmp_path: Path, code: str, text: str, says: str) -> None:
    small = kernel(tmp_path / "kernel", code, text)
    deadline = 1 if "after 1 s" in says else 120
    assert says in accel.tried("tcg", small, deadline=deadline).why
    assert left(small) == []


def test_qemu_itself_refuses(tmp_path: Path) -> None:
    found = accel.tried("tcg", tmp_path / "not-there")
    assert found.name == "tcg"
    assert "could not open kernel file" in found.why


def test_an_answer_is_remembered_until_something_changes(tmp_path: Path) -> None:
    """Whatever KVM here does, the second answer is given without another try."""
    memory, device = tmp_path / "accelerator", tmp_path / "kvm"
    device.touch()
    qemu = accel.installed()
    booting, missing = kernel(tmp_path / "kernel", HANG, NO_ROOT), tmp_path / "missing"
    first = accel.acceleration(qemu, memory, booting, device=device)
    assert accel.acceleration(qemu, memory, missing, device=device) == first
    later = replace(qemu, text="QEMU emulator version 99.0")
    tried_again = accel.acceleration(later, memory, missing, device=device)
    assert (tried_again.name, tried_again == first) == ("tcg", False)
    memory.write_bytes(b"\xff{")
    assert accel.acceleration(qemu, memory, missing, device=device) == tried_again
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_without_a_device_nothing_is_tried(tmp_path: Path) -> None:
    memory, device = tmp_path / "accelerator", tmp_path / "kvm"
    found = accel.acceleration(accel.installed(), memory, device=device)
    assert found == Acceleration("tcg", f"machines are emulated: there is no {device}")
    assert not memory.exists()


def test_the_qemu_that_is_here() -> None:
    qemu = accel.installed()
    assert qemu.version >= (7, 2)
    assert accel.emulator(qemu, Acceleration("kvm", "")).accelerator == "kvm"
