"""A Debian machine with a real OpenZFS, in QEMU, for what this machine's kernel cannot do.

Built from Debian packages alone and kept in the tests' cache: the kernel with its ZFS modules,
the root file system, and the machine as it was right after it booted, memory included. Starting
one goes on from there. Whatever a machine writes, to its disks too, ends with it.
"""

from guest.machine import Machine, started

__all__ = ["Machine", "started"]
