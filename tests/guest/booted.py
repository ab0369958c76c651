"""The machine as it was right after it booted: disks, memory, and the keys to it."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from guest import debian, image, qemu
from guest.kept import digest, kept

_PATIENCE = 180.0  # seconds, on a machine however busy


def booted() -> Path:
    """Its directory: what `qemu` needs, and the files `key` and `host_key.pub`."""
    root = debian.root()
    kernel = debian.kernel(root)
    here = Path(__file__).parent
    recipe = [path.read_text("utf-8") for path in (here / "image.py", here / "rc")]
    recipe.append(" ".join(qemu.arguments(Path(), "")))
    key = digest(root.name, kernel.name, qemu.version(), *recipe)
    return kept("machine", key, lambda place: _boot(place, root, kernel))


def _boot(place: Path, root: Path, kernel: Path) -> None:
    for name in ("key", "host_key"):
        generate = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "guest", "-f"]
        subprocess.run([*generate, place / name], check=True)
    shutil.copy(kernel / "vmlinuz", place / "vmlinuz")
    image.write_initrd(root, kernel, place / "initrd")
    image.write_root(root, kernel, place / "key", place / "root.img")
    image.write_pool_disk(place / "pool.img")
    console = place / "console.log"
    with qemu.Qemu(place, str(console)) as booting:
        _wait_until_ready(booting, console)
        booting.save()


def _wait_until_ready(booting: qemu.Qemu, console: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while "guest ready" not in (said := console.read_text("utf-8", "replace")):
        booting.ask("query-status")  # raises when it went down
        if time.monotonic() > until:
            raise TimeoutError(f"the guest did not boot: {said}")
        time.sleep(0.2)
