"""The guest's disks and initial RAM disk. Needs no device and no mount."""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

_SECTOR = 512
_START = 2048  # the pool's partition, in sectors
_DISK, _POOL = 2 << 30, 8 << 30  # bytes; both are sparse
_OTHER = "alice"  # a user without any right

_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox insmod /virtio_blk.ko
/bin/busybox mount -t ext4 /dev/vda /root
exec /bin/busybox switch_root /root /usr/bin/busybox init
"""
_INITTAB = """::sysinit:/etc/guest.rc
::respawn:/usr/sbin/sshd -D
"""
_HOSTS = """127.0.0.1 localhost zfs-guest
::1 localhost
"""
# A test may fail to log in, and one master may carry many commands.
_SSHD = """HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM no
UseDNS no
PasswordAuthentication no
PermitRootLogin prohibit-password
PerSourcePenalties no
MaxSessions 200
MaxStartups 200
Subsystem sftp internal-sftp
AcceptEnv LANG
"""


def write_root(root: Path, kernel: Path, key: Path, image: Path) -> None:
    """The file system of what root.tar holds, with the kernel's modules and our own start."""
    tree = image.with_suffix(".tree")
    tree.mkdir(mode=0o755)
    tar = ["tar", "--extract", "--numeric-owner", f"--file={root}/root.tar"]
    subprocess.run([*tar, "--same-permissions", f"--directory={tree}"], check=True)
    (tree / "usr/lib/modules").mkdir(exist_ok=True)
    shutil.copytree(kernel / "lib/modules", tree / "usr/lib/modules", dirs_exist_ok=True)
    _configure(tree, key)
    make = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", tree]
    subprocess.run([*make, image, f"{_DISK >> 10}k"], check=True)
    shutil.rmtree(tree)


def _configure(tree: Path, key: Path) -> None:
    shutil.copy(Path(__file__).with_name("rc"), tree / "etc/guest.rc")
    (tree / "etc/guest.rc").chmod(0o755)
    (tree / "etc/inittab").write_text(_INITTAB, encoding="ascii")
    (tree / "etc/hosts").write_text(_HOSTS, encoding="ascii")
    (tree / "etc/ssh/sshd_config").write_text(_SSHD, encoding="ascii")
    for name in (tree / "etc/ssh").glob("ssh_host_*"):
        name.unlink()
    host_key = tree / "etc/ssh/ssh_host_ed25519_key"
    shutil.copy(key.with_name("host_key"), host_key)
    host_key.chmod(0o600)
    add = ["useradd", "--root", tree, "--create-home", "--password", "*", "--shell", "/bin/bash"]
    subprocess.run([*add, _OTHER], check=True)
    _authorize(tree / "root", key, 0)
    _authorize(tree / "home" / _OTHER, key, (tree / "home" / _OTHER).stat().st_uid)


def _authorize(home: Path, key: Path, owner: int) -> None:
    authorized = home / ".ssh/authorized_keys"
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(key.with_name(f"{key.name}.pub"), authorized)
    for path in (authorized.parent, authorized):
        shutil.chown(path, owner, owner)


def write_pool_disk(image: Path) -> None:
    """Empty but for one partition: without udev, `zpool create` makes none on a whole disk."""
    sectors = _POOL // _SECTOR - _START
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xBF, b"\xff\xff\xff", _START, sectors)
    with image.open("wb") as disk:
        disk.write((b"\0" * 446 + entry).ljust(510, b"\0") + b"\x55\xaa")
        disk.truncate(_POOL)


def write_initrd(root: Path, kernel: Path, image: Path) -> None:
    """What it takes to mount the root: its driver is a module, the file system is not."""
    busybox = "./usr/bin/busybox"
    tar = ["tar", "--extract", "--to-stdout", f"--file={root}/root.tar", busybox]
    program = subprocess.run(tar, check=True, capture_output=True).stdout
    (driver,) = (kernel / "lib/modules").glob("*/kernel/drivers/block/virtio_blk.ko.xz")
    files = {
        "init": (0o755, _INIT.encode()),
        "bin/busybox": (0o755, program),
        "virtio_blk.ko": (0o644, lzma.decompress(driver.read_bytes())),
    }
    image.write_bytes(cpio(("bin", "dev", "root"), files))


def cpio(directories: tuple[str, ...], files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """An archive as the kernel unpacks it: cpio(5), "newc"."""
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in directories]
    entries += [(name, stat.S_IFREG | mode, content) for name, (mode, content) in files.items()]
    entries.append(("TRAILER!!!", 0, b""))
    return b"".join(_entry(at, *entry) for at, entry in enumerate(entries, 1))


def _entry(number: int, name: str, mode: int, content: bytes) -> bytes:
    # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
