"""Where this machine's own apt gets Debian from."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from behunt.families import debian
from behunt.hosts.local import LocalHost


def mirror(etc: Path = Path("/etc/apt")) -> str:
    """The first Debian mirror that the machine's apt is configured with; empty if none."""
    lists = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    texts = []
    for path in lists:
        if path.suffix in {".list", ".sources"}:  # sources.list(5): others are ignored
            with contextlib.suppress(OSError):
                texts.append(path.read_text(encoding="utf-8", errors="replace"))
    return next(iter(debian.mirrors(texts)), "")


def proxy() -> str:
    """The proxy that the machine's apt is configured with; empty if none, or without apt."""
    env = {name: os.environ[name] for name in ("APT_CONFIG",) if name in os.environ}
    done = LocalHost().run(["apt-config", "dump", debian.APT_PROXY], env=env)
    return debian.apt_option(done.out, debian.APT_PROXY)
